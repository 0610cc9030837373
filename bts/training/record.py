"""What is kept of each epoch: a line in the log, a row of the curves, and how long the loop waited for data?"""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as pl

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

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.cut(self.before + trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        if not trainer.is_global_zero:
            return
        row: Row = {"epoch": self.before + trainer.current_epoch + 1, "stage": self.stage, "lr": pl_module.lr}
        row |= pl_module.scores
        row |= {
            "slices_per_s": self.throughput.slices_per_s * trainer.world_size,
            "waiting_share": self.throughput.waiting_share,
        }
        self.curves.append(row)
        log.info(describe(row, epochs=trainer.max_epochs or 0, before=self.before))


def describe(row: Row, *, epochs: int, before: int) -> str:
    """Return the log's line of an epoch."""
    shown = [f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float) and "_loss_" not in name]
    return f"epoch {int(row['epoch']) - before} of at most {epochs} (stage {row['stage']}): {', '.join(shown)}"
