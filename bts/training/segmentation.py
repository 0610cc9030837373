"""Training of the segmentation network: loss and validation Dice."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bts.models.base import Network
from bts.models.losses import SegmentationLoss
from bts.models.metrics import MaskScores
from bts.models.output import Output
from bts.settings import OptimSettings, SegSettings
from bts.training.module import Batch, TaskModule


class Segmentation(TaskModule):
    """An attention U-Net with Dice and cross-entropy; slices without a mask do not contribute."""

    def __init__(self, network: Network, *, loss: SegmentationLoss, optim: OptimSettings, monitor: str, seed: int) -> None:
        super().__init__(network, optim=optim, monitor=monitor, seed=seed)
        self.loss, self.masks = loss, MaskScores()

    def losses(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert output.mask_logits is not None
        return self.loss(output.mask_logits, batch["mask"], batch["has_mask"])

    def reset_scores(self) -> None:
        self.masks = MaskScores(device=self.device)

    def update_scores(self, output: Output, batch: Batch) -> None:
        assert output.mask_logits is not None
        self.masks.update(output.mask_logits, batch["mask"], batch["has_mask"])

    def compute_scores(self) -> dict[str, float]:
        self.masks.totals = self.summed(self.masks.totals)
        return self.masks.compute()


def module(
    settings: SegSettings, network: Network, *, optim: OptimSettings, monitor: str, counts: Sequence[int]
) -> Segmentation:
    """Return the training module of a network."""
    loss = SegmentationLoss(dice_weight=settings.loss.dice_weight, bce_weight=settings.loss.bce_weight)
    return Segmentation(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)
