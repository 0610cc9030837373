"""`bts export RUN --int8`: what eight bits cost is told on the run's own test part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import made_run

from bts.apps import cli
from bts.evaluation.quantised import calibration, in_words
from bts.evaluation.run_data import read_run
from bts.export import int8


def test_both_forms_are_scored_on_the_test_part(
    phantom_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "FEWEST", 2)  # the set is tiny
    run = made_run(tmp_path, "cls", data=phantom_set)
    count = len(read_run(run).records("test"))
    assert cli.main(["export", str(run.path), "--int8"]) == 0
    told = capsys.readouterr().out
    assert (run.model / "model.int8.onnx").is_file()
    lines = {line.split(":")[0]: line for line in told.splitlines()}
    for name in ("float", "int8"):
        assert lines[name].startswith(f"{name}: accuracy 0.") or lines[name].startswith(f"{name}: accuracy 1.")
        assert lines[name].endswith(f", {count} slices of the test part")


def test_ranges_are_found_on_the_training_part_only(phantom_set: Path, tmp_path: Path) -> None:
    data = read_run(made_run(tmp_path, "seg", data=phantom_set))
    found = calibration(data, {"size": 32, "low_percentile": 0.5, "high_percentile": 99.5})
    assert found.shape == (len(data.records("train")), 32, 32)
    assert found.dtype == np.uint8


def test_scores_are_told_as_far_as_there_are_any() -> None:
    cases = pd.DataFrame({"dice": [0.5, 1.0], "right": [True, False]})
    assert in_words(cases) == "Dice 0.7500, accuracy 0.5000"
    assert in_words(cases[["right"]]) == "accuracy 0.5000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "openvino"], "--int8 with --format openvino: eight bits are written as ONNX only"),
        ([], "no run (settings.yaml is missing)"),
    ],
)
def test_a_wrong_request_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(tmp_path), "--int8", *arguments]) == 2
    assert message in capsys.readouterr().err
