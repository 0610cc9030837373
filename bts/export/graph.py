"""Graph of an exported file: probabilities, class scores and Grad-CAM of every class, from the picture alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bts.errors import RequestError
from bts.inference.runtimes.exported import outputs_of
from bts.models.base import Network, Output
from bts.models.card import ModelCard
from bts.models.classifier import ClassNetwork, weighted_sum
from bts.models.joint import JointNetwork

SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda x: (x > 0).to(x.dtype),
    nn.Sigmoid: lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x)),
    nn.Tanh: lambda x: 1 - torch.tanh(x) ** 2,
    nn.SiLU: lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
    nn.GELU: lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2 + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
}
"""Activation -> its derivative, entry by entry."""


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


def head_jacobian(head: nn.Module, pooled: Tensor) -> Tensor:
    """Return the gradient of every class score with respect to `pooled (B, inputs)`: (K, inputs) where it is the same for every
    picture (a linear head), else (B, K, inputs).

    A runtime has no autograd, so the chain rule is written out as operations of the graph.

    Raises:
        RequestError: a step without a known derivative here; the message names it.
    """
    jacobian: Tensor | None = None  # of what is reached so far, (outputs, inputs) or (B, outputs, inputs); None: the inputs
    x = pooled
    for step in layers_of(head):
        if isinstance(step, nn.Linear):
            jacobian = step.weight if jacobian is None else step.weight @ jacobian
        else:
            slope = derivative_of(step, x)  # (B, outputs)
            jacobian = torch.diag_embed(slope) if jacobian is None else slope[:, :, None] * jacobian
        x = step(x)
    if jacobian is None:
        raise RequestError("the class head is empty: it can't be exported")
    return jacobian


def layers_of(head: nn.Module) -> list[nn.Module]:
    """Return the steps of a head in order, without those that do nothing when it answers."""
    steps = [each for part in head for each in layers_of(part)] if isinstance(head, nn.Sequential) else [head]
    return [step for step in steps if not isinstance(step, (nn.Dropout, nn.Identity))]


def derivative_of(step: nn.Module, x: Tensor) -> Tensor:
    """Return the derivative (B, outputs) of an activation or a batch norm at `x (B, outputs)`."""
    name = type(step).__name__
    if isinstance(step, nn.BatchNorm1d) and step.running_var is not None and step.affine:
        return (step.weight / torch.sqrt(step.running_var + step.eps)).expand_as(x)
    if type(step) not in SLOPES or getattr(step, "approximate", "none") != "none":
        known = ", ".join(["Linear", *(kind.__name__ for kind in SLOPES), "BatchNorm1d"])
        raise RequestError(f"the class head has a step '{name}' without a known derivative: Grad-CAM is exported for {known}")
    return SLOPES[type(step)](x)
