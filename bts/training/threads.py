"""Number of torch's CPU threads during a training: chosen at the start, and again when other processes need the cores."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch

from bts.cpu import FIXED_THREADS, Cores, OtherLoad, allowed_cores, cgroup_quota, choose_threads
from bts.training.device import Machine

log = logging.getLogger("bts.training")

WINDOW_S = 10.0
"""Time over which a training rate is measured."""
DROP = 0.5
"""Share of the best rate below which the threads are chosen again."""


class ThreadControl(pl.Callback):
    """Choose the number of threads again when the training rate drops below half of its best, or when cores become free.

    Args:
        cores: limits of this process.
        threads: number of threads at the start.
        read_load: returns the cores' worth of work of other processes since its last call.
        set_threads: sets the number of threads.
        clock: time in seconds.
    """

    def __init__(
        self,
        cores: Cores,
        threads: int,
        *,
        read_load: Callable[[], float],
        set_threads: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cores, self.threads = cores, threads
        self.read_load, self.set_threads, self.clock = read_load, set_threads, clock
        self.best: dict[int, float] = {}  # number of threads -> best rate
        self.loads: list[float] = []  # of the windows of this epoch
        self._slices, self._elapsed_s, self._before = 0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.loads:
            threads, reason = choose_threads(self.cores, max(self.loads))
            if threads > self.threads:
                self._change(threads, reason)
        self.loads, self._before = [], self.clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = self.clock()
        self._slices, self._elapsed_s, self._before = (
            self._slices + len(batch["image"]),
            self._elapsed_s + now - self._before,
            now,
        )
        if self._elapsed_s >= WINDOW_S:
            self.measured(self._slices / self._elapsed_s, self.read_load())
            self._slices, self._elapsed_s = 0, 0.0

    def measured(self, rate: float, busy: float) -> None:
        """Take in one window: the rate in slices per second, and the cores' worth of work of other processes."""
        self.loads.append(busy)
        expected = max((best for threads, best in self.best.items() if threads <= self.threads), default=None)
        if expected is None or rate < DROP * expected:  # the load at the start was that of the time before training
            threads, reason = choose_threads(self.cores, busy)
            if threads < self.threads:
                self._change(
                    threads, f"{rate:.1f} slices/s" + (f", at best {expected:.1f}" if expected else "") + f"; {reason}"
                )
                return
        self.best[self.threads] = max(rate, self.best.get(self.threads, 0.0))

    def _change(self, threads: int, reason: str) -> None:
        log.info(f"threads: {threads} instead of {self.threads} ({reason})")
        self.set_threads(threads)
        self.threads = threads


@contextlib.contextmanager
def controlled_threads(asked: int | None, machine: Machine, load: OtherLoad) -> Iterator[ThreadControl | None]:
    """Set the number of threads inside the block; yield the callback that changes it, None where it is fixed.

    Args:
        asked: `trainer.threads`; None selects automatically.
        machine: device, and number of processes on this machine.
        load: measures other processes, made some time before.
    """
    before = torch.get_num_threads()
    threads, reason, control = before, "not used for computing on this device", None
    variable = next((name for name in FIXED_THREADS if os.environ.get(name)), None)
    if asked is not None:
        threads, reason = asked, "trainer.threads"
    elif variable is not None:
        reason = variable
    elif machine.device == "cpu":
        cores = Cores(len(allowed_cores()), cgroup_quota(), default=before, processes=machine.devices)
        threads, reason = choose_threads(cores, load.read() if machine.devices == 1 else 0.0)
        if machine.devices == 1:  # several processes would take each other for others
            control = ThreadControl(cores, threads, read_load=load.read)
    log.info(f"threads: {threads} ({reason})")
    torch.set_num_threads(threads)
    try:
        yield control
    finally:
        torch.set_num_threads(before)
