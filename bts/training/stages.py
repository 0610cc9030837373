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

    A frozen random network teaches its head nothing of use, so with random weights everything learns in one stage; what that
    leaves out of the settings stands in the line as a departure (see `departures`).
    """
    gone = departures(freeze, optim, pretrained=pretrained)
    if not pretrained:
        last = Stage(number=2, trainable="all", epochs=optim.epochs, lr=optim.lr_random or optim.lr)
        return [last], "; ".join(gone) if gone else "one stage: all layers learn from the start"
    last = Stage(number=2, trainable=optim.trainable, epochs=optim.epochs, lr=optim.lr)
    what = "all layers" if optim.trainable == "all" else optim.trainable
    if freeze.epochs <= 0:
        return [last], f"one stage: {what} learn{'' if optim.trainable == 'all' else 's'} from the start"
    first = Stage(number=1, trainable=freeze.trainable, epochs=freeze.epochs, lr=freeze.lr)
    return [first, last], f"two stages: {freeze.trainable} for {freeze.epochs} epochs at {freeze.lr:g}, then {what}"


def departures(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> list[str]:
    """Return what random weights change about a recipe, one phrase each; it stands in the log and in the model folder."""
    if pretrained:
        return []
    found = []
    if freeze.epochs > 0:
        found.append("stage 1 is skipped: the weights are random, and a frozen random network teaches nothing")
    if optim.trainable != "all":
        found.append(f"all layers learn in place of {optim.trainable}, as the weights are random")
    if optim.lr_random is not None and optim.lr_random != optim.lr:
        found.append(f"the rate is {optim.lr_random:g} in place of {optim.lr:g}, as the weights are random")
    return found
