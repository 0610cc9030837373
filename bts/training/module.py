"""Training step that all tasks share: optimiser, learning rate, seeds, sums of losses."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from bts.models.base import Network, Output
from bts.settings import OptimSettings
from bts.training.schedule import Plateau, Schedule

Batch = dict[str, Tensor]


class TaskModule(pl.LightningModule):
    """Base of the tasks: a network, its losses and its validation scores.

    A task defines `losses` and the three score methods. Losses are summed on the device and read once per epoch, so that
    logging never makes a step wait for the device.
    """

    def __init__(self, network: Network, *, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__()
        self.network, self.optim, self.monitor, self.seed = network, optim, monitor, seed
        self.schedule: Schedule | None = None
        self.plateau = Plateau(optim.plateau_factor, optim.plateau_patience, higher_is_better=monitor != "loss")
        self.sums: dict[str, Tensor] = {}
        self.lr = 0.0
        self.scores: dict[str, float] = {}

    @abstractmethod
    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise and its parts by name."""

    @abstractmethod
    def reset_scores(self) -> None:
        """Reset the validation scores."""

    @abstractmethod
    def update_scores(self, output: Output, batch: Batch) -> None:
        """Update the validation scores with a batch."""

    @abstractmethod
    def compute_scores(self) -> dict[str, float]:
        """Return the validation scores over all slices and devices, by the names that `monitor` uses."""

    def confusion(self) -> np.ndarray | None:
        """Return the confusion matrix (K, K) of the last validation, rows the truth, or None without classes."""
        return None

    def forward(self, image: Tensor) -> Output:
        """Return the network's output of (B, 1, H, W) in [0, 1]."""
        return self.network(image)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss, parts = self.losses(self(batch["image"]), batch)
        self._add("train", loss, parts, len(batch["image"]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        output = self(batch["image"])
        self._add("val", *self.losses(output, batch), len(batch["image"]))
        self.update_scores(output, batch)

    def _add(self, part: str, loss: Tensor, parts: dict[str, Tensor], count: int) -> None:
        values = {"loss": loss, **{f"loss_{name}": value for name, value in parts.items()}}
        for name, value in values.items():
            key, pair = f"{part}_{name}", torch.stack([value.detach().float() * count, value.new_full((), count).float()])
            self.sums[key] = self.sums[key] + pair if key in self.sums else pair

    def mean_loss(self, part: str) -> float | None:
        """Return the mean loss of this device's slices since the start of the epoch; waits for the device."""
        pair = self.sums.get(f"{part}_loss")
        return None if pair is None else float(pair[0] / pair[1])

    def on_train_epoch_start(self) -> None:
        # the random state is a function of (seed, stage, epoch, rank), so that a resumed run draws the same numbers
        state = [self.seed, self.trainer.current_epoch, self.trainer.global_rank]
        pl.seed_everything(mix(state), verbose=False)
        self.sums.clear()

    def on_validation_epoch_start(self) -> None:
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.summed(buffer.clone()) / self.trainer.world_size)
        self.reset_scores()

    def summed(self, totals: Tensor) -> Tensor:
        """Return the sum of a tensor over all devices."""
        reduced = self.trainer.strategy.reduce(totals, reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return reduced

    def on_validation_epoch_end(self) -> None:
        means = {name: self.summed(pair) for name, pair in self.sums.items()}
        self.scores = {name: float(pair[0] / pair[1]) for name, pair in means.items()} | self.compute_scores()
        if self.optim.schedule == "plateau":
            self.plateau.update(self.scores[score_name(self.monitor)])

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        if self.schedule is None:
            self.schedule = Schedule(
                self.optim.schedule,
                steps_per_epoch=int(self.trainer.num_training_batches),
                epochs=self.optim.epochs,
                warmup_epochs=self.optim.warmup_epochs,
                step_epochs=self.optim.step_epochs,
                step_factor=self.optim.step_factor,
            )
        self.lr = self.optim.lr * self.schedule.factor(self.trainer.global_step) * self.plateau.scale
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # norms and biases are not decayed: pulling them to zero regularises nothing (Loshchilov & Hutter's AdamW, common use)
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": self.optim.weight_decay},
            {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.optim.optimizer]
        return optimizer([group for group in groups if group["params"]], lr=self.optim.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plateau"] = self.plateau.state()
        # with the input's mean and deviation from the pretrained weights, which are not read again
        checkpoint["architecture"] = self.network.architecture.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.plateau.restore(checkpoint["plateau"])


def score_name(monitor: str) -> str:
    """Return the name of a monitored score among the scores of an epoch; `loss` is the validation loss."""
    return "val_loss" if monitor == "loss" else monitor


def mix(numbers: list[int]) -> int:
    """Return one 32-bit seed from several numbers; close inputs give distant seeds."""
    state = 0x9E3779B9
    for number in numbers:
        state = ((state ^ number) * 0x85EBCA6B + 0xC2B2AE35) & 0xFFFFFFFF
        state ^= state >> 13
    return state
