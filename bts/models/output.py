"""Output of every network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
