"""Training of the classifier: loss and validation accuracies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from bts.models.base import Network
from bts.models.losses import ClassificationLoss, balanced_weights
from bts.models.metrics import ClassScores
from bts.models.output import Output
from bts.settings import ClsSettings, OptimSettings
from bts.training.module import Batch, TaskModule


class Classification(TaskModule):
    """A grey-scale classifier with cross-entropy; slices without a label do not contribute."""

    def __init__(self, network: Network, *, loss: ClassificationLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.classes = loss, ClassScores(classes=network.architecture.classes)

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.class_logits is not None
        return self.loss(output.class_logits, batch["label"])[0], {}  # its only part is the loss itself

    def reset_scores(self) -> None:
        self.classes = ClassScores(classes=self.network.architecture.classes, device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.class_logits is not None
        self.classes.update(output.class_logits, batch["label"])

    def compute_scores(self) -> dict[str, float]:
        self.classes.totals = self.summed(self.classes.totals)
        return self.classes.compute()

    def confusion(self) -> np.ndarray:
        return self.classes.totals.cpu().numpy()


def module(
    settings: ClsSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]
) -> Classification:
    """Return the training module of a network; `counts`, the number of training slices per class, give the class weights."""
    weights = balanced_weights(counts) if settings.loss.class_weights == "balanced" else None
    loss = ClassificationLoss(class_weights=weights)
    return Classification(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)
