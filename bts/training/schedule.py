"""Stages of a training and their learning-rate schedules.

The rate is a pure function of the step, so a resumed run needs no scheduler state; only `plateau` has some, which the
checkpoint keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bts.settings import FreezeSettings, OptimSettings


@dataclass(frozen=True)
class Stage:
    """One stage with its own learning rate and checkpoints.

    Attributes:
        number: 1 (frozen) or 2 (main).
        trainable: part of the network that is trained, see `bts.models.freeze.set_trainable`.
        epochs: largest number of epochs.
        lr: peak learning rate.
        is_only: whether the training has no other stage.
    """

    number: int
    trainable: str
    epochs: int
    lr: float
    is_only: bool = False

    @property
    def name(self) -> str:
        """Name of the checkpoint folder."""
        return f"stage{self.number}"

    @property
    def prefix(self) -> str:
        """Beginning of what names one of its epochs: `stage 1 `, or nothing where there is no other stage."""
        return "" if self.is_only else f"stage {self.number} "

    @property
    def title(self) -> str:
        """Name in log lines: `stage 1`, or `training` where there is no other stage."""
        return self.prefix.strip() or "training"


def plan_stages(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> tuple[list[Stage], str]:
    """Return the stages in order and a line for the log.

    Features of a frozen random encoder are of no use to the head, so a network with random weights is trained as a whole in one
    stage; the line names the settings that are not used then (see `deviations`).
    """
    gone = deviations(freeze, optim, pretrained=pretrained)
    if not pretrained:
        last = Stage(number=2, trainable="all", epochs=optim.epochs, lr=optim.lr_random or optim.lr, is_only=True)
        return [last], "; ".join(gone) if gone else "one stage: all layers are trained from the start"
    last = Stage(number=2, trainable=optim.trainable, epochs=optim.epochs, lr=optim.lr, is_only=freeze.epochs <= 0)
    what = "all layers" if optim.trainable == "all" else optim.trainable
    if last.is_only:
        return [last], f"one stage: {what} {'are' if optim.trainable == 'all' else 'is'} trained from the start"
    first = Stage(number=1, trainable=freeze.trainable, epochs=freeze.epochs, lr=freeze.lr)
    return [first, last], f"two stages: {freeze.trainable} for {freeze.epochs} epochs at {freeze.lr:g}, then {what}"


def deviations(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> list[str]:
    """Return one phrase for each setting that is not used with random weights, for the log and the model folder."""
    if pretrained:
        return []
    found = []
    if freeze.epochs > 0:
        found.append("stage 1 is skipped: the weights are random")
    if optim.trainable != "all":
        found.append(f"all layers are trained in place of {optim.trainable}: the weights are random")
    if optim.lr_random is not None and optim.lr_random != optim.lr:
        found.append(f"the learning rate is {optim.lr_random:g} in place of {optim.lr:g}: the weights are random")
    return found


WARMUP_START = 0.1
"""Fraction of the learning rate at the first step of the warm-up."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate of each step as a factor on the peak rate; the names are those of `bts.settings.OptimSettings`.

    Attributes:
        schedule: `cosine` to zero, `step` by `step_factor` every `step_epochs`, or constant (`plateau` is scaled by `Plateau`).
        steps_per_epoch: number of optimiser steps per epoch.
        epochs: length of the stage.
        warmup_epochs: epochs of linear warm-up.
        step_epochs: epochs between two reductions, counted from the start of the stage.
        step_factor: factor of each reduction.
    """

    schedule: Literal["cosine", "step", "plateau", "constant"]
    steps_per_epoch: int
    epochs: int
    warmup_epochs: float = 0.0
    step_epochs: int = 1
    step_factor: float = 1.0

    def factor(self, step: int) -> float:
        """Return the factor of step `step` (the first is 0).

        >>> [round(Schedule("cosine", 1, 6, warmup_epochs=2).factor(step), 2) for step in range(7)]
        [0.1, 0.55, 1.0, 0.85, 0.5, 0.15, 0.0]
        >>> [Schedule("step", 1, 6, step_epochs=2, step_factor=0.5).factor(step) for step in range(6)]
        [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
        """
        warmup = round(self.warmup_epochs * self.steps_per_epoch)
        if step < warmup:
            return WARMUP_START + (1 - WARMUP_START) * step / warmup
        if self.schedule == "step":
            return float(self.step_factor ** (step // max(1, self.step_epochs * self.steps_per_epoch)))
        if self.schedule != "cosine":
            return 1.0
        after = max(1, self.epochs * self.steps_per_epoch - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / after)))


@dataclass
class Plateau:
    """Factor on the learning rate, reduced each time the loss or score has not improved for `plateau_patience` epochs."""

    plateau_factor: float
    plateau_patience: int
    higher_is_better: bool
    scale: float = 1.0
    best: float | None = None
    waited: int = 0

    def update(self, score: float) -> None:
        """Take the score of an epoch into account."""
        if self.best is None or (score > self.best if self.higher_is_better else score < self.best):
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.plateau_patience:
            self.scale, self.waited = self.scale * self.plateau_factor, 0

    def state(self) -> dict[str, float | int | None]:
        """Return the state for a checkpoint."""
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Restore what `state` returned."""
        self.scale, self.best, self.waited = float(state["scale"] or 0), state["best"], int(state["waited"] or 0)
