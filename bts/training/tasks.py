"""Training module, architecture and scores of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor

from bts.data.sources.catalogue import sources
from bts.errors import RequestError
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.base import Network, Output
from bts.models.decoders import decoders
from bts.models.encoders import adopt_encoder
from bts.models.losses import ClassLoss, JointLoss, MaskLoss, balanced_weights, class_losses, mask_losses
from bts.models.metrics import ClassScores, MaskScores
from bts.settings import (
    NAME_KEYS,
    SETTINGS,
    ClsLossSettings,
    ClsSettings,
    JointSettings,
    OptimSettings,
    SegLossSettings,
    SegSettings,
    Settings,
)
from bts.training.module import Batch, TaskModule


class Segmentation(TaskModule):
    """Segmentation with Dice and cross-entropy; slices without a mask do not contribute."""

    def __init__(self, network: Network, *, loss: MaskLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.mask_scores = loss, MaskScores()

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.mask_logits is not None
        return self.loss(output.mask_logits, batch["mask"], batch["has_mask"])

    def reset_scores(self) -> None:
        self.mask_scores = MaskScores(device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.mask_logits is not None
        self.mask_scores.update(output.mask_logits, batch["mask"], batch["has_mask"])

    def compute_scores(self) -> dict[str, float]:
        self.mask_scores.totals = self.summed(self.mask_scores.totals)
        return self.mask_scores.compute()


def build_segmentation(
    settings: SegSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]
) -> Segmentation:
    """Return the training module of a network."""
    loss = build_mask_loss(settings.loss)
    return Segmentation(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)


class Classification(TaskModule):
    """Classification with cross-entropy; slices without a label do not contribute."""

    def __init__(self, network: Network, *, loss: ClassLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.class_scores = loss, ClassScores(num_classes=network.architecture.num_classes)

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.class_logits is not None
        return self.loss(output.class_logits, batch["label"])[0], {}  # its only part is the loss itself

    def reset_scores(self) -> None:
        self.class_scores = ClassScores(num_classes=self.network.architecture.num_classes, device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.class_logits is not None
        self.class_scores.update(output.class_logits, batch["label"])

    def compute_scores(self) -> dict[str, float]:
        self.class_scores.totals = self.summed(self.class_scores.totals)
        return self.class_scores.compute()

    def confusion(self) -> np.ndarray:
        return self.class_scores.totals.cpu().numpy()


def build_classification(
    settings: ClsSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]
) -> Classification:
    """Return the training module of a network; `counts`, the number of training slices per class, give the class weights."""
    loss = build_class_loss(settings.loss, counts)
    return Classification(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)


class Joint(TaskModule):
    """One network for both tasks; slices without a mask or without a label contribute to the other loss only."""

    def __init__(self, network: Network, *, loss: JointLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.mask_scores = loss, MaskScores()
        self.class_scores = ClassScores(num_classes=network.architecture.num_classes)

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.mask_logits is not None
        assert output.class_logits is not None
        return self.loss(
            output.mask_logits, output.class_logits, truth=batch["mask"], has_mask=batch["has_mask"], labels=batch["label"]
        )

    def reset_scores(self) -> None:
        self.mask_scores = MaskScores(device=self.device)
        self.class_scores = ClassScores(num_classes=self.network.architecture.num_classes, device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.mask_logits is not None
        assert output.class_logits is not None
        self.mask_scores.update(output.mask_logits, batch["mask"], batch["has_mask"])
        self.class_scores.update(output.class_logits, batch["label"])

    def compute_scores(self) -> dict[str, float]:
        self.mask_scores.totals = self.summed(self.mask_scores.totals)
        self.class_scores.totals = self.summed(self.class_scores.totals)
        scores = self.mask_scores.compute() | self.class_scores.compute()
        return {"joint": joint_score(scores), **scores}

    def confusion(self) -> np.ndarray:
        return self.class_scores.totals.cpu().numpy()


def joint_score(scores: dict[str, float]) -> float:
    """Return the mean of Dice and balanced accuracy, so that the best epoch is good in both.

    >>> joint_score({"dice": 0.5, "balanced_accuracy": 1.0})
    0.75
    """
    return (scores["dice"] + scores["balanced_accuracy"]) / 2


def build_joint(
    settings: JointSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]
) -> Joint:
    """Return the training module of a network; `counts`, the number of training slices per class, give the class weights."""
    loss = JointLoss(
        build_mask_loss(settings.loss),
        build_class_loss(settings.loss, counts),
        cross_entropy_weight=settings.loss.cross_entropy_weight,
    )
    return Joint(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)


def build_mask_loss(settings: SegLossSettings) -> MaskLoss:
    """Return the loss of masks."""
    return mask_losses.find(settings.mask_loss)(dice_weight=settings.dice_weight, bce_weight=settings.bce_weight)


def build_class_loss(settings: ClsLossSettings, counts: Sequence[int]) -> ClassLoss:
    """Return the loss of classes; `counts` is the number of training slices per class."""
    weights = balanced_weights(counts) if settings.class_weights == "balanced" else None
    return class_losses.find(settings.class_loss)(class_weights=weights)


def adopt_names(values: Mapping[str, Any], mistakes: Sequence[str]) -> list[str]:
    """Import the user's own classes that settings name, and return a line for each unknown name or path.

    Args:
        values: values by the key of their setting, such as `data.source`.
        mistakes: lines on wrong settings; a setting that has one is skipped.
    """
    checks = (sources.find, adopt_encoder, decoders.adopt, mask_losses.find, class_losses.find)
    found = []
    for key, check in zip(NAME_KEYS, checks, strict=True):
        if key in values and not any(line.startswith(f"{key}:") for line in mistakes):
            try:
                check(str(values[key]))
            except RequestError as error:
                found.append(f"{key}: {error}")
    return found


@dataclass(frozen=True)
class TaskSpec:
    """What differs between tasks.

    Attributes:
        build_module: `(settings, network, optim=, monitor=, counts=) -> TaskModule`.
        test_scores: names of the test scores that TensorBoard shows with the settings.
    """

    build_module: Callable[..., TaskModule]
    test_scores: tuple[str, ...]


TASK_SPECS: dict[Task, TaskSpec] = {
    "seg": TaskSpec(
        build_segmentation,
        test_scores=("slice.dice", "patient.dice"),
    ),
    "cls": TaskSpec(
        build_classification,
        test_scores=("slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
    "joint": TaskSpec(
        build_joint,
        test_scores=("slice.dice", "slice.overall.accuracy", "slice.overall.balanced_accuracy"),
    ),
}


def task_of(settings: Settings) -> Task:
    """Return the task of settings, by their class."""
    for task, kind in SETTINGS.items():
        if type(settings) is kind:
            return task
    raise TypeError(f"settings of {type(settings).__name__}: expected one of {[kind.__name__ for kind in SETTINGS.values()]}")


def build_architecture(settings: Settings, classes: Sequence[str]) -> Architecture:
    """Return the architecture of the settings; its fields are those of `settings.model` with the same names."""
    task, model = task_of(settings), settings.model  # type: ignore[attr-defined]
    values = {field.name: getattr(model, field.name) for field in fields(Architecture) if hasattr(model, field.name)}
    return Architecture(task=task, size=settings.data.size, num_classes=0 if task == "seg" else len(classes), **values)
