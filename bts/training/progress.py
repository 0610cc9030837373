"""Progress of a run: log file, phases of an epoch, curves, throughput."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from bts.atomic import replacing
from bts.csv_files import dict_reader, dict_writer
from bts.progress import Phase, format_duration, phase
from bts.training.device import is_first
from bts.training.loggers import score_tag
from bts.training.module import TaskModule, score_name
from bts.training.schedule import Stage

log = logging.getLogger("bts.training")

Row = dict[str, float | int | str]
"""One epoch: `epoch` (from 1, over both stages), `stage`, then losses and scores by name."""
NOT_ACTIONABLE = (
    r"The '\w+' does not have many workers",  # the number is chosen: 0 on a CPU, which workers would have to share
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen batch norms, on purpose
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own use of torch
)
"""Beginnings of Lightning's warnings that need no action."""


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append what the logger `bts` logs inside the block to the file at `path`."""
    logger = logging.getLogger("bts")
    if not is_first():  # only the first process logs
        level = logger.level
        logger.setLevel(logging.ERROR)
        yield
        logger.setLevel(level)
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's advertisements and the warnings that need no action."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOT_ACTIONABLE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class EpochProgress(pl.Callback):
    """Training, validation and the end of an epoch as phases, with the mean loss so far and the last validation score.

    Args:
        stage: the stage.
        every: steps between two readings of the loss, which wait for the device.
    """

    def __init__(self, *, stage: Stage, every: int) -> None:
        self.stage, self.every = stage, every
        self._epoch, self._open = contextlib.ExitStack(), contextlib.ExitStack()
        self._part: Phase | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._epoch.enter_context(phase(f"training {self.stage.prefix}".strip()))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._open.close()
        self._epoch.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def _begin(self, trainer: pl.Trainer, part: str, total: float) -> None:
        self._open.close()
        name = f"{self.stage.prefix}epoch {trainer.current_epoch + 1}/{trainer.max_epochs}{part}"
        self._part = self._open.enter_context(phase(name, int(total), unit="batches"))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, "", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        assert self._part is not None
        note = self._part.note
        if index % self.every == 0 and (loss := pl_module.mean_loss("train")) is not None:
            name = score_name(pl_module.monitor)
            score = f", {name} {pl_module.scores[name]:.3f}" if name in pl_module.scores else ""
            note = f"loss {loss:.3f}{score}"
        self._part.reach(index + 1, note=note)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, ", validation", sum(map(int, trainer.num_val_batches)))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int, *_: Any
    ) -> None:
        assert self._part is not None
        self._part.reach(index + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open.close()


class Curves:
    """Rows of `curves.csv`, one per epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = list(dict_reader(file))

    def cut(self, epoch: int) -> None:
        """Drop the rows after `epoch`, which a resumed run repeats."""
        self.rows = [row for row in self.rows if int(row["epoch"]) <= epoch]

    def best(self, monitor: str) -> tuple[int, int, float] | None:
        """Return number, from 1, and score of the best epoch of the last stage, and its epochs; None without the score.

        >>> curves = Curves(Path("none.csv"))
        >>> curves.rows = [{"stage": "2", "dice": value} for value in ("0.5", "0.7", "0.6")]
        >>> curves.best("dice"), curves.best("f1")
        ((2, 3, 0.7), None)
        """
        rows = [row for row in self.rows if row["stage"] == self.rows[-1]["stage"]]
        scores = [float(row[score_name(monitor)]) for row in rows if row.get(score_name(monitor))]
        if not scores:
            return None
        found = min(scores) if monitor == "loss" else max(scores)
        return scores.index(found) + 1, len(rows), found

    def append(self, row: Row) -> None:
        """Add an epoch and rewrite the file atomically."""
        written = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        self.rows.append(written)
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        with replacing(self.path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = dict_writer(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


class Throughput(pl.Callback):
    """Training slices per second of an epoch, and the share of the time spent waiting for batches.

    Times are measured on the host: with a GPU they are those of the queue, which blocks only when the device lags behind.
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
        """Training slices per second on this device."""
        return self.slices / self.total_s if self.total_s else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the training time in which the loop waited for the next batch."""
        return self.waited_s / self.total_s if self.total_s else 0.0


class EpochRecorder(pl.Callback):
    """Write each epoch to `curves.csv`, the log and Lightning's loggers, on the first process only.

    Args:
        curves: the run's table.
        stage: the stage.
        before: number of epochs of earlier stages.
        throughput: the callback that measures; it must come before this one.
        settings: settings of the run, by their full names, for the loggers.
    """

    def __init__(
        self, curves: Curves, *, stage: Stage, before: int, throughput: Throughput, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.curves, self.stage, self.before, self.throughput = curves, stage, before, throughput
        self.settings = dict(settings or {})
        self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            logger.log_hyperparams(self.settings)
        self.curves.cut(self.before + trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        row: Row = {"epoch": self.before + trainer.current_epoch + 1, "stage": self.stage.number, "lr": pl_module.lr}
        row |= pl_module.scores
        row |= {
            "slices_per_s": self.throughput.slices_per_s * trainer.world_size,
            "waiting_share": self.throughput.waiting_share,
        }
        row["epoch_s"] = time.perf_counter() - self._began
        for logger in trainer.loggers:
            values = {score_tag(name): float(value) for name, value in row.items() if name not in ("epoch", "stage")}
            logger.log_metrics(values, step=int(row["epoch"]))
            logger.save()
        if trainer.is_global_zero:
            self.curves.append(row)
            log.info(format_epoch(row, stage=self.stage, epochs=trainer.max_epochs or 0, before=self.before))


def format_epoch(row: Row, *, stage: Stage, epochs: int, before: int) -> str:
    """Return the log line of an epoch, with an upper bound of the time left in the stage."""
    number = int(row["epoch"]) - before
    hidden = ("lr", "slices_per_s", "waiting_share", "epoch_s")
    scores = [f"{name} {value:.4f}" for name, value in row.items() if _is_score(name, value) and name not in hidden]
    left = format_duration((epochs - number) * float(row["epoch_s"]))
    speed = f"{float(row['slices_per_s']):.1f} slices/s, {float(row['waiting_share']):.0%} waiting for data"
    values = f"{', '.join(scores)}; rate {float(row['lr']):.2g}, {speed}; at most {left} left"
    return f"{stage.prefix}epoch {number} of at most {epochs}: {values}"


def _is_score(name: str, value: object) -> bool:
    return isinstance(value, float) and "_loss_" not in name
