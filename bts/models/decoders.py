"""Decoders: from the feature maps of an encoder to the maps under the mask head."""

from __future__ import annotations

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional as F

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.encoders import STRIDES
from bts.registry import Registry


class MaskDecoder(nn.Module):
    """Base of decoders.

    Args:
        encoder_channels: channels of the encoder's six maps, at strides 1 to 32.
        channels: `model.channels` of the settings.
        attention: `model.attention` of the settings.

    Attributes:
        out_channels: channels of the result.
    """

    def __init__(self, *, encoder_channels: tuple[int, ...], channels: tuple[int, ...], attention: str) -> None:
        super().__init__()
        self.out_channels = channels[-1]

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return (B, out_channels, H, W), or half or a quarter of that resolution, from the maps at strides 1 to 32."""
        raise NotImplementedError


decoders: Registry[type[MaskDecoder]] = Registry("decoder", base=MaskDecoder)


def decoder_of(architecture: Architecture, *, encoder_channels: tuple[int, ...]) -> MaskDecoder:
    """Return the decoder of an architecture on encoder maps of these channels; raises as `build_decoder`."""
    return build_decoder(
        architecture.decoder,
        encoder_channels=encoder_channels,
        channels=architecture.channels,
        attention=architecture.attention,
    )


def build_decoder(name: str, *, encoder_channels: tuple[int, ...], channels: tuple[int, ...], attention: str) -> MaskDecoder:
    """Return the decoder of that name; raises `RequestError` for an unknown one, or one that does not fit the encoder."""
    return decoders.load(name)(encoder_channels=encoder_channels, channels=channels, attention=attention)


class AdditiveGate(nn.Module):
    """Additive attention gate on a skip connection (Oktay et al. 2018, arXiv 1804.03999).

    alpha = sigmoid(psi(relu(theta(skip) + phi(signal)))), all three 1x1 convolutions. As in the paper the sum is computed on
    the signal's grid and alpha is upsampled to the skip's; on the skip's grid the gates take 10% of a training step, here 5%.
    The paper's code brings the skip to that grid by the stride of theta; averaging it first keeps theta small.
    """

    def __init__(self, *, skip_channels: int, signal_channels: int) -> None:
        super().__init__()
        hidden = max(skip_channels // 2, 1)
        self.theta = nn.Conv2d(skip_channels, hidden, kernel_size=1, bias=False)
        self.phi = nn.Conv2d(signal_channels, hidden, kernel_size=1)
        self.psi = nn.Conv2d(hidden, 1, kernel_size=1)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Return `skip (B, C, 2h, 2w)` times weights in (0, 1) that depend on the skip and on `signal (B, G, h, w)`."""
        return skip * self.weights(skip, signal)

    def weights(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Return alpha (B, 1, 2h, 2w)."""
        found = F.relu(self.theta(F.avg_pool2d(skip, 2)) + self.phi(signal))  # (B, hidden, h, w)
        alpha = torch.sigmoid(self.psi(found))  # (B, 1, h, w)
        return F.interpolate(alpha, scale_factor=2, mode="bilinear", align_corners=False)  # (B, 1, 2h, 2w)


@decoders.register("unet")
class UnetDecoder(MaskDecoder):
    """U-Net decoder: blocks that each double the grid; the first four take a skip, gated with `additive` attention.

    Five blocks reach the slice's resolution, four end at half of it, three at a quarter.
    """

    def __init__(self, *, encoder_channels: tuple[int, ...], channels: tuple[int, ...], attention: str) -> None:
        super().__init__(encoder_channels=encoder_channels, channels=channels, attention=attention)
        if len(encoder_channels) != STRIDES + 1:
            raise RequestError(
                f"this encoder halves the picture {len(encoder_channels) - 1} times, a decoder needs {STRIDES} halvings: "
                "use it for classification, or select another encoder (--model.encoder)"
            )
        skips = [*encoder_channels[1:-1][::-1], 0][: len(channels)]
        signals = [encoder_channels[-1], *channels[:-1]]
        self.blocks = nn.ModuleList(
            UnetDecoderBlock(signal, skip, out) for signal, skip, out in zip(signals, skips, channels, strict=True)
        )
        self.gates = nn.ModuleList(
            AdditiveGate(skip_channels=skip, signal_channels=signal) if attention == "additive" and skip else nn.Module()
            for signal, skip in zip(signals, skips, strict=True)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return (B, channels[-1], H, W) from the encoder's maps at strides 1 to 32, of which the first is not used.

        With four blocks (B, channels[-1], H/2, W/2), with three (B, channels[-1], H/4, W/4).
        """
        x = maps[-1]
        skips: list[Tensor | None] = [*maps[1:-1][::-1], None]
        for block, gate, skip in zip(self.blocks, self.gates, skips[: len(self.blocks)], strict=True):
            usable = skip if skip is not None and skip.shape[1] else None  # a transformer's map at stride 2 is empty
            if usable is not None and isinstance(gate, AdditiveGate):
                usable = gate(usable, x)
            x = block(x, 2 * x.shape[-2], 2 * x.shape[-1], usable)  # (B, out, 2h, 2w)
        return x
