"""Detection of diverged training: losses, scores and weights that are not finite."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from bts.errors import RequestError
from bts.models.weights_file import first_non_finite
from bts.settings import Settings
from bts.training.module import TaskModule, score_name
from bts.training.schedule import Stage

STEPS_BETWEEN_CHECKS = 20
"""Steps between two checks of the training loss on a GPU or with several devices, where each check waits for them."""


class DivergenceError(RequestError):
    """The loss, a score or the weights are not finite. Raised before the epoch is saved."""


class DivergenceGuard(pl.Callback):
    """Stop the training at once if the training loss is not finite, on all devices in the same step."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        is_quick = pl_module.device.type == "cpu" and trainer.world_size == 1
        if not is_quick and (batch_idx + 1) % STEPS_BETWEEN_CHECKS:
            return
        loss = pl_module.mean_loss("train")  # one loss that is not finite makes the mean so for the rest of the epoch
        diverged = loss is not None and not math.isfinite(loss)
        if trainer.strategy.reduce_boolean_decision(diverged, all=False):
            shown = f"is {loss}" if diverged else "is not finite on another device"
            raise DivergenceError(f"the training loss {shown} in step {batch_idx + 1} of epoch {trainer.current_epoch + 1}")


def refuse_diverged(module: TaskModule, *, epoch: int) -> None:
    """Raise `DivergenceError` if a loss, the monitored score or the weights at the end of an epoch (from 1) are not finite."""
    for name in dict.fromkeys(("train_loss", "val_loss", score_name(module.monitor))):
        value = module.scores.get(name, 0.0)
        if not math.isfinite(value):
            raise DivergenceError(f"{name} is {value} in epoch {epoch}")
    if tensor := first_non_finite(module.network.state_dict()):
        raise DivergenceError(f"the weights {tensor} are not finite after epoch {epoch}")


def remedies(settings: Settings, stage: Stage) -> str:
    """Return what to try against divergence of a stage, as options of the command line."""
    name = "optim.lr" if stage.lr == settings.optim.lr else "optim.lr_random"
    options = [f"lower the learning rate (--{'freeze.lr' if stage.number == 1 else name} {stage.lr / 10:.2g})"]
    if not 0 < settings.optim.gradient_clip_val <= 1:
        options.append("clip the gradient (--optim.gradient_clip_val 1)")
    if settings.trainer.precision == "16-mixed":
        options.append("train in 32 bits (--trainer.precision 32-true)")
    return ", ".join(options)
