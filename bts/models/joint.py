"""Joint network: one encoder, the attention U-Net's decoder, and a class head that averages features over the mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bts.models.architecture import STRIDE, Architecture
from bts.models.attention_unet import full_resolution
from bts.models.base import Output
from bts.models.classifier import ClassNetwork, weighted_sum
from bts.models.decoders import decoder_of

CELL = 4
"""Side in pixels of the cells in which the mask is dilated: at full size the same dilation costs sixteen times as much.
`mask_dilation_px` is a multiple of it."""
FLOOR = 1e-4
"""Weight of a grid place outside of the mask: negligible next to a tumour, uniform where the mask is empty."""
FINE = STRIDE // CELL
"""Cells of the dilation along a side of a place of the last maps."""


class JointNetwork(ClassNetwork):
    """Mask and class on one encoder; the class head gets the last maps averaged over the slice and over the predicted mask."""

    pools = 2

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.mask_dilation_px, self.slice_dropout = architecture.mask_dilation_px, architecture.slice_dropout
        self.decoder = decoder_of(architecture, encoder_channels=self.encoder.channels)
        self.mask_head = nn.Conv2d(self.decoder.out_channels, 1, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Output:
        """Return mask logits (B, 1, H, W), class logits (B, K), and the encoder's last maps."""
        maps = self.encode(x)
        mask_logits = full_resolution(self.mask_head(self.decoder(maps)), x)
        features = self.encoder.last(maps)
        return Output(mask_logits=mask_logits, class_logits=self.head(features, mask_logits), features=features)

    def pool(self, features: Tensor, mask_logits: Tensor | None = None) -> Tensor:
        """Return (B, 2C): averages of `features (B, C, h, w)` over the slice and over the mask, from its logits (B, 1, H, W).

        In training the first is zero for a share of the slices and larger for the others, so that its mean stays.
        """
        if mask_logits is None:
            raise ValueError("the joint network pools over its mask: hand over the mask logits too")
        weights = mask_weights(mask_logits, mask_dilation_px=self.mask_dilation_px)  # (B, 1, h, w)
        by_slice = features.mean(dim=(2, 3))
        if self.training and self.slice_dropout:
            by_slice = by_slice * F.dropout(by_slice.new_ones(len(by_slice), 1), self.slice_dropout)
        return torch.cat([by_slice, (features * weights).sum(dim=(2, 3))], dim=1)

    def class_contributions(self, features: Tensor, mask_logits: Tensor, gradient: Tensor, *, offset_px: float) -> Tensor:
        """Return (B, K, H/4, W/4), what each place adds to each class score; over all places that is gradient times vectors.

        For a linear head the sum is the score without its bias: nothing is lost. What the average over the mask adds stands
        where the mask stands, in the cells in which it was dilated; what the average over the slice adds is spread evenly over
        the places at which a cell of the last maps looks.

        Args:
            features: (B, C, h, w), the last maps.
            mask_logits: (B, 1, H, W).
            gradient: gradient of the scores with respect to the pooled vectors, (K, 2C) or of each picture (B, K, 2C).
            offset_px: by how much a cell looks down and right of its even place (`bts.models.alignment`).
        """
        weights = torch.stack(gradient.chunk(self.pools, dim=-1), dim=-3).flatten(-3, -2)  # (2K, C) or (B, 2K, C)
        by_slice, by_mask = weighted_sum(features, weights).chunk(self.pools, dim=1)  # (B, K, h, w) each
        # the mean over a place of the last maps is the weight of the place
        fine = dilated_mask(mask_logits, mask_dilation_px=self.mask_dilation_px) + FLOOR
        fine = fine / fine.sum(dim=(2, 3), keepdim=True)
        average = by_slice / (features.shape[2] * features.shape[3])
        return spread(average, offset_px=offset_px) + spread(by_mask, offset_px=0.0) * (FINE * FINE * fine)


def mask_weights(mask_logits: Tensor, *, mask_dilation_px: int) -> Tensor:
    """Return the weights (B, 1, H/32, W/32), summing to one a slice, with which the last maps are averaged over the mask.

    Probabilities up to 0.5 have no weight, 1 has full weight, linear in between; the region is dilated. All weights are equal
    where the mask is empty. No gradient flows, so that the class does not change the mask.
    """
    grid = F.avg_pool2d(dilated_mask(mask_logits, mask_dilation_px=mask_dilation_px), FINE) + FLOOR  # (B, 1, H/32, W/32)
    return grid / grid.sum(dim=(2, 3), keepdim=True)


def dilated_mask(mask_logits: Tensor, *, mask_dilation_px: int) -> Tensor:
    """Return (B, 1, H/4, W/4) in [0, 1], by how much each cell belongs to the dilated mask (logits)."""
    rim = mask_dilation_px // CELL
    inside = F.relu(2 * torch.sigmoid(mask_logits.detach().float()) - 1)  # (B, 1, H, W)
    return F.max_pool2d(F.avg_pool2d(inside, CELL), 2 * rim + 1, stride=1, padding=rim)


def spread(maps: Tensor, *, offset_px: float) -> Tensor:
    """Return (B, K, 8h, 8w): each place of `maps (B, K, h, w)` spread evenly over the finer places nearest to it; sums stay.

    Nothing is interpolated: each finer place belongs to one coarse place.
    """
    rows, columns = (regions(side, offset_px=offset_px).to(maps) for side in maps.shape[2:])
    return ((maps @ columns).transpose(2, 3) @ rows).transpose(2, 3)


def regions(side: int, *, offset_px: float) -> Tensor:
    """Return (side, 8 side): how a place's value is shared out along one axis; every row sums to one.

    Borders lie midway between neighbours, which are moved by the offset; the outermost places reach to the picture's edge.
    """
    offset = max(-FINE + 1.0, min(offset_px / CELL, FINE - 1.0))
    inner = torch.arange(1, side) * FINE + offset
    borders = torch.cat([torch.zeros(1), inner, torch.full((1,), float(side * FINE))])
    start, end = borders[:-1, None], borders[1:, None]  # (side, 1)
    place = torch.arange(side * FINE)
    return (torch.minimum(end, place + 1) - torch.maximum(start, place)).clamp(min=0) / (end - start)
