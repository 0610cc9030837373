"""Jacobian of the class head with respect to the pooled features, step by step, as operations of the graph.

A runtime has no autograd, so the gradient for Grad-CAM is built by the chain rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bts.errors import RequestError

SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda x: (x > 0).to(x.dtype),
    nn.Sigmoid: lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x)),
    nn.Tanh: lambda x: 1 - torch.tanh(x) ** 2,
    nn.SiLU: lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
    nn.GELU: lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2 + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
}
"""Activation -> its derivative, entry by entry."""


def head_jacobian(head: nn.Module, pooled: Tensor) -> Tensor:
    """Return the gradient of every class score with respect to `pooled (B, inputs)`: (K, inputs) where it is the same for every
    picture (a linear head), else (B, K, inputs).

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
