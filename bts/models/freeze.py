"""Freezing: which part of a network is trained, from the head alone to all of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bts.errors import RequestError
from bts.fields import expectation
from bts.models.base import Network
from bts.settings import Trainable


def set_trainable(network: Network, trainable: str) -> str:
    """Make a part of `network` trainable and freeze the rest; return a line that says how much that is.

    Args:
        network: any network of `build_network`.
        trainable: `all`; `head` (all but the encoder: class head, decoder, gates); `last_block` (that and the encoder's last
            stage); `last:N` (the last N layers in the order of the forward pass; a layer is a module that holds parameters
            itself).

    A frozen batch norm keeps its statistics: it stays in eval mode, also after `network.train()`.

    Raises:
        RequestError: `trainable` is none of these, or N exceeds the number of layers.
    """
    chosen = {id(parameter) for parameter in _chosen(network, trainable)}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    network.train(network.training)
    return describe_trainable(network, trainable)


def describe_trainable(network: nn.Module, trainable: str) -> str:
    """Return a line such as `last_block: 14,966,784 of 23,514,179 parameters (63.6%) in 21 of 107 layers are trained`."""
    parameters = list(network.parameters())
    learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    whole = sum(parameter.numel() for parameter in parameters)
    layers = [layer for layer in network.modules() if layer._parameters]
    learn = sum(any(parameter.requires_grad for parameter in layer.parameters(recurse=False)) for layer in layers)
    share = f"{learning:,} of {whole:,} parameters ({learning / whole:.1%})"
    return f"{trainable}: {share} in {learn} of {len(layers)} layers are trained"


def last_block(network: Network) -> list[nn.Parameter]:
    """Return the encoder's parameters on which its last maps depend and earlier maps do not: layer4 of a ResNet.

    They are found in autograd's graph, independently of the names of an architecture.
    """
    body = list(network.encoder.body.parameters())
    after = list(network.encoder.top.parameters())
    *earlier, last = _used_by_maps(network, body)
    for used in reversed(earlier):  # a VGG's last maps are pooled earlier ones, without parameters in between
        if last - used:
            return [parameter for parameter in body if id(parameter) in last - used] + after
    return body + after


def layers_in_order(network: Network) -> list[nn.Module]:
    """Return the modules that hold parameters themselves, in the order of the forward pass."""
    layers: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda layer, *_: layers.append(layer) if layer not in layers else None)
        for module in network.modules()
        if module._parameters
    ]
    try:
        with torch.no_grad(), _Evaluating(network):
            network(_example(network))
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def _chosen(network: Network, trainable: str) -> list[nn.Parameter]:
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    head = [parameter for parameter in network.parameters() if id(parameter) not in encoder]
    if trainable == "all":
        return list(network.parameters())
    if trainable == "head":
        return head
    if trainable == "last_block":
        return head + last_block(network)
    if trainable.startswith("last:"):
        return _last_layers(network, trainable.removeprefix("last:"))
    raise RequestError(f"trainable: expected {expectation(Trainable)}, received '{trainable}'")


def _last_layers(network: Network, count: str) -> list[nn.Parameter]:
    layers = layers_in_order(network)
    if not count.isdecimal() or not 1 <= int(count) <= len(layers):
        raise RequestError(f"trainable: expected last:1 to last:{len(layers)} for this network, received 'last:{count}'")
    return [parameter for layer in layers[-int(count) :] for parameter in layer.parameters(recurse=False)]


def _used_by_maps(network: Network, body: list[nn.Parameter]) -> list[set[int]]:
    """Return, for each of the encoder's maps, the ids of the parameters that it depends on."""
    before = [parameter.requires_grad for parameter in body]
    for parameter in body:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), _Evaluating(network):
            return [_used(maps) for maps in network.encode(_example(network))]
    finally:
        for parameter, learned in zip(body, before, strict=True):
            parameter.requires_grad_(learned)


def _used(maps: Tensor) -> set[int]:
    """Return the ids of the parameters in autograd's graph of `maps`."""
    seen, found, waiting = set(), set(), [maps.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found


def _example(network: Network) -> Tensor:
    size = network.architecture.size
    return torch.zeros(1, 1, size, size, device=network.input_mean.device)


class _Evaluating:
    """Context in eval mode, so that a forward pass changes no batch norm."""

    def __init__(self, network: Network) -> None:
        self.network, self.training = network, network.training

    def __enter__(self) -> None:
        self.network.eval()

    def __exit__(self, *_: object) -> None:
        self.network.train(self.training)
