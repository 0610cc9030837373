"""Encoders of this package and of users, next to those of segmentation-models-pytorch and timm."""

from __future__ import annotations

from torch import Tensor, nn

from bts.registry import Registry

CHANNELS = (32, 64, 128)
"""Channels of the blocks of `cnn_scratch`."""


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


@encoder_bodies.register("cnn_scratch")
class ScratchBody(EncoderBody):
    """Small encoder for training from random weights, as published next to a fine-tuned MobileNetV2.

    Three blocks of a 3x3 convolution, ReLU and a halving by the maximum; no norms.

    Its last maps are at stride 8, where other encoders reach stride 32: it supports a class head, but no decoder.
    """

    def __init__(self, *, in_channels: int) -> None:
        super().__init__(in_channels=in_channels)
        self.out_channels = (in_channels, *CHANNELS)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in zip(self.out_channels[:-1], CHANNELS, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return `x (B, C, H, W)` and the maps (B, 32, H/2, W/2), (B, 64, H/4, W/4), (B, 128, H/8, W/8)."""
        maps = [x]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps
