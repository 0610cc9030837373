"""Class activation maps, unscaled: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), and HiResCAM for joint networks.

Grad-CAM is ReLU(sum over k of alpha_k A_k), with A the last feature maps and alpha_k the spatial mean of the class score's
gradient with respect to A_k. Two ways of computing it give the same map:

- Through the head alone: the class score depends on the last maps only through the head, so the gradient through the head is
  the gradient through the network, and the map costs one forward pass. This holds for every network that returns its last maps
  and has a head, linear or not; it is checked once when the network is loaded.
- By autograd: for any other network, the last convolution before the class scores is found by tracing, and the gradient is
  computed back to it and no further.

The joint network's score also depends on an average over its mask, whose position the spatial mean of the gradient would lose.
Its map is therefore by default HiResCAM (Draelos and Carin 2020, arXiv 2011.08891), gradient times activation in each place, on
the grid on which the mask is pooled. For a network that only averages over the slice, both give the same map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bts.models.base import Output
from bts.models.joint import JointNetwork

Head = Callable[[Tensor], Tensor]


class GradCam:
    """Unscaled class activation map of a network in eval mode, computed in the cheapest way that is exact for it.

    Attributes:
        how: how the map is computed and why, for the user.
        layer: name of the convolution where autograd is used, else None.
        possible: whether the network has a class map.
    """

    def __init__(self, network: nn.Module, *, example: Tensor, offset_px: float | None = None, by_place: bool = False) -> None:
        """Choose how the map is computed.

        Args:
            network: in eval mode; `forward` returns an `Output` with class logits.
            example: (1, 1, S, S) in [0, 1], an image to trace with.
            offset_px: `cell_offset_px` of a joint network's card; None uses Grad-CAM for it too.
            by_place: whether the map of any other network is HiResCAM, with the gradient of each place.
        """
        self.network = network
        self.by_place = by_place
        method = "HiResCAM" if by_place else "Grad-CAM"
        self.layer: str | None = None
        self.possible = True
        self.offset_px = offset_px if isinstance(network, JointNetwork) else None
        if self.offset_px is not None:
            self.how = "class map: HiResCAM on the grid on which the mask is pooled; the map sums to the class score"
            return
        reason = head_cam_obstacle(network, example)
        if reason is None:
            self.how = f"class map: {method} in the forward pass, as the gradient through the head is exact for this network"
            return
        self.layer = last_convolution(network, example)
        self.how = f"class map: {method} by autograd at '{self.layer}', as {reason}"
        self.possible = self.layer is not None
        if not self.possible:
            self.how = "no class map: the network has no convolution before its class scores"

    def __call__(self, x: Tensor, *, cam_class: int | None = None) -> tuple[Output, Tensor | None]:
        """Return the network's output and the raw map (B, h, w), at least 0.

        Args:
            x: (B, 1, S, S) in [0, 1].
            cam_class: index of the class that the maps explain; None takes each image's most probable one.
        """
        if self.layer is not None:
            return cam_by_autograd(self.network, x, layer=self.layer, cam_class=cam_class, by_place=self.by_place)
        with torch.no_grad():
            output = self.network(x)
        if not self.possible:
            return output, None
        class_index = _class_index(output.class_logits, cam_class)
        if self.offset_px is not None:
            return output, cam_per_position(
                cast(JointNetwork, self.network), output, class_index=class_index, offset_px=self.offset_px
            )
        head = head_of(self.network, output)
        return output, cam_from_head(head, output.features, class_index=class_index, by_place=self.by_place)


def head_of(network: nn.Module, output: Output) -> Head:
    """Return the function from the last maps to class logits; the joint network's also depends on the mask."""
    head = cast(Callable[..., Tensor], network.head)
    return head if output.mask_logits is None else lambda features: head(features, output.mask_logits)


def head_cam_obstacle(network: nn.Module, example: Tensor) -> str | None:
    """Return why the gradient through the head is not the whole gradient, or None where it is."""
    with torch.no_grad():
        output = network(example)
        if output.features is None or not callable(getattr(network, "head", None)):
            return "the network does not return its last maps or has no separate head"
        again = head_of(network, output)(output.features)
    same = again.shape == output.class_logits.shape and torch.allclose(again, output.class_logits, rtol=1e-4, atol=1e-5)
    return None if same else "the head alone does not reproduce the class scores"


def cam_from_head(head: Head, features: Tensor, *, class_index: Tensor, by_place: bool = False) -> Tensor:
    """Return the raw map (B, h, w) from the last maps and the head.

    Args:
        head: (B, C, h, w) -> (B, K) class scores.
        features: (B, C, h, w), the last maps.
        class_index: (B,) int64, the class that each map explains.
        by_place: HiResCAM in place of Grad-CAM.
    """
    features = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = head(features).gather(1, class_index[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, features)
    return _weigh(gradient, features.detach(), by_place=by_place)


def cam_per_position(network: JointNetwork, output: Output, *, class_index: Tensor, offset_px: float) -> Tensor:
    """Return the raw map (B, H/4, W/4) of the joint network: the positive contribution of each place to the class score.

    Args:
        network: the joint network.
        output: last maps and mask logits of a batch.
        class_index: (B,) int64, the class that each map explains.
        offset_px: offset of a cell of the last maps from its regular position, down and right.
    """
    features, mask_logits = cast(Tensor, output.features), cast(Tensor, output.mask_logits)
    pooled = network.pool(features, mask_logits).detach().requires_grad_()
    with torch.enable_grad():
        score = network.classify(pooled).gather(1, class_index[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, pooled)  # (B, 2C)
    return torch.relu(network.class_contributions(features, mask_logits, gradient[:, None], offset_px=offset_px)[:, 0])


def cam_by_autograd(
    network: nn.Module, x: Tensor, *, layer: str, cam_class: int | None = None, by_place: bool = False
) -> tuple[Output, Tensor]:
    """Return the network's output and the raw map (B, h, w) at the output of the module of that name."""
    with torch.enable_grad(), _cut_open(network, [layer]) as cut:
        output = network(x)
        class_index = _class_index(output.class_logits, cam_class)
        score = output.class_logits.gather(1, class_index[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, cut[layer])
    detached = Output(*(None if value is None else value.detach() for value in output))
    return detached, _weigh(gradient, cut[layer].detach(), by_place=by_place)


def last_convolution(network: nn.Module, example: Tensor) -> str | None:
    """Return the name of the last convolution before the class scores, None where there is none.

    Convolutions on a single pixel (squeeze-and-excitation) are left out.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    with torch.enable_grad(), _cut_open(network, names) as cut:
        score = network(example).class_logits.max()
        wide = {name: output for name, output in cut.items() if output[0, 0].numel() > 1}
        if not wide or not score.requires_grad:
            return None
        gradients = torch.autograd.grad(score, list(wide.values()), allow_unused=True)
    reached = [name for name, gradient in zip(wide, gradients, strict=True) if gradient is not None]
    return reached[-1] if reached else None


@contextmanager
def _cut_open(network: nn.Module, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Restart autograd's graph at the outputs of the named modules, and collect these in the order of the calls."""
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            outputs.pop(name, None)
            outputs[name] = output.detach().requires_grad_()
            return outputs[name].clone()  # an in-place ReLU may follow

        return keep

    handles: list[RemovableHandle] = [modules[name].register_forward_hook(hook_for(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _class_index(logits: Tensor, cam_class: int | None) -> Tensor:
    return logits.argmax(1) if cam_class is None else torch.full_like(logits[:, 0], cam_class, dtype=torch.int64)


def _weigh(gradient: Tensor, maps: Tensor, *, by_place: bool) -> Tensor:
    alpha = gradient if by_place else gradient.mean((2, 3), keepdim=True)  # (B, C, h, w) or (B, C, 1, 1)
    return torch.relu((alpha * maps).sum(1))
