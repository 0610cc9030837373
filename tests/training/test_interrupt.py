"""Ctrl-C and SIGTERM end a run cleanly, with the best model saved and a run that can be resumed."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
import torch
from forked import start
from small_settings import Make

from bts.apps.run import run_app
from bts.errors import Interrupted
from bts.models.folder import load_network
from bts.runs import Run
from bts.settings import Settings
from bts.training.fit import fit
from bts.training.module import TaskModule
from bts.training.progress import Curves
from bts.training.stage_runner import StopSignals

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def signal_at(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, *, epoch: int) -> None:
    """Let a signal come in the first step of an epoch."""
    step = TaskModule.training_step

    def signalled(module: TaskModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if module.trainer.current_epoch == epoch and index == 0:
            signal.raise_signal(number)
        return step(module, batch, index)

    monkeypatch.setattr(TaskModule, "training_step", signalled)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_middle_saves_the_best_model_and_the_run_goes_on(
    cls: Make, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = cls()
    settings.optim.epochs, settings.data.batch_size = 3, 2
    handlers = [signal.getsignal(each) for each in SIGNALS]
    with monkeypatch.context() as patch:
        signal_at(number, patch, epoch=1)
        with pytest.raises(Interrupted) as ended:
            fit(settings)
    assert ended.value.exit_status == 130
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    (path,) = Path(settings.runs).glob("cls/*")
    assert str(ended.value) == f"{number.name} ended the run; resume it with --resume {path}"
    run = Run(path)
    assert load_network(run.model)[1].trained_on.endswith("1 epoch (best 1)")
    assert run.marker() is None
    assert "interrupted: the best so far" in run.log.read_text()
    fit(settings, resume=path)
    assert [row["epoch"] for row in Curves(run.curves).rows] == ["1", "2", "3"]


def test_a_signal_before_the_first_epoch_ended_leaves_nothing(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = cls()
    signal_at(signal.SIGINT, monkeypatch, epoch=0)
    with pytest.raises(Interrupted, match="nothing is kept, start a new run"):
        fit(settings)
    assert not list(Path(settings.runs).glob("cls/*"))


def test_a_signal_early_in_stage_two_saves_the_best_of_stage_one(
    cls: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = cls()
    weights = load_network(fit(settings).model)[0].encoder.state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    settings.model.weights, settings.freeze.epochs, settings.runs = str(tmp_path / "weights.pt"), 1, str(tmp_path / "two")  # type: ignore[attr-defined]
    settings.optim.epochs = 7
    step = TaskModule.training_step

    def signalled(module: TaskModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if module.optim.epochs == 7:
            signal.raise_signal(signal.SIGTERM)
        return step(module, batch, index)

    monkeypatch.setattr(TaskModule, "training_step", signalled)
    with pytest.raises(Interrupted):
        fit(settings)
    (path,) = Path(settings.runs).glob("cls/*")
    best, stage1 = (load_network(folder)[0].state_dict() for folder in (Run(path).model, Run(path).model_stage1))
    assert all(torch.equal(best[key], stage1[key]) for key in best)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_slices_are_read_ends_at_once(
    cls: Make, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bts.training.prepare.load_arrays", lambda *_, **__: signal.raise_signal(number))
    settings = cls()
    with pytest.raises(Interrupted, match=f"{number.name} ended the run before its first epoch ended: nothing is kept"):
        fit(settings)
    assert not list(Path(settings.runs).glob("cls/*"))  # nothing was trained: there is nothing to resume


def test_the_second_ctrl_c_does_not_wait_for_the_step() -> None:
    stop = StopSignals()
    with stop.watched(), stop.in_loop():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Lightning's own handler stands here in a training
        signal.raise_signal(signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with StopSignals().watched():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def interrupted_program(settings: Settings) -> int:
    """Train as a command does, and send SIGTERM in the second epoch."""

    def train(arguments: object) -> int:
        fit(settings)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        signal_at(signal.SIGTERM, patch, epoch=1)
        return run_app(train, [])


def test_a_program_ends_with_status_130_and_one_line(cls: Make, tmp_path: Path) -> None:
    settings, log = cls(), tmp_path / "log.txt"
    settings.optim.epochs = 50
    process = start(interrupted_program, settings, log=log, temporary=tmp_path / "temporary", copy=True)
    process.join(300)
    (path,) = (tmp_path / "runs" / "cls").iterdir()
    printed = log.read_text(encoding="utf-8")
    assert process.exitcode == 130, printed
    assert printed.strip().splitlines()[-1] == f"SIGTERM ended the run; resume it with --resume {path}"
    assert "Traceback" not in printed
    assert (path / "model" / "model.json").is_file()
