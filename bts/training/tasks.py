"""Tasks: architecture, training module and scores of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.settings import SETTINGS, Settings
from bts.training import classification, joint, segmentation
from bts.training.module import TaskModule


@dataclass(frozen=True)
class Kit:
    """What differs between tasks.

    Attributes:
        module: `(settings, network, optim=, monitor=, counts=) -> TaskModule`.
        tested: test scores, as evaluation names them, that TensorBoard shows with the settings.
    """

    module: Callable[..., TaskModule]
    tested: tuple[str, ...]


KITS: dict[Task, Kit] = {
    "seg": Kit(
        segmentation.module,
        tested=("slice.dice", "patient.dice"),
    ),
    "cls": Kit(
        classification.module,
        tested=("slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
    "joint": Kit(
        joint.module,
        tested=("slice.dice", "slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
}


def task_of(settings: Settings) -> Task:
    """Return the task that settings are for, by their class."""
    for task, kind in SETTINGS.items():
        if type(settings) is kind:
            return task
    raise TypeError(f"settings of {type(settings).__name__}: expected one of {[kind.__name__ for kind in SETTINGS.values()]}")


def build_architecture(settings: Settings, classes: Sequence[str]) -> Architecture:
    """Return the architecture that the settings ask for; its fields are those of `settings.model` with the same names."""
    task, model = task_of(settings), settings.model  # type: ignore[attr-defined]
    values = {field.name: getattr(model, field.name) for field in fields(Architecture) if hasattr(model, field.name)}
    return Architecture(task=task, size=settings.data.size, classes=0 if task == "seg" else len(classes), **values)
