"""Checkpoints of the best and the last epoch, and early stopping."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from bts.atomic import replacing
from bts.errors import RequestError
from bts.glossary import count_of
from bts.training.divergence import refuse_diverged
from bts.training.module import TaskModule, score_name

log = logging.getLogger("bts.training")


class Checkpoints(Checkpoint):
    """Save `best.ckpt` and `last.ckpt` at the end of each epoch, and stop early when the score no longer improves.

    An epoch after which the training has diverged is not saved: `DivergenceError` is raised instead.

    Lightning's ModelCheckpoint keeps absolute paths in its state, so a moved run loses its best epoch, and writes `last` only
    in epochs in which it also writes another file; its EarlyStopping counts separately. Here one score decides both.
    The files are Lightning's own checkpoints, which load with `weights_only=True`.

    Args:
        folder: folder of both files.
        monitor: `dice`, `balanced_accuracy`, `accuracy` or `loss` (the lowest validation loss).
        patience: epochs without a better score before the stage ends; 0 disables early stopping.
        min_delta: smallest improvement that resets the patience; a smaller one is still saved as the best.
    """

    state_key = "checkpoints"

    def __init__(self, folder: Path, *, monitor: str, patience: int, min_delta: float = 0.0) -> None:
        self.folder, self.monitor, self.patience, self.min_delta = folder, monitor, patience, min_delta
        self.best_score: float | None = None
        self.waited_for: float | None = None  # the score to beat by min_delta
        self.best_epoch = -1
        self.waited = 0
        self.epochs = 0

    @property
    def best(self) -> Path:
        """Path of the best epoch's checkpoint."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """Path of the last whole epoch's checkpoint."""
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        names = ("best_score", "best_epoch", "waited", "epochs", "waited_for")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in ({"waited_for": state_dict.get("best_score")} | state_dict).items():  # older ones lack the former
            setattr(self, name, value)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._waited_long_enough():  # the process was killed between the last epoch and the end of the stage
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        refuse_diverged(pl_module, epoch=trainer.current_epoch + 1)
        score, self.epochs = pl_module.scores[score_name(self.monitor)], trainer.current_epoch + 1
        is_best = self._is_better(score, self.best_score)
        if is_best:
            self.best_score, self.best_epoch = score, trainer.current_epoch
        if self._is_better(score, self.waited_for, by=self.min_delta):
            self.waited_for, self.waited = score, 0
        else:
            self.waited += 1
        self._save(trainer, is_best=is_best)
        if self._waited_long_enough():
            log.info(f"no better {self.monitor} for {count_of(self.waited, 'epoch')}: stopping early")
            trainer.should_stop = True

    def _save(self, trainer: pl.Trainer, *, is_best: bool) -> None:
        """Write one checkpoint under one or both names, such that a kill at any moment leaves a pair to resume from."""
        new = self.folder / "new.ckpt"
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            if is_best:
                _link_or_copy(new, self.best)
            os.replace(new, self.last)
        trainer.strategy.barrier("checkpoints")

    def _is_better(self, score: float, than: float | None, *, by: float = 0.0) -> bool:
        if than is None:
            return True
        return (than - score if self.monitor == "loss" else score - than) > by

    def _waited_long_enough(self) -> bool:
        return 0 < self.patience <= self.waited


def _link_or_copy(path: Path, name: Path) -> None:
    """Give `path` a second name, as a hard link where the file system supports it."""
    with replacing(name) as part:
        try:
            os.link(path, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, part)


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch of a stage: its checkpoint, score and number from 1, and the epochs run."""

    checkpoint: Path
    score: float
    epoch: int
    epochs: int


def best_so_far(folder: Path) -> BestEpoch | None:
    """Return the best epoch of an interrupted stage, or None if no epoch has ended."""
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    if not (last.is_file() and best.is_file()):
        return None
    found = load_checkpoint(last)
    state = found["callbacks"][Checkpoints.state_key]
    return BestEpoch(best, state["best_score"], state["best_epoch"] + 1, state["epochs"])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a training checkpoint without running code from it; raises RequestError if it can't be used."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror})") from error
    except Exception as error:  # torch raises several kinds for a truncated or foreign file
        raise RequestError(f"{path}: not a complete checkpoint ({type(error).__name__}): start a new run") from error
    if not isinstance(found, dict) or "state_dict" not in found:
        raise RequestError(f"{path}: a checkpoint without weights: start a new run")
    return found
