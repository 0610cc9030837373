"""Attention U-Net: a pretrained encoder and a decoder with gated skip connections."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bts.models.architecture import Architecture
from bts.models.base import Network, Output
from bts.models.decoders import decoder_of
from bts.models.encoders import Encoder


def full_resolution(mask_logits: Tensor, x: Tensor) -> Tensor:
    """Return mask logits (B, 1, H, W) at the resolution of the input `x (B, C, H, W)`, interpolated where they are coarser."""
    if mask_logits.shape[-2:] == x.shape[-2:]:
        return mask_logits
    factor = x.shape[-1] // mask_logits.shape[-1]
    return F.interpolate(mask_logits, scale_factor=factor, mode="bilinear", align_corners=False)


class AttentionUNet(Network):
    """Encoder, gated decoder, and a 3x3 convolution to one logit per pixel."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, Encoder(architecture.encoder, top=False, in_channels=architecture.in_channels))
        self.decoder = decoder_of(architecture, encoder_channels=self.encoder.channels)
        self.mask_head = nn.Conv2d(self.decoder.out_channels, 1, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Output:
        """Return mask logits (B, 1, H, W) and the encoder's last maps; no classes."""
        maps = self.encode(x)
        mask_logits = full_resolution(self.mask_head(self.decoder(maps)), x)
        return Output(mask_logits=mask_logits, class_logits=None, features=maps[-1])
