"""In which stages is trained: first with part of the network frozen, then all of it?"""

from __future__ import annotations

from dataclasses import dataclass

from bts.settings import FreezeSettings, OptimSettings


@dataclass(frozen=True)
class Stage:
    """One course of training with its own rate and checkpoints.

    Attributes:
        number: 1 (part is frozen) or 2 (everything learns).
        trainable: what learns, in the words of `bts.models.freeze.set_trainable`.
        epochs: its longest course.
        lr: its highest learning rate.
    """

    number: int
    trainable: str
    epochs: int
    lr: float

    @property
    def name(self) -> str:
        """Name of its checkpoint folder."""
        return f"stage{self.number}"


def plan_stages(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> tuple[list[Stage], str]:
    """Return the stages in their order and a line for the log.

    A frozen random network teaches its head nothing of use, so stage 1 is skipped where the weights are random.
    """
    last = Stage(number=2, trainable="all", epochs=optim.epochs, lr=optim.lr)
    if freeze.epochs <= 0:
        return [last], "one stage: all layers learn from the start"
    if not pretrained:
        return [last], "stage 1 is skipped: the weights are random, and a frozen random network teaches nothing"
    first = Stage(number=1, trainable=freeze.trainable, epochs=freeze.epochs, lr=freeze.lr)
    return [first, last], f"two stages: {freeze.trainable} for {freeze.epochs} epochs at {freeze.lr:g}, then all layers"
