"""What is kept of each epoch: a line in the log, a row of the curves, and how long the loop waited for data?"""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

from bts.training.curves import Curves, Row
from bts.training.module import TaskModule

log = logging.getLogger("bts.training")


class Throughput(pl.Callback):
    """Slices a second of the training part of an epoch, and the share of that time spent waiting for batches.

    Times are the host's: beside a GPU they are those of the queue, which only stands still when the device lags behind.
    """

    def __init__(self) -> None:
        self.slices, self.waited_s, self.total_s = 0, 0.0, 0.0
        self._began = self._ready = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.slices, self.waited_s = 0, 0.0
        self._began = self._ready = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self.waited_s += time.perf_counter() - self._ready

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.slices += len(batch["image"])
        self._ready = time.perf_counter()
        self.total_s = self._ready - self._began

    @property
    def slices_per_s(self) -> float:
        """Training slices a second, on this device."""
        return self.slices / self.total_s if self.total_s else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the training time in which the loop waited for the next batch."""
        return self.waited_s / self.total_s if self.total_s else 0.0


class Record(pl.Callback):
    """Writes each epoch into `curves.csv` and the log; on the first process only.

    Args:
        curves: the run's table.
        stage: number of the stage.
        before: epochs that earlier stages have run.
        throughput: the callback that measured; it must stand before this one.
    """

    def __init__(self, curves: Curves, *, stage: int, before: int, throughput: Throughput) -> None:
        self.curves, self.stage, self.before, self.throughput = curves, stage, before, throughput
        self.row: Row = {}
        self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.cut(self.before + trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        row: Row = {"epoch": self.before + trainer.current_epoch + 1, "stage": self.stage, "lr": pl_module.lr}
        row |= pl_module.scores
        row |= {
            "slices_per_s": self.throughput.slices_per_s * trainer.world_size,
            "waiting_share": self.throughput.waiting_share,
        }
        row["epoch_s"] = time.perf_counter() - self._began
        self.row = row
        if trainer.is_global_zero:
            self.curves.append(row)
            if isinstance(trainer.progress_bar_callback, TQDMProgressBar):
                trainer.progress_bar_callback.train_progress_bar.clear()  # or the line would begin behind the bar
            log.info(describe(row, epochs=trainer.max_epochs or 0, before=self.before))


def describe(row: Row, *, epochs: int, before: int) -> str:
    """Return the log's line of an epoch, with the longest time that the stage may still take."""
    number = int(row["epoch"]) - before
    hidden = ("lr", "slices_per_s", "waiting_share", "epoch_s")
    scores = [f"{name} {value:.4f}" for name, value in row.items() if _is_score(name, value) and name not in hidden]
    left = time_text((epochs - number) * float(row["epoch_s"]))
    speed = f"{float(row['slices_per_s']):.1f} slices/s, {float(row['waiting_share']):.0%} waiting for data"
    told = f"{', '.join(scores)}; rate {float(row['lr']):.2g}, {speed}; at most {left} left"
    return f"stage {row['stage']} epoch {number} of at most {epochs}: {told}"


def time_text(seconds: float) -> str:
    """Return a duration for people.

    >>> time_text(5), time_text(300), time_text(9000)
    ('5 s', '5 min', '2 h 30 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _is_score(name: str, value: object) -> bool:
    return isinstance(value, float) and "_loss_" not in name
