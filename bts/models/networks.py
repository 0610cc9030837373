"""Networks from an architecture and pretrained weights."""

from __future__ import annotations

from pathlib import Path

import torch

from bts.errors import RequestError
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.attention_unet import AttentionUNet
from bts.models.base import Network
from bts.models.classifier import Classifier
from bts.models.joint import JointNetwork
from bts.models.weights import load_pretrained

__all__ = ["Architecture", "build_network", "create_network"]

NETWORKS: dict[Task, type[AttentionUNet] | type[Classifier] | type[JointNetwork]] = {
    "seg": AttentionUNet,
    "cls": Classifier,
    "joint": JointNetwork,
}


def build_network(architecture: Architecture, *, weights: str | Path = "none") -> Network:
    """Return the network of `architecture`, its encoder with the given weights, the rest random.

    Args:
        architecture: what to build.
        weights: `none` (random), `imagenet` (from the extra `weights` or timm's hub), or a file.

    `network.architecture` holds the input's mean and standard deviation that the weights need; `network.weights_note` is one
    line on what was loaded.

    Raises:
        RequestError: the encoder is unknown or does not support this size, or the weights are unavailable or do not fit.
    """
    network = create_network(architecture)
    load_pretrained(network, weights)
    _try_on(network)
    return network


def create_network(architecture: Architecture) -> Network:
    """Return the network with random weights, without a trial forward pass."""
    return NETWORKS[architecture.task](architecture)


def _try_on(network: Network) -> None:
    """Refuse an encoder whose maps do not fit, because it is made for another size or does not pad."""
    size, name = network.architecture.size, network.encoder.name
    example, training = torch.zeros(1, 1, size, size, device=network.input_mean.device), network.training
    try:
        with torch.no_grad():
            maps = network.eval().encode(example)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"encoder '{name}' can't be used at {size} x {size} ({reason}): try another --data.size") from error
    finally:
        network.train(training)
    sides = [one.shape[-1] for one in maps[1:]]
    wanted = [size >> i for i in range(1, len(maps))]
    if sides != wanted:
        raise RequestError(
            f"encoder '{name}' gives maps of sides {sides} at {size} x {size}, {wanted} are needed: choose another"
        )
