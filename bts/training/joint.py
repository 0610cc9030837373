"""How is the network for mask and class trained: both losses at once, and one score that picks the best epoch?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.joint_loss import JointLoss
from bts.models.losses import ClassificationLoss, SegmentationLoss, balanced_weights
from bts.models.metrics import ClassScores, MaskScores
from bts.models.output import Output
from bts.settings import JointSettings
from bts.training.module import Batch, Optim, TaskModule


class Joint(TaskModule):
    """One network for both tasks; a slice without a mask teaches the class, one without a label the mask."""

    def __init__(self, network: Network, *, loss: JointLoss, optim: Optim, monitor: str, seed: int) -> None:
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

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = super().configure_optimizers()
        learned = list(self.loss.parameters())  # none with fixed weights; never decayed, 0 is no better than another value
        if learned:
            optimizer.add_param_group({"params": learned, "weight_decay": 0.0})
        return optimizer


def joint_score(scores: dict[str, float]) -> float:
    """Return the mean of Dice and balanced accuracy: both go from 0 to 1, and an epoch good at one alone is not the best.

    >>> joint_score({"dice": 0.5, "balanced_accuracy": 1.0})
    0.75
    """
    return (scores["dice"] + scores["balanced_accuracy"]) / 2


def architecture(settings: JointSettings, classes: Sequence[str]) -> Architecture:
    """Return the numbers of the network that the settings ask for."""
    model = settings.model
    return Architecture(
        task="joint",
        encoder=model.encoder,
        size=settings.data.size,
        classes=len(classes),
        attention=model.attention,
        channels=tuple(model.channels),
        dropout=model.dropout,
        rim_px=model.rim_px,
        slice_dropout=model.slice_dropout,
        conv1=model.conv1,
        in_channels=model.in_channels,
        normalisation=model.normalisation,
        input_mean=model.input_mean,
        input_std=model.input_std,
    )


def module(settings: JointSettings, network: Network, *, optim: Optim, monitor: str, counts: Sequence[int]) -> Joint:
    """Return the module around a network that is built already; `counts`, the training slices a class, give its weights."""
    wanted = settings.loss
    weights = balanced_weights(counts) if wanted.class_weights == "balanced" else None
    loss = JointLoss(
        SegmentationLoss(dice=wanted.dice, bce=wanted.bce, focal_gamma=wanted.focal_gamma),
        ClassificationLoss(class_weights=weights, label_smoothing=wanted.label_smoothing),
        cross_entropy=wanted.cross_entropy,
        learned=wanted.weighting == "learned",
    )
    return Joint(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)
