"""Graph of an exported file: probabilities, class scores and Grad-CAM of every class, from the picture alone."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bts.export.jacobian import head_jacobian
from bts.inference.runtimes.exported import outputs_of
from bts.models.base import Network, Output
from bts.models.card import ModelCard
from bts.models.classifier import ClassNetwork, weighted_sum
from bts.models.joint import JointNetwork


class ExportGraph(nn.Module):
    """A network with what follows it, written in operations that every runtime has: no autograd, no choice of a class.

    Attributes:
        names: names of the outputs, in order; `bts.inference.runtimes.exported` describes each.
    """

    def __init__(self, network: Network, card: ModelCard) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.names = outputs_of(card.task)
        self.temperature = card.temperature
        self.offset_px = card.cell_offset_px

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of `image (B, 1, S, S)` in [0, 1]."""
        output: Output = self.network(image)
        found = {} if output.mask_logits is None else {"mask_prob": output.mask_logits.sigmoid()}
        if output.class_logits is not None and output.features is not None:
            found |= {
                "class_logits": output.class_logits,
                "class_prob": torch.softmax(output.class_logits / self.temperature, dim=1),
                "cam": self._cam(output),
                "features": output.features.mean(dim=(2, 3)),
            }
        return tuple(found[name] for name in self.names)

    def _cam(self, output: Output) -> Tensor:
        network = cast(ClassNetwork, self.network)
        return cam_of_every_class(network, cast(Tensor, output.features), output.mask_logits, offset_px=self.offset_px)


def cam_of_every_class(
    network: ClassNetwork, features: Tensor, mask_logits: Tensor | None, *, offset_px: float | None = None
) -> Tensor:
    """Return the raw map of every class, (B, K, h, w), or (B, K, H/4, W/4) where a joint network's keeps its place.

    The class head sees averages of the maps with weights that sum to one, so alpha, the mean over the grid of a score's
    gradient, is the sum of the head's gradients over its pooled vectors, divided by the number of places (`ClassNetwork`).

    Args:
        network: whose head it is.
        features: (B, C, h, w), the last maps.
        mask_logits: (B, 1, H, W) for the joint network, None for a classifier.
        offset_px: a joint network's card has it, for `JointNetwork.class_contributions`; None is Grad-CAM.
    """
    h, w = features.shape[2:]
    jacobian = head_jacobian(network.class_head, network.pool(features, mask_logits))  # (K, pools * C) or (B, K, pools * C)
    if offset_px is not None and mask_logits is not None and isinstance(network, JointNetwork):
        return torch.relu(network.class_contributions(features, mask_logits, jacobian, offset_px=offset_px))
    alpha = jacobian.unflatten(-1, (network.pools, -1)).sum(dim=-2) / (h * w)  # (K, C) or (B, K, C)
    return torch.relu(weighted_sum(features, alpha))
