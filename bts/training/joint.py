"""Training of the joint network: both losses at once, and one score that selects the best epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from bts.models.base import Network
from bts.models.losses import ClassificationLoss, JointLoss, SegmentationLoss, balanced_weights
from bts.models.metrics import ClassScores, MaskScores
from bts.models.output import Output
from bts.settings import JointSettings, OptimSettings
from bts.training.module import Batch, TaskModule


class Joint(TaskModule):
    """One network for both tasks; slices without a mask or without a label contribute to the other loss only."""

    def __init__(self, network: Network, *, loss: JointLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.masks = loss, MaskScores()
        self.classes = ClassScores(classes=network.architecture.classes)

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.mask_logits is not None
        assert output.class_logits is not None
        return self.loss(
            output.mask_logits, output.class_logits, truth=batch["mask"], has_mask=batch["has_mask"], labels=batch["label"]
        )

    def reset_scores(self) -> None:
        self.masks = MaskScores(device=self.device)
        self.classes = ClassScores(classes=self.network.architecture.classes, device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.mask_logits is not None
        assert output.class_logits is not None
        self.masks.update(output.mask_logits, batch["mask"], batch["has_mask"])
        self.classes.update(output.class_logits, batch["label"])

    def compute_scores(self) -> dict[str, float]:
        self.masks.totals = self.summed(self.masks.totals)
        self.classes.totals = self.summed(self.classes.totals)
        scores = self.masks.compute() | self.classes.compute()
        return {"joint": joint_score(scores), **scores}

    def confusion(self) -> np.ndarray:
        return self.classes.totals.cpu().numpy()


def joint_score(scores: dict[str, float]) -> float:
    """Return the mean of Dice and balanced accuracy, so that the best epoch is good at both.

    >>> joint_score({"dice": 0.5, "balanced_accuracy": 1.0})
    0.75
    """
    return (scores["dice"] + scores["balanced_accuracy"]) / 2


def module(settings: JointSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]) -> Joint:
    """Return the training module of a network; `counts`, the number of training slices per class, give the class weights."""
    weights = balanced_weights(counts) if settings.loss.class_weights == "balanced" else None
    loss = JointLoss(
        SegmentationLoss(dice_weight=settings.loss.dice_weight, bce_weight=settings.loss.bce_weight),
        ClassificationLoss(class_weights=weights),
        cross_entropy_weight=settings.loss.cross_entropy_weight,
    )
    return Joint(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)
