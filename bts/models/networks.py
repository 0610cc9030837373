"""How does a network come from its architecture and its weights?"""

from __future__ import annotations

from pathlib import Path

from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.attention_unet import AttentionUNet
from bts.models.base import Network
from bts.models.classifier import Classifier
from bts.models.joint import JointNetwork
from bts.models.weights import load_pretrained

__all__ = ["Architecture", "build_network"]

NETWORKS: dict[Task, type[AttentionUNet] | type[Classifier] | type[JointNetwork]] = {
    "seg": AttentionUNet,
    "cls": Classifier,
    "joint": JointNetwork,
}


def build_network(architecture: Architecture, *, weights: str | Path = "none") -> Network:
    """Return the network of `architecture`, its encoder with the given weights, the rest random.

    Args:
        architecture: what to build.
        weights: `none` (random), `imagenet` (through timm's hub), or a file.

    `network.architecture` says what was built, with the input's mean and deviation as the weights need them;
    `network.weights_note` says in a line what was loaded.

    Raises:
        RequestError: an unknown encoder, weights that can't be had or do not fit.
    """
    network = NETWORKS[architecture.task](architecture)
    load_pretrained(network, weights)
    return network
