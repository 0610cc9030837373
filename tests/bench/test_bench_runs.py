"""Every benchmark at its smallest size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from bench import material
from bench import training as bench_training
from bench.__main__ import NAMES, measure
from bench.lines import RATES
from bench.material import Kind
from bts.training import fit as fitting
from bts.training.device import Machine
from bts.training.stage_runner import make_faster

PLAIN, JOINT = "plain: U-Net, ResNet50, MONAI GradCAM", "joint ResNet50, onnx"
EXPECTED = {
    "one-scan": [PLAIN, JOINT, f"{JOINT}, whole", f"cold, {JOINT}"],
    "folder": ["bare network, onnx", "12 scans to files, onnx", "peak memory, 12 scans, onnx"],
    "volume": ["6 slices, single calls", "one volume, --pictures key", "one volume, --pictures all"],
    "training": ["seg, one fixed batch", "seg, training", "seg, waiting for data", "seg, masks at a quarter, training"],
    "reading": [
        "first epoch",
        "second epoch",
        "first epoch of a second run",
        "h5py and resize, any epoch",
        "upload in a process of its own, added to a slice",
    ],
    "growth": ["bootstrap, 200", "audit, 40", "report, 60"],
    "app": ["infer.py, one scan, warm", "page, drop to picture", "server's memory after 4 uploads"],
    "gpu": [f"{PLAIN}, batch of 1", "joint ResNet50, torch, batch of 1"],
}


@pytest.mark.filterwarnings("ignore")  # of smp, timm and MONAI's own making, in the plain way
@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_measures_every_line(
    name: str,
    exported_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(material, "SIDE", 128)
    shutil.copytree(exported_models["joint"], tmp_path / Kind("joint", "test_resnet", 64).name)  # or each would export one
    out = tmp_path / "bench.jsonl"
    found = measure(name, tmp_path, out=out, quick=True)
    by_name = {row["what"]: row for row in found["lines"]}
    assert set(EXPECTED[name]) <= set(by_name)
    for row in by_name.values():
        assert row["median"] >= 0 if row["unit"] == "share" else row["median"] > 0
        if row["against"] is not None:
            ratio = row["median"] / by_name[row["against"]]["median"]
            assert row["ratio"] == pytest.approx(ratio)
            assert row["unit"] in RATES or row["unit"] == by_name[row["against"]]["unit"]
            judged = ratio >= row["must"] if row["must"] and row["unit"] in RATES else row["must"] and ratio <= row["must"]
            assert row["met"] is (None if row["must"] is None else judged)
    assert json.loads(out.read_text())["bench"] == name
    told = capsys.readouterr().out
    assert all(what in told for what in EXPECTED[name])
    assert "cores" in told


@pytest.mark.parametrize(("precision", "changed"), [("bf16-mixed", True), ("32-true", False)])
def test_the_fixed_batch_has_the_layers_of_the_training(precision: str, changed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "run_stage", lambda module, data, **rest: make_faster(module.network, rest["machine"]))
    module = SimpleNamespace(network=nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, groups=8)))
    machine = Machine("cpu", precision, channels_last=True, devices=1, num_nodes=1, lines=())  # type: ignore[arg-type]
    settings = SimpleNamespace(optim=SimpleNamespace(gradient_clip_val=1.0))
    with bench_training._watched(steps=1) as seen:
        fitting.run_stage(module, None, machine=machine, settings=settings)  # type: ignore[arg-type, call-arg]
    (layer,), (compared,) = module.network, seen[0].module.network
    assert layer is not compared
    assert type(layer).__name__ == type(compared).__name__
    assert (type(layer) is not nn.Conv2d) is changed
    assert layer.weight.stride() == compared.weight.stride()
