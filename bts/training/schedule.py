"""Which learning rate does a step get?

The rate is a pure function of the step, so a resumed run needs no scheduler state; only `plateau` remembers, and that is two
numbers which the checkpoint keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

WARMUP_START = 0.1
"""Share of the rate at the first step of the warm-up."""


@dataclass(frozen=True)
class Schedule:
    """Course of the learning rate as a factor on its highest value.

    Attributes:
        kind: what follows the warm-up: `cosine` to zero, `step` down now and then, or one (`plateau` then scales it by its own
            factor).
        warmup_steps: steps of linear warm-up.
        total_steps: steps of the whole stage.
        fall_steps: steps between two falls, with `step`; counted from the start of the stage, as epochs are.
        fall_factor: factor of each fall.
    """

    kind: Literal["cosine", "step", "plateau", "constant"]
    warmup_steps: int
    total_steps: int
    fall_steps: int = 1
    fall_factor: float = 1.0

    def factor(self, step: int) -> float:
        """Return the factor of step `step` (the first is 0).

        >>> [round(Schedule("cosine", 2, 6).factor(step), 2) for step in range(7)]
        [0.1, 0.55, 1.0, 0.85, 0.5, 0.15, 0.0]
        >>> [Schedule("step", 0, 6, fall_steps=2, fall_factor=0.5).factor(step) for step in range(6)]
        [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
        """
        if step < self.warmup_steps:
            return WARMUP_START + (1 - WARMUP_START) * step / self.warmup_steps
        if self.kind == "step":
            return float(self.fall_factor ** (step // self.fall_steps))
        if self.kind != "cosine":
            return 1.0
        after = max(1, self.total_steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - self.warmup_steps) / after)))


@dataclass
class Plateau:
    """Factor that falls each time the loss or score has not become better for `patience` epochs."""

    factor: float
    patience: int
    higher_is_better: bool
    min_delta: float = 0.0
    scale: float = 1.0
    best: float | None = None
    waited: int = 0

    def update(self, score: float) -> None:
        """Take the score of an epoch into account."""
        gain = 0.0 if self.best is None else (score - self.best) * (1 if self.higher_is_better else -1)
        if self.best is None or gain > self.min_delta:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = self.scale * self.factor, 0

    def state(self) -> dict[str, float | int | None]:
        """Return what a checkpoint must keep."""
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Take over what `state` returned."""
        self.scale, self.best, self.waited = float(state["scale"] or 0), state["best"], int(state["waited"] or 0)
