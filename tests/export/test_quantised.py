"""`bts export RUN --int8`: both forms scored on the test part of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run

from bts.apps import cli
from bts.data.preprocess import Preprocessing
from bts.export import int8
from bts.export.quantised import calibration
from bts.training.run_data import read_run


def test_both_forms_are_scored_on_the_test_part(
    mixed_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "FEWEST", 2)  # the set is tiny
    run = made_run(tmp_path, "cls", data=mixed_set)
    count = len(read_run(run).records("test"))
    assert cli.main(["export", str(run.path), "--int8"]) == 0
    told = capsys.readouterr().out
    assert (run.model / "model.int8.onnx").is_file()
    lines = {line.split(":")[0]: line for line in told.splitlines()}
    for name in ("float", "int8"):
        assert lines[name].startswith(f"{name}: accuracy 0.") or lines[name].startswith(f"{name}: accuracy 1.")
        assert lines[name].endswith(f", {count} slices of the test part")


def test_ranges_are_found_on_the_training_part_only(mixed_set: Path, tmp_path: Path) -> None:
    data = read_run(made_run(tmp_path, "seg", data=mixed_set))
    found = calibration(data, Preprocessing(size=32, crop_brain=False).to_dict())
    assert found.shape == (len(data.records("train")), 32, 32)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "openvino"], "--int8 with --format openvino: quantised models are exported as ONNX only"),
        ([], "no run (settings.yaml is missing)"),
    ],
)
def test_a_wrong_request_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(tmp_path), "--int8", *arguments]) == 2
    assert message in capsys.readouterr().err
