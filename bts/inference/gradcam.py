"""Where did the network look for its class? Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), raw, before any scaling.

The map is ReLU(sum over k of alpha_k A_k), with A the last maps and alpha_k the mean over space of the class score's gradient
with respect to A_k. Two paths give the same map:

- The head alone: the class score depends on the last maps through the head only, so the gradient through the head is the
  gradient through the network, and the map costs one forward pass. This holds for every network that gives its last maps and
  a head, linear or not; it is checked once when the network is opened.
- Autograd: for any other network the last convolution in front of the class is found by asking, and the gradient flows from
  the class score back to it and no further.

The joint network's score also comes from an average over its mask, and the mean over space forgets where that was taken. So its
map leaves the gradient where it is, place by place, as HiResCAM does (Draelos and Carin 2020, arXiv 2011.08891), on the grid on
which the mask was pooled. For a network that averages over the slice alone the two are the same map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bts.models.joint import JointNetwork
from bts.models.output import Output

Head = Callable[[Tensor], Tensor]


class GradCam:
    """Raw Grad-CAM of one network in eval mode, by the cheapest path that is exact for it.

    Attributes:
        how: which path was chosen and why, for the user.
        layer: name of the convolution with the autograd path, else None.
    """

    def __init__(self, network: nn.Module, *, example: Tensor, offset_px: float | None = None) -> None:
        """Choose the path.

        Args:
            network: in eval mode; `forward` gives an `Output` with classes.
            example: (1, 1, S, S) in [0, 1], a picture to try on.
            offset_px: `cell_offset_px` of a joint network's card; None is Grad-CAM for it too.
        """
        self.network = network
        self.layer: str | None = None
        self.offset_px = offset_px if isinstance(network, JointNetwork) else None
        if self.offset_px is not None:
            self.how = "Grad-CAM place by place (HiResCAM), where the mask was pooled: the places add up to the class score"
            return
        reason = why_not_by_head(network, example)
        if reason is None:
            self.how = "Grad-CAM in the forward pass: the gradient through the head alone is exact for this network"
            return
        self.layer = last_convolution(network, example)
        self.how = f"Grad-CAM by autograd at '{self.layer}': {reason}"
        if self.layer is None:
            self.how = "no Grad-CAM: the network has no convolution in front of its classes"

    def __call__(self, x: Tensor, *, cam_class: int | None = None) -> tuple[Output, Tensor | None]:
        """Return the network's output and the raw map (B, h, w), at least 0.

        Args:
            x: (B, 1, S, S) in [0, 1].
            cam_class: class that the maps explain; None takes each picture's most probable one.
        """
        if self.layer is not None:
            return map_by_autograd(self.network, x, layer=self.layer, cam_class=cam_class)
        with torch.no_grad():
            output = self.network(x)
        if self.how.startswith("no "):
            return output, None
        classes = _classes(output.class_logits, cam_class)
        if self.offset_px is not None:
            return output, map_by_place(cast(JointNetwork, self.network), output, classes=classes, offset_px=self.offset_px)
        return output, map_by_head(head_of(self.network, output), output.features, classes=classes)


def head_of(network: nn.Module, output: Output) -> Head:
    """Return the function from the last maps to class scores; the joint network's also looks at the mask."""
    head = cast(Callable[..., Tensor], network.head)
    return head if output.mask_logits is None else lambda features: head(features, output.mask_logits)


def why_not_by_head(network: nn.Module, example: Tensor) -> str | None:
    """Return why the gradient through the head alone would not be the whole gradient, or None where it is."""
    with torch.no_grad():
        output = network(example)
        if output.features is None or not callable(getattr(network, "head", None)):
            return "the network does not give its last maps and a head apart"
        again = head_of(network, output)(output.features)
    same = again.shape == output.class_logits.shape and torch.allclose(again, output.class_logits, rtol=1e-4, atol=1e-5)
    return None if same else "the network's head alone does not give its class scores"


def map_by_head(head: Head, features: Tensor, *, classes: Tensor) -> Tensor:
    """Return the raw map (B, h, w) from the last maps and the head.

    Args:
        head: (B, C, h, w) -> (B, K) class scores.
        features: (B, C, h, w), the last maps.
        classes: (B,) int64, the class that each map explains.
    """
    features = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = head(features).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, features)
    return _weigh(gradient, features.detach())


def map_by_place(network: JointNetwork, output: Output, *, classes: Tensor, offset_px: float) -> Tensor:
    """Return the raw map (B, H/4, W/4) of the joint network: what each place adds to the class score, where that is positive.

    Args:
        network: gave the output.
        output: last maps and mask of a batch.
        classes: (B,) int64, the class that each map explains.
        offset_px: by how much a cell of the last maps looks down and right of its even place.
    """
    features, mask_logits = cast(Tensor, output.features), cast(Tensor, output.mask_logits)
    pooled = network.pool(features, mask_logits).detach().requires_grad_()
    with torch.enable_grad():
        score = network.classify(pooled).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, pooled)  # (B, 2C)
    return torch.relu(network.class_contributions(features, mask_logits, gradient[:, None], offset_px=offset_px)[:, 0])


def map_by_autograd(network: nn.Module, x: Tensor, *, layer: str, cam_class: int | None = None) -> tuple[Output, Tensor]:
    """Return the network's output and the raw map (B, h, w) at the output of the module of that name."""
    with torch.enable_grad(), _cut_open(network, [layer]) as cut:
        output = network(x)
        classes = _classes(output.class_logits, cam_class)
        score = output.class_logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, cut[layer])
    detached = Output(*(None if value is None else value.detach() for value in output))
    return detached, _weigh(gradient, cut[layer].detach())


def last_convolution(network: nn.Module, example: Tensor) -> str | None:
    """Return the name of the last convolution that the class scores depend on through no other, None where there is none.

    Convolutions that see one pixel (squeeze-and-excitation) are left out.
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
    """Start autograd's graph anew at the outputs of the named modules, which are collected in the order of their call."""
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            outputs.pop(name, None)
            outputs[name] = output.detach().requires_grad_()
            return outputs[name].clone()  # a ReLU that works in place may follow

        return keep

    handles: list[RemovableHandle] = [modules[name].register_forward_hook(hook_for(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _classes(logits: Tensor, cam_class: int | None) -> Tensor:
    return logits.argmax(1) if cam_class is None else torch.full_like(logits[:, 0], cam_class, dtype=torch.int64)


def _weigh(gradient: Tensor, maps: Tensor) -> Tensor:
    alpha = gradient.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    return torch.relu((alpha * maps).sum(1))
