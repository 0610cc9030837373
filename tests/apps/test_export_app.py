"""`bts export` and what `infer.py` makes of its files, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts.apps import cli, infer
from bts.export import onnx as exporting


def test_a_model_is_exported_and_the_difference_is_printed(
    exported_models: dict[str, Path],
    graph_beside: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exporting, "make_onnx", graph_beside)
    out = tmp_path / "classes.onnx"
    assert cli.main(["export", str(exported_models["cls"]), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert out.is_file()
    assert f"{out}: " in told
    assert "largest difference from PyTorch: class_logits " in told
    assert "not a medical device" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such model folder"),
        (["nowhere", "--format", "monai-bundel"], "unknown format 'monai-bundel' (did you mean 'monai-bundle'?)"),
        ([], "the following arguments are required: MODEL"),
    ],
)
def test_a_wrong_request_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("runtime", ["auto", "onnx", "openvino-f32"])
def test_infer_gives_the_same_files_with_another_runtime(
    exported_models: dict[str, Path], tmp_path: Path, runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = tmp_path / "scan.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)).save(scan)
    model = str(exported_models["joint"])
    common = [str(scan), "--joint", model, "--device", "cpu"]
    assert infer.main([*common, "--runtime", "torch", "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert infer.main([*common, "--runtime", runtime, "--out", str(tmp_path / "b")]) == 0
    told = capsys.readouterr().out
    results = [json.loads((tmp_path / out / "scan" / "result.json").read_text()) for out in "ab"]
    files = [sorted(path.name for path in (tmp_path / out / "scan").iterdir()) for out in "ab"]
    assert files[0] == files[1]
    assert results[0]["models"] == results[1]["models"]
    if runtime == "auto":
        assert "runtime openvino-f32: the fastest available on a CPU" in told
        runtime = "openvino-f32"
    assert results[1]["runtime"].startswith(runtime)
    assert results[1]["class"] == results[0]["class"]
    assert results[1]["probabilities"] == pytest.approx(results[0]["probabilities"], abs=1e-4)
    assert results[1]["mask_area_px"] == pytest.approx(results[0]["mask_area_px"], abs=2)
