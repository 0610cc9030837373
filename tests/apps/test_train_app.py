"""The way from a command line to `fit`, with `fit` replaced: what is asked of it, and what is said afterwards."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_runs import write_made_model

from bts.apps import train
from bts.errors import Interrupted
from bts.runs import Run
from bts.settings import ClsSettings, SegSettings, Settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Settings, Path | None]]:
    """What `fit` was asked for; nothing is trained, and every run is scored with one line."""
    from bts.experiments import finish
    from bts.training import fit

    calls: list[tuple[Settings, Path | None]] = []

    def trained(settings: Settings, *, resume: Path | None = None, check: Any = None) -> Run:
        calls.append((settings, resume))
        return Run(tmp_path / "run")

    monkeypatch.setattr(fit, "fit", trained)
    monkeypatch.setattr(finish, "finish_run", lambda run: {"table": "Dice 0.5", "summary": ["best epoch: 3 of 9"]})
    monkeypatch.chdir(tmp_path)
    return calls


def test_the_task_s_own_file_is_read_without_config(asked: list[Any]) -> None:
    assert train.main("seg", []) == 0
    assert train.main("cls", []) == 0
    shipped = [settings for settings, _ in asked]
    assert isinstance(shipped[0], SegSettings)
    assert isinstance(shipped[1], ClsSettings)
    assert shipped[1].freeze.epochs > 0  # as configs/cls.yaml says, where the default is none


def test_the_working_folder_does_not_change_the_settings_unless_its_file_is_named(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "seg.yaml").write_text("seed: 7\n")
    assert train.main("seg", []) == 0
    assert train.main("seg", ["--config", "configs/seg.yaml"]) == 0
    assert [settings.seed for settings, _ in asked] == [0, 7]


def test_a_shipped_file_is_found_by_its_name_outside_of_a_clone(asked: list[Any]) -> None:
    assert train.main("joint", ["--config", "configs/demo.yaml"]) == 0
    assert asked[0][0].data.root == "demo/data"
    assert train.main("seg", ["--config", "configs/nowhere.yaml"]) == 2


def test_config_and_command_line_reach_fit(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("optim: {lr: 0.5, epochs: 3}\n")
    assert train.main("seg", ["--config", "mine.yaml", "--optim.lr", "0.25", "--debug"]) == 0
    assert (asked[0][0].optim.lr, asked[0][0].optim.epochs) == (0.25, 3)


def test_a_model_to_fine_tune_brings_its_encoder_and_decoder_unless_others_are_given(asked: list[Any], tmp_path: Path) -> None:
    write_made_model(tmp_path / "old", "joint", name="old", classes=["a", "b"], trained=[], seed=0)
    weights = ["--model.weights", str(tmp_path / "old")]
    assert train.main("joint", weights) == 0
    assert train.main("cls", weights) == 0
    assert train.main("seg", [*weights, "--model.channels", "[4,4,4,4]"]) == 0
    joint, cls, seg = (settings.model for settings, _ in asked)
    assert (joint.encoder, tuple(joint.channels)) == ("test_resnet", (8, 8, 8, 8, 8))
    assert cls.encoder == "test_resnet"
    assert (seg.encoder, tuple(seg.channels)) == ("test_resnet", (4, 4, 4, 4))


def test_the_end_says_where_things_are_and_what_comes_next(asked: list[Any], tmp_path: Path, capsys: Any) -> None:
    assert train.main("seg", []) == 0
    told = capsys.readouterr().out
    assert "Dice 0.5" in told
    assert "best epoch: 3 of 9" in told
    assert f"run     {tmp_path / 'run'}" in told
    assert f"bts evaluate --seg {tmp_path / 'run'}   writes {tmp_path / 'run' / 'report' / 'index.html'}" in told
    assert "tensorboard --logdir runs" in told
    assert f"python infer.py SCAN --seg {tmp_path / 'run'}" in told


def test_only_the_first_of_several_processes_scores(asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RANK", "1")
    assert train.main("seg", []) == 0
    assert len(asked) == 1
    assert "Dice" not in capsys.readouterr().out


def test_a_resumed_run_takes_its_own_settings(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "settings.yaml").write_text("optim: {lr: 0.125}\n")
    assert train.main("seg", ["--resume", "old", "--data.root", "elsewhere"]) == 0
    settings, resume = asked[0]
    assert (settings.optim.lr, settings.data.root, resume) == (0.125, "elsewhere", Path("old"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "nowhere"], "nowhere: not a run (no settings.yaml in it): expected a folder such as runs/seg/<time>"),
        (["--resume", "old", "--config", "a.yaml"], "--config with --resume: a resumed run keeps its own settings"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such settings file: check --config"),
        (["--resum", "old"], "unknown setting 'resum'"),
        (["scan.png"], "unexpected argument 'scan.png': write settings as `--optim.lr 3e-4`"),
    ],
)
def test_a_wrong_request_never_reaches_fit(arguments: list[str], message: str, asked: list[Any], capsys: Any) -> None:
    assert train.main("seg", arguments) == 2
    assert message in capsys.readouterr().err
    assert asked == []


def test_an_interrupted_run_ends_with_130_and_no_scores(asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from bts.training import fit

    def stopped(settings: Settings, *, resume: Path | None = None, check: Any = None) -> Run:
        raise Interrupted("SIGINT ended the run; go on with --resume runs/seg/x")

    monkeypatch.setattr(fit, "fit", stopped)
    assert train.main("seg", []) == 130
    told = capsys.readouterr()
    assert told.err == "SIGINT ended the run; go on with --resume runs/seg/x\n"
    assert "Dice" not in told.out


def test_help_names_every_setting_and_every_option(capsys: Any) -> None:
    from bts.fields import leaf_hints
    from bts.settings import SETTINGS

    assert train.main("seg", ["--help"]) == 0
    told = capsys.readouterr().out
    assert [key for key, _ in leaf_hints(SETTINGS["seg"]) if f"--{key}" not in told] == []
    assert all(option in told for option in ("--config", "--resume", "--debug"))


def test_the_root_scripts_train_their_own_task(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    for task in ("seg", "cls", "joint"):
        path = Path(train.__file__).parents[2] / f"train_{task}.py"
        spec = importlib.util.spec_from_file_location(f"train_{task}", path)
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        called = SimpleNamespace(with_=None)
        monkeypatch.setattr(script, "train", lambda *given, called=called: setattr(called, "with_", given) or 0)
        assert script.main(["--seed", "1"]) == 0
        assert called.with_ == (task, ["--seed", "1"])
