"""What does someone who waits see of the epoch, the loss, the score, and the time that is left?"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

from bts.training.module import TaskModule, score_name


class Bar(TQDMProgressBar):
    """Lightning's bar with the mean loss so far and the last validation score.

    Reading the loss waits for the device, so beside a GPU the bar is drawn every 20 steps only.
    """

    def __init__(self, *, stage: str, refresh_rate: int) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.stage = stage

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, TaskModule)
        shown: dict[str, Any] = {}
        loss = pl_module.mean_loss("train")
        if loss is not None:
            shown["loss"] = f"{loss:.3f}"
        name = score_name(pl_module.monitor)
        if name in pl_module.scores:
            shown[name] = f"{pl_module.scores[name]:.3f}"
        return shown

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        last = f"/{trainer.max_epochs}" if trainer.max_epochs else ""
        self.train_progress_bar.set_description(f"{self.stage} epoch {trainer.current_epoch + 1}{last}")
