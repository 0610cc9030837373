"""How is the segmenter trained: network, loss and validation Dice?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.losses import SegmentationLoss
from bts.models.metrics import MaskScores
from bts.models.output import Output
from bts.settings import SegSettings
from bts.training.module import Batch, Optim, TaskModule


class Segmentation(TaskModule):
    """An attention U-Net with Dice and cross-entropy; slices without a mask don't count."""

    def __init__(self, network: Network, *, loss: SegmentationLoss, optim: Optim, monitor: str, seed: int) -> None:
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


def architecture(settings: SegSettings, classes: Sequence[str]) -> Architecture:
    """Return the numbers of the network that the settings ask for."""
    model = settings.model
    return Architecture(
        task="seg",
        encoder=model.encoder,
        size=settings.data.size,
        attention=model.attention,
        channels=tuple(model.channels),
        conv1=model.conv1,
        in_channels=model.in_channels,
        normalisation=model.normalisation,
        input_mean=model.input_mean,
        input_std=model.input_std,
    )


def module(settings: SegSettings, network: Network, *, optim: Optim, monitor: str, counts: Sequence[int]) -> Segmentation:
    """Return the module around a network that is built already."""
    wanted = settings.loss
    loss = SegmentationLoss(dice=wanted.dice, bce=wanted.bce, focal_gamma=wanted.focal_gamma)
    return Segmentation(network, loss=loss, optim=optim, monitor=monitor, seed=settings.seed)
