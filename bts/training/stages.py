"""Stages of a training: an optional first one with part of the network frozen, then the main one."""

from __future__ import annotations

from dataclasses import dataclass

from bts.settings import FreezeSettings, OptimSettings


@dataclass(frozen=True)
class Stage:
    """One stage with its own learning rate and checkpoints.

    Attributes:
        number: 1 (frozen) or 2 (main).
        trainable: part of the network that is trained, see `bts.models.freeze.set_trainable`.
        epochs: largest number of epochs.
        lr: peak learning rate.
    """

    number: int
    trainable: str
    epochs: int
    lr: float

    @property
    def name(self) -> str:
        """Name of the checkpoint folder."""
        return f"stage{self.number}"


def plan_stages(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> tuple[list[Stage], str]:
    """Return the stages in order and a line for the log.

    Features of a frozen random encoder are of no use to the head, so a network with random weights is trained as a whole in one
    stage; the line names the settings that are not used then (see `departures`).
    """
    gone = departures(freeze, optim, pretrained=pretrained)
    if not pretrained:
        last = Stage(number=2, trainable="all", epochs=optim.epochs, lr=optim.lr_random or optim.lr)
        return [last], "; ".join(gone) if gone else "one stage: all layers are trained from the start"
    last = Stage(number=2, trainable=optim.trainable, epochs=optim.epochs, lr=optim.lr)
    what = "all layers" if optim.trainable == "all" else optim.trainable
    if freeze.epochs <= 0:
        return [last], f"one stage: {what} {'are' if optim.trainable == 'all' else 'is'} trained from the start"
    first = Stage(number=1, trainable=freeze.trainable, epochs=freeze.epochs, lr=freeze.lr)
    return [first, last], f"two stages: {freeze.trainable} for {freeze.epochs} epochs at {freeze.lr:g}, then {what}"


def departures(freeze: FreezeSettings, optim: OptimSettings, *, pretrained: bool) -> list[str]:
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
