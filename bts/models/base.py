"""Base and output of all networks: input normalisation, size check, and frozen batch norms that stay frozen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bts.errors import RequestError
from bts.models.architecture import STRIDE, Architecture
from bts.models.encoders import Encoder

INPUT_MEAN, INPUT_STD = 0.449, 0.226
"""Mean and standard deviation of ImageNet, averaged over its channels; used if those of the weights are unknown."""

IMAGENET_MEANS, IMAGENET_STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of ImageNet's channels."""
FIXED = {"unit": (0.0, 1.0), "imagenet": (INPUT_MEAN, INPUT_STD)}
"""Mean and standard deviation by normalisation, where they do not depend on the weights."""


class Output(NamedTuple):
    """One forward pass over `x (B, 1, H, W)`; what the network does not compute is None.

    Attributes:
        mask_logits: (B, 1, H, W), positive inside the tumour.
        class_logits: (B, K), one a class in the order of the model card.
        features: (B, C, H/32, W/32), of `cnn_scratch` (B, C, H/8, W/8), the encoder's last maps: what the class head pools,
            and what Grad-CAM weighs.
    """

    mask_logits: Tensor | None
    class_logits: Tensor | None
    features: Tensor | None


class Network(nn.Module):
    """Base of every network: `forward(x (B, 1, H, W) in [0, 1]) -> Output`.

    The normalisation that the weights expect is part of the network, as the buffers `input_mean` and `input_std` (scalars, or
    one value per channel), so that the input is grey values in [0, 1] whatever the weights, also of an exported graph.
    """

    weights_note: str = "random weights"
    input_mean: Tensor
    input_std: Tensor

    def __init__(self, architecture: Architecture, encoder: Encoder) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = encoder
        mean, std = known_normalisation(architecture)
        self.register_buffer("input_mean", mean)
        self.register_buffer("input_std", std)

    def forward(self, x: Tensor) -> Output:
        """Return mask logits, class logits and the encoder's last maps, as far as the network has them."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's maps of `x (B, 1, H, W)` at strides 1, 2, 4, 8, 16, 32."""
        check_shape(x)
        return self.encoder(self.normalise(x).expand(-1, self.architecture.in_channels, -1, -1))

    def normalise(self, x: Tensor) -> Tensor:
        """Return `x (B, 1, H, W)` in [0, 1] normalised for the encoder, (B, 1 or 3, H, W)."""
        return (x - self.input_mean) / self.input_std

    def train(self, mode: bool = True) -> Network:
        """Switch to training, except batch norms without a trainable parameter: frozen ones keep their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and is_frozen(module):
                module.eval()
        return self


def known_normalisation(architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the input from the architecture, ImageNet's where it leaves them open."""
    if architecture.normalisation == "imagenet" and architecture.in_channels == 3:
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_MEANS, IMAGENET_STDS))
        return mean, std
    fixed_mean, fixed_std = FIXED.get(architecture.normalisation, (architecture.input_mean, architecture.input_std))
    return (
        torch.tensor(INPUT_MEAN if fixed_mean is None else fixed_mean),
        torch.tensor(INPUT_STD if fixed_std is None else fixed_std),
    )


def is_frozen(module: nn.Module) -> bool:
    """Return whether the module has parameters and none of them is trainable."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def check_shape(x: Tensor) -> None:
    """Refuse, with the fix computed, what is not (B, 1, H, W) with sides that are multiples of 32."""
    if x.ndim != 4 or x.shape[1] != 1:
        raise RequestError(f"expected a grey batch (B, 1, H, W), received {tuple(x.shape)}")
    height, width = x.shape[-2:]
    if height % STRIDE or width % STRIDE:
        fixed = " x ".join(str(max(STRIDE, -(-side // STRIDE) * STRIDE)) for side in (height, width))
        raise RequestError(f"a picture of {height} x {width}: both sides must be multiples of {STRIDE}, {fixed} would do")
