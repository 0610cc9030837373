"""Classifier: a pretrained encoder for grey slices, global average pooling, and a linear head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bts.models.architecture import Architecture
from bts.models.base import Network, Output
from bts.models.encoders import Encoder


class ClassNetwork(Network):
    """Base of the networks with classes: encoder, pooling to `pools` vectors, and a head.

    The steps after the encoder can be called separately, as Grad-CAM needs only these. Each vector is an average of the
    last maps with weights that sum to one, so Grad-CAM's weight of map k (the mean over the grid of a score's gradient) is the
    sum over the vectors of the score's gradient at their entry k, divided by the number of places in the grid.
    """

    pools: int
    """Number of vectors of C channels that `pool` concatenates."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, Encoder(architecture.encoder, top=True, in_channels=architecture.in_channels))
        self.class_head = build_head(self.pools * self.encoder.last_channels, architecture)

    def head(self, features: Tensor, mask_logits: Tensor | None = None) -> Tensor:
        """Return the logits (B, K) of the maps `features (B, C, h, w)`; a joint network needs mask logits (B, 1, H, W) too."""
        return self.classify(self.pool(features, mask_logits))

    def pool(self, features: Tensor, mask_logits: Tensor | None = None) -> Tensor:
        """Return (B, pools * C): averages of `features (B, C, h, w)`, concatenated."""
        raise NotImplementedError

    def classify(self, pooled: Tensor) -> Tensor:
        """Return the logits (B, K) of pooled vectors (B, pools * C)."""
        return self.class_head(pooled)


def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """Return (B, K, h, w): the maps `features (B, C, h, w)` summed with `weights`, (K, C) or per slice (B, K, C)."""
    if weights.ndim == 2:  # the same for every slice: one 1x1 convolution
        return F.conv2d(features, weights[:, :, None, None])
    return (weights @ features.flatten(2)).unflatten(2, features.shape[2:])


def build_head(inputs: int, architecture: Architecture) -> nn.Sequential:
    """Return dropout and one linear layer; with hidden widths dense layers, each with ReLU and dropout, before the last one."""
    if not architecture.hidden and not architecture.head_norm:
        return nn.Sequential(nn.Dropout(architecture.dropout), nn.Linear(inputs, architecture.num_classes))
    steps: list[nn.Module] = [nn.BatchNorm1d(inputs)] if architecture.head_norm else []
    for width in architecture.hidden:
        steps += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(architecture.dropout)]
        inputs = width
    if architecture.head_norm and architecture.hidden:
        steps.append(nn.BatchNorm1d(inputs))
    return nn.Sequential(*steps, nn.Linear(inputs, architecture.num_classes))


class Classifier(ClassNetwork):
    """Encoder, global average pooling, dropout, linear head."""

    pools = 1

    def forward(self, x: Tensor) -> Output:
        """Return class logits (B, K) and the maps that they were pooled from; no mask."""
        features = self.encoder.last(self.encode(x))
        return Output(mask_logits=None, class_logits=self.head(features), features=features)

    def pool(self, features: Tensor, mask_logits: Tensor | None = None) -> Tensor:
        """Return (B, C), the average over the slice; the mask is not used."""
        return features.mean(dim=(2, 3))
