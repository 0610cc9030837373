"""The whole way in one go, as in `make demo`: phantoms, training, inference, report; and every settings file takes a step.

The shipped settings are used as they are but for what SHRUNK says. They train a small encoder; the shipped one is built and
differentiated by itself.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from made_runs import write_made_model

from bts.apps import cli, infer, train
from bts.apps.settings_parser import Override, from_yaml, read_settings
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR, Task
from bts.models.networks import build_network
from bts.runs import find_latest
from bts.training.tasks import build_architecture

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
        "joint_small.yaml",
        "model.yaml",
        "seg.yaml",
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_settings_file_says_what_it_is_for(config: Path) -> None:
    head = config.read_text(encoding="utf-8").split("\n\n")[0]
    assert head.startswith("# Trains: ")
    assert "# Command: " in head


def task_of_config(config: Path) -> Task:
    task: Task = {"model": "joint", "demo": "joint", "joint_small": "joint"}.get(config.stem, config.stem)  # type: ignore[assignment]
    return task


def test_the_small_network_s_file_is_one_for_masks_alone_too() -> None:
    settings = read_settings("seg", from_yaml(Path("configs/joint_small.yaml")))
    assert (settings.model.encoder, settings.model.channels) == ("mobilenetv2_100", (128, 64, 48))


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


def recipe(target: str) -> list[list[str]]:
    """Words of the commands of a target of the Makefile, without the folder of the programs."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (lines,) = re.findall(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", makefile, re.M)
    commands = (line.strip() for line in lines.splitlines() if line.startswith("\t$(BIN)/"))
    return [shlex.split(line.removeprefix("$(BIN)/").replace("$(DEMO_RUN)", "RUN")) for line in commands]


def test_the_demo_leads_from_phantoms_to_answers_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "untrained"
    write_made_model(model, "joint", name="untrained", classes=[*FIGSHARE_CLASSES, NO_TUMOUR], trained=[], seed=0)
    small = ["--patients", "9", "--healthy", "3", "--slices", "1", "1", "--side", "96"]
    for folder in ("scans", "data"):
        (phantom,) = recipe(f"demo/{folder}/cvind.mat")
        assert cli.main([*phantom[1:], *small]) == 0
    (bundled,), (training, inference, evaluation) = recipe("demo/bundled/1/overlay.png"), recipe("demo")
    assert infer.main([str(model) if word == "joint-mobilenetv2" else word for word in bundled[2:]]) == 0
    changes = {"trainer__limit_batches": "null", "model__encoder": "test_resnet", "model__channels": "[8, 8, 8, 8, 8]"}
    assert train.main("joint", [*training[2:], *shrunk(Path("demo/data"), runs="demo/runs", **changes)]) == 0
    run = find_latest("demo/runs", "joint")
    assert run is not None
    (tmp_path / "demo" / "scans" / "broken.mat").write_bytes(b"MATLAB 7.3 MAT-file, cut short")
    assert infer.main([str(run.path) if word == "RUN" else word for word in inference[2:]]) == 1
    told = capsys.readouterr()
    assert "12 of 13 scans done" in told.out
    assert "broken.mat" in told.err
    for answers in ("bundled", "results"):
        assert len(list(Path("demo", answers).glob("*/overlay.png"))) == 12
    result = json.loads(Path("demo/results/1/result.json").read_text())
    assert any("phantom" in warning for warning in result["warnings"])  # whatever the model says, it means nothing

    (tmp_path / "demo" / "scans" / "broken.mat").unlink()
    assert cli.main([str(run.path) if word == "RUN" else word for word in evaluation[1:]]) == 0
    assert json.loads(Path("demo/report/metrics.json").read_text())["summary"]["n_slices"] == 12  # none was trained on
    assert Path("demo/report/index.html").is_file()
