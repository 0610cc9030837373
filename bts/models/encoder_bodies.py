"""Encoders of this package and of users, next to those of segmentation-models-pytorch and timm."""

from __future__ import annotations

from torch import Tensor, nn

from bts.registry import Registry


class EncoderBody(nn.Module):
    """Base of encoders that no library has.

    Args:
        in_channels: channels of the input, 1 or 3.

    Attributes:
        out_channels: channels of the maps, the input's first. A decoder needs six maps, a class head any number.
    """

    out_channels: tuple[int, ...]

    def __init__(self, *, in_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return `x (B, C, H, W)` and the maps (B, out_channels[i], H / 2^i, W / 2^i)."""
        raise NotImplementedError


encoder_bodies: Registry[type[EncoderBody]] = Registry("encoder", base=EncoderBody)
