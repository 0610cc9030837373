"""The whole way in one go: phantoms, both trainings, scores, inference; and every shipped settings file takes a step.

The shipped settings are used as they are but for what SHRUNK says. They train a small encoder; the shipped one is built and
differentiated by itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bts.apps import cli, infer, train
from bts.apps.settings_parser import Override, from_yaml, read_settings
from bts.glossary import FIGSHARE_CLASSES, Task
from bts.models.networks import build_network
from bts.runs import find_latest
from bts.training.tasks import build_architecture
from tools import __main__ as tools_main

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SHRUNK = {
    "data.source": "figshare",
    "data.size": "32",
    "data.batch_size": "2",
    "data.cache": "cache",
    "split.train": "0.34",
    "split.val": "0.33",
    "model.weights": "none",
    "optim.epochs": "1",
    "optim.warmup_epochs": "0",
    "freeze.epochs": "0",
    "trainer.limit_batches": "1",
    "trainer.images": "1",
    "trainer.precision": "32-true",
    "trainer.accelerator": "cpu",
    "runs": "runs",
}


def shrunk(root: Path, **changes: str) -> list[str]:
    """Return the command line that makes shipped settings small; underscores twice stand for a dot."""
    given = SHRUNK | {"data.root": str(root)} | {name.replace("__", "."): value for name, value in changes.items()}
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def test_there_are_as_many_settings_files_as_we_know_of() -> None:
    assert [path.name for path in CONFIGS] == [
        "cls.yaml",
        "demo.yaml",
        "joint.yaml",
        "model.yaml",
        "seg.yaml",
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_settings_file_says_what_it_is_for(config: Path) -> None:
    head = config.read_text(encoding="utf-8").split("\n\n")[0]
    assert head.startswith("# Trains: ")
    assert "# Command: " in head


def task_of_config(config: Path) -> Task:
    task: Task = {"model": "joint", "demo": "joint"}.get(config.stem, config.stem)  # type: ignore[assignment]
    return task


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_settings_file_builds_a_network_that_gives_every_weight_a_gradient(config: Path) -> None:
    small = [Override("data.size", "32", "test"), Override("model.weights", "none", "test")]
    settings = read_settings(task_of_config(config), [*from_yaml(config), *small])
    network = build_network(build_architecture(settings, FIGSHARE_CLASSES)).train()
    found = network(torch.rand(2, 1, 32, 32))
    sum(each.sum() for each in (found.mask_logits, found.class_logits) if each is not None).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_settings_file_trains_a_step_with_a_small_encoder(
    config: Path, phantom_set: Path, mixed_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = task_of_config(config)
    root = mixed_set if "remove_tumour" in config.read_text(encoding="utf-8") else phantom_set  # it needs healthy slices
    assert train.main(task, ["--config", str(config), *shrunk(root, model__encoder="test_resnet")]) == 0
    run = find_latest("runs", task)
    assert run is not None
    assert json.loads((run.scores / "scores.json").read_text())["limit_batches"] == 1


def test_from_phantoms_to_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["phantom", "set", "--patients", "9", "--slices", "1", "1", "--seed", "3"]) == 0
    small = {"trainer__limit_batches": "null", "model__encoder": "test_resnet"}
    assert train.main("seg", shrunk(Path("set"), **small, model__channels="[8, 8, 8, 8, 8]")) == 0
    assert train.main("cls", shrunk(Path("set"), **small)) == 0
    told = capsys.readouterr().out
    assert "Dice, mean over slices" in told
    assert "accuracy per slice" in told

    (tmp_path / "scans").mkdir()
    Image.fromarray(np.add.outer(np.arange(50), np.arange(60)).astype(np.uint8)).save("scans/ramp.png")
    (tmp_path / "scans" / "broken.mat").write_bytes(b"MATLAB 7.3 MAT-file, cut short")
    assert infer.main(["scans", "set/1.mat", "--out", "results"]) == 1
    told_now = capsys.readouterr()
    assert "2 of 3 scans done" in told_now.out
    assert "broken.mat" in told_now.err

    result = json.loads(Path("results/ramp/result.json").read_text())
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert any("phantom" in warning for warning in result["warnings"])  # whatever the models say, it means nothing
    with Image.open("results/ramp/mask.png") as mask:
        assert mask.size == (60, 50)

    assert tools_main.main(["figure", "--data", "set", "--count", "2", "--out", "pictures/figure.png"]) == 0
    with Image.open("pictures/figure.png") as figure:
        assert figure.width > 4 * 256

    Path("page.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    runs = [str(run.path) for task in ("seg", "cls") if (run := find_latest("runs", task)) is not None]  # type: ignore[arg-type]
    assert tools_main.main(["results", *runs, "--out", "page.md", "--readme", "page.md"]) == 0
    page = Path("page.md").read_text()
    assert "synthetic phantoms" in page
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == 6  # a head and five scores
