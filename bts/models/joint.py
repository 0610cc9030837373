"""How do mask and class come from one pass? One encoder, the attention U-Net's decoder, a class head that looks at the mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bts.models.architecture import STRIDE, Architecture
from bts.models.attention_unet import Decoder
from bts.models.classifier import ClassNetwork
from bts.models.output import Output

CELL = 4
"""Side in pixels of the cells in which the mask is dilated: at full size the same dilation costs sixteen times as much."""
RIM = 2
"""Cells by which the mask grows before pooling: 8 pixels, so that a tumour's rim counts as part of it."""
FLOOR = 1e-4
"""Weight of a grid place that the mask does not reach: nothing beside a tumour, everything where the mask is empty."""


class JointNetwork(ClassNetwork):
    """Mask and class on one encoder; the class head sees the last maps averaged over the slice and over the predicted mask."""

    pools = 2

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.decoder = Decoder(
            encoder_channels=self.encoder.channels, channels=architecture.channels, attention=architecture.attention
        )
        self.mask_head = nn.Conv2d(architecture.channels[-1], 1, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Output:
        """Return mask logits (B, 1, H, W), class logits (B, K), and the encoder's last maps."""
        maps = self.encode(x)
        mask = self.mask_head(self.decoder(maps))
        features = self.encoder.last(maps)
        return Output(mask=mask, classes=self.head(features, mask), features=features)

    def pool(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, 2C): averages of `features (B, C, h, w)` over the slice and over the mask (B, 1, H, W), logits."""
        if mask is None:
            raise ValueError("the joint network pools over its mask: hand over the mask logits too")
        weights = mask_weights(mask)  # (B, 1, h, w)
        return torch.cat([features.mean(dim=(2, 3)), (features * weights).sum(dim=(2, 3))], dim=1)


def mask_weights(mask: Tensor) -> Tensor:
    """Return the weights (B, 1, H/32, W/32), summing to one a slice, with which the last maps are averaged over the mask.

    Probabilities up to a half count nothing, one counts fully, linear between; the region grows by a rim of 8 pixels. Where
    nothing is drawn all weights are equal: the whole slice. No gradient flows: the class must not bend the mask.
    """
    inside = F.relu(2 * torch.sigmoid(mask.detach().float()) - 1)  # (B, 1, H, W)
    cells = F.avg_pool2d(inside, CELL)  # (B, 1, H/4, W/4)
    grown = F.max_pool2d(cells, 2 * RIM + 1, stride=1, padding=RIM)
    grid = F.avg_pool2d(grown, STRIDE // CELL) + FLOOR  # (B, 1, H/32, W/32)
    return grid / grid.sum(dim=(2, 3), keepdim=True)
