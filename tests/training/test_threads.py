"""Number of CPU threads during a training."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_settings import Make

from bts.cpu import Cores
from bts.training.fit import fit
from bts.training.threads import WINDOW_S, ThreadControl


class Bench:
    """A control of two threads on two cores whose clock, load and thread setter are made up."""

    def __init__(self, threads: int = 2) -> None:
        self.time, self.load = 0.0, 0.0
        self.set: list[int] = []
        self.control = ThreadControl(
            Cores(2, None, 2),
            threads,
            read_load=lambda: self.load,
            set_threads=self.set.append,
            clock=lambda: self.time,
        )

    def epoch(self, number: int) -> None:
        self.control.on_train_epoch_start(SimpleNamespace(current_epoch=number), None)  # type: ignore[arg-type]

    def window(self, rate: float, load: float) -> None:
        """Let one batch go by that takes a whole window."""
        self.load = load
        self.time += WINDOW_S
        batch = {"image": [0] * round(rate * WINDOW_S)}
        self.control.on_train_batch_end(None, None, None, batch, 0)  # type: ignore[arg-type]


def test_a_rate_below_half_takes_a_thread_away_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bts.training")
    bench = Bench()
    bench.epoch(0)
    for rate, load in ((16, 0.1), (15, 0.2), (8.5, 0.9)):
        bench.window(rate, load)
    assert bench.set == []
    bench.window(2, 0.9)
    assert bench.set == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == ("threads: 1 instead of 2 (2.0 slices/s, at best 16.0; 2 cores, 0.9 of them in use by other processes)")
    bench.window(9, 1.0)
    bench.window(3, 1.0)
    assert bench.set == [1]  # there is none left to take


def test_a_rate_that_falls_for_another_reason_leaves_the_threads() -> None:
    bench = Bench()
    bench.epoch(0)
    for rate in (16, 2, 2):
        bench.window(rate, 0.1)
    assert bench.set == []


def test_another_process_that_began_while_the_data_were_read_is_seen_in_the_first_window() -> None:
    bench = Bench()
    bench.epoch(0)
    bench.window(1, 1.0)
    assert bench.set == [1]


def test_threads_come_back_with_the_epoch_after_a_quiet_one_only() -> None:
    bench = Bench(threads=1)
    bench.epoch(0)
    bench.window(9, 0.1)
    bench.window(9, 0.8)
    bench.epoch(1)
    assert bench.set == []
    bench.window(9, 0.1)
    bench.epoch(2)
    assert bench.set == [2]


def test_two_threads_are_measured_against_one() -> None:
    bench = Bench(threads=1)
    bench.epoch(0)
    bench.window(9, 0.1)
    bench.epoch(1)
    bench.window(3, 0.9)  # the other process came back before two threads had shown what they can do
    assert bench.set == [2, 1]


def test_validation_between_two_epochs_is_not_part_of_the_rate() -> None:
    bench = Bench()
    measured: list[float] = []
    bench.control.measured = lambda rate, busy: measured.append(rate)  # type: ignore[method-assign]
    for epoch in range(2):
        bench.epoch(epoch)
        for _ in range(8):
            bench.time += 0.75
            bench.control.on_train_batch_end(None, None, None, {"image": [0, 0, 0]}, 0)  # type: ignore[arg-type]
        bench.time += 1000
    assert measured == [pytest.approx(4.0)]


def log_of(settings: Any) -> str:
    return fit(settings).log.read_text()


def test_the_setting_fixes_the_threads_of_the_training_alone(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda *args, **kw: seen.append(torch.get_num_threads()) or step(*args, **kw)
    )
    settings = cls()
    settings.optim.epochs, settings.trainer.threads = 1, 2
    assert "threads: 2 (trainer.threads)" in log_of(settings)
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1


def test_the_users_own_variable_fixes_the_threads(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = cls()
    settings.optim.epochs = 1
    assert "threads: 1 (OMP_NUM_THREADS)" in log_of(settings)


def test_threads_are_chosen_from_the_load_at_the_start(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bts.cpu.OtherLoad.read", lambda _: 2.6)
    monkeypatch.setattr("bts.training.threads.allowed_cores", lambda: set(range(5)))
    monkeypatch.setattr("bts.training.threads.cgroup_quota", lambda: None)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    settings = cls()
    settings.optim.epochs = 1
    assert "threads: 2 (5 cores, 2.6 of them in use by other processes)" in log_of(settings)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no CPU affinity")
def test_the_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    from bts.cpu import allowed_cores

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5})
    assert allowed_cores() == {3, 5}
