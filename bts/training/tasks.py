"""Which network, losses and scores does a task train with? One entry a task; everything else is the same for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bts.errors import RequestError
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.registry import suggestion
from bts.settings import SETTINGS, Settings
from bts.training import classification, joint, segmentation
from bts.training.module import TaskModule


@dataclass(frozen=True)
class Kit:
    """What a task brings along.

    Attributes:
        architecture: `(settings, classes) -> Architecture`.
        module: `(settings, network, optim=, monitor=, counts=) -> TaskModule`.
        scores: names that `trainer.monitor` may take beside `loss`; the first is the default.
        tested: test scores, as evaluation names them, that stand beside the settings in TensorBoard.
    """

    architecture: Callable[..., Architecture]
    module: Callable[..., TaskModule]
    scores: tuple[str, ...]
    tested: tuple[str, ...]


KITS: dict[Task, Kit] = {
    "seg": Kit(
        segmentation.architecture,
        segmentation.module,
        scores=("dice", "iou"),
        tested=("slice.dice", "patient.dice"),
    ),
    "cls": Kit(
        classification.architecture,
        classification.module,
        scores=("balanced_accuracy", "accuracy", "f1"),
        tested=("slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
    "joint": Kit(
        joint.architecture,
        joint.module,
        scores=("joint", "dice", "iou", "balanced_accuracy", "accuracy", "f1"),
        tested=("slice.dice", "slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
}


def task_of(settings: Settings) -> Task:
    """Return the task that settings are for, by their class."""
    for task, kind in SETTINGS.items():
        if type(settings) is kind:
            return task
    raise TypeError(f"settings of {type(settings).__name__}: expected one of {[kind.__name__ for kind in SETTINGS.values()]}")


def choose_monitor(monitor: str, task: Task) -> str:
    """Return the score that picks the best epoch; raises RequestError for one that the task doesn't have."""
    known: Any = ("loss", *KITS[task].scores)
    if monitor == "auto":
        return KITS[task].scores[0]
    if monitor not in known:
        raise RequestError(
            f"trainer.monitor '{monitor}'{suggestion(monitor, known)}: task {task} knows {', '.join(known)} (or auto)"
        )
    return monitor
