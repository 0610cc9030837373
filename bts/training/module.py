"""What does every task's training step have in common: optimiser, rate, seeds, sums of losses?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from bts.models.base import Network
from bts.models.output import Output
from bts.training.schedule import Plateau, Schedule

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Optim:
    """Numbers of the optimiser; see `bts.settings.OptimSettings`."""

    lr: float
    weight_decay: float
    schedule: str
    warmup_epochs: float
    plateau_factor: float
    plateau_patience: int
    epochs: int
    plateau_min_delta: float = 0.0
    step_epochs: int = 7
    step_factor: float = 0.1
    optimizer: str = "adamw"
    momentum: float = 0.9


class TaskModule(pl.LightningModule):
    """Base of the tasks: a network, its losses and its validation scores.

    A task gives `losses` and the three score methods; everything else is the same for all. Losses are summed on the device
    and read once an epoch, so no step waits for the device in order to be logged.
    """

    def __init__(self, network: Network, *, optim: Optim, monitor: str, seed: int) -> None:
        super().__init__()
        self.network, self.optim, self.monitor, self.seed = network, optim, monitor, seed
        self.schedule: Schedule | None = None
        self.plateau = Plateau(
            optim.plateau_factor,
            optim.plateau_patience,
            higher_is_better=monitor != "loss",
            min_delta=optim.plateau_min_delta,
        )
        self.sums: dict[str, Tensor] = {}
        self.lr = 0.0
        self.scores: dict[str, float] = {}
        self._learn: Callable[[Tensor], Output] | None = None

    def compile_steps(self) -> None:
        """Let training steps, but not validation, go through `torch.compile`; the first one then takes minutes."""
        # the method, not the module: the names of the weights, and so the checkpoints, stay as they are
        self._learn = torch.compile(self.network.forward)

    @abstractmethod
    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise and its parts by name."""

    @abstractmethod
    def reset_scores(self) -> None:
        """Forget the validation slices seen so far."""

    @abstractmethod
    def update_scores(self, output: Output, batch: Batch) -> None:
        """Take a batch of validation slices into account."""

    @abstractmethod
    def compute_scores(self) -> dict[str, float]:
        """Return the validation scores over all slices and devices, by the names that `monitor` uses."""

    def confusion(self) -> np.ndarray | None:
        """Return the last validation's confusion matrix (K, K), rows the truth, where the task has classes."""
        return None

    def forward(self, image: Tensor) -> Output:
        """Return the network's output of (B, 1, H, W) in [0, 1]."""
        return self.network(image)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss, parts = self.losses((self._learn or self)(batch["image"]), batch)
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
        """Return the mean loss of this device's slices since the epoch began; waits for the device."""
        pair = self.sums.get(f"{part}_loss")
        return None if pair is None else float(pair[0] / pair[1])

    def on_train_epoch_start(self) -> None:
        # the random state is a function of (seed, stage, epoch, rank), so that a resumed run draws what an unbroken one draws
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
            steps = int(self.trainer.num_training_batches)
            warmup = round(self.optim.warmup_epochs * steps)
            self.schedule = Schedule(
                self.optim.schedule,  # type: ignore[arg-type]
                warmup,
                self.optim.epochs * steps,
                fall_steps=max(1, self.optim.step_epochs * steps),
                fall_factor=self.optim.step_factor,
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
        return make_optimizer([group for group in groups if group["params"]], self.optim)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plateau"] = self.plateau.state()
        # with the input's mean and deviation that came with the weights, which are not read again
        checkpoint["architecture"] = self.network.architecture.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.plateau.restore(checkpoint["plateau"])


def make_optimizer(groups: list[dict[str, Any]], optim: Optim) -> torch.optim.Optimizer:
    """Return the optimiser of parameter groups that bring their own weight decay."""
    if optim.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.momentum > 0)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.optimizer]
    return kind(groups, lr=optim.lr)


def score_name(monitor: str) -> str:
    """Return the name of a monitored score among the scores of an epoch: the loss is the validation's."""
    return "val_loss" if monitor == "loss" else monitor


def mix(numbers: list[int]) -> int:
    """Return one 32-bit seed from several numbers, such that near inputs give far seeds."""
    state = 0x9E3779B9
    for number in numbers:
        state = ((state ^ number) * 0x85EBCA6B + 0xC2B2AE35) & 0xFFFFFFFF
        state ^= state >> 13
    return state
