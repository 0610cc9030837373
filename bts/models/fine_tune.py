"""Initial weights of a training: random, pretrained for the encoder, or those of a finished model (fine-tuning)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bts.errors import RequestError
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.bundled_model import bundled_models, find_bundled
from bts.models.encoders import resolve
from bts.models.folder import CARD, WEIGHTS, ModelCard, load_network, read_card
from bts.models.networks import build_network
from bts.models.sharing import find_on_hub
from bts.registry import suggestion

WITHOUT_FILE = ("none", "imagenet")
"""Values of `model.weights` that name no file."""


def start_network(architecture: Architecture, *, weights: str, classes: Sequence[str] = ()) -> Network:
    """Return the network of `architecture` with its initial weights.

    Args:
        architecture: what to build.
        weights: `none`, `imagenet`, a file of encoder weights, or a model as `find_model` takes it. Of a model the encoder is
            taken, and each other part that fits: decoder and mask head, and the class head if the classes are the same.
        classes: names of the classes of the training, in order.

    `network.weights_note` says what was taken; the input is normalised as the model was trained.

    Raises:
        RequestError: as `build_network` and `find_model`, or the model has another encoder.
    """
    folder = find_model(weights)
    if folder is None:
        return build_network(architecture, weights=weights)
    source, card = load_network(folder)
    _refuse_other_encoder(card, architecture.encoder, folder)
    if architecture.normalisation == "weights":
        own = {name: getattr(architecture, name) for name in ("input_mean", "input_std")}
        taken = {name: getattr(source.architecture, name) if value is None else value for name, value in own.items()}
        architecture = replace(architecture, **taken)
    network = build_network(architecture)
    taken_parts, new_parts = _transfer(source, network, same_classes=list(classes) == list(card.classes))
    network.weights_note = f"{', '.join(taken_parts)} of the model {weights}" + (
        f"; {', '.join(new_parts)} start from random weights" if new_parts else ""
    )
    return network


def refuse_weights(weights: str, encoder: str) -> None:
    """Refuse initial weights that are missing or belong to a model with another encoder, before any data are read.

    Raises:
        RequestError: as `start_network`, as far as it can be told without building the network.
    """
    folder = find_model(weights)
    if folder is not None:
        _refuse_other_encoder(read_card(folder), encoder, folder)
    elif weights not in WITHOUT_FILE and not Path(weights).is_file():
        known = [each.name for each in bundled_models()]
        raise RequestError(
            f"{weights}: no such weights{suggestion(weights, [*known, *WITHOUT_FILE])}; give a file, a model folder, "
            f"{', '.join([*known, *WITHOUT_FILE[1:]])} or {WITHOUT_FILE[0]} (--model.weights)"
        )


def shared_settings(weights: str, task: Task) -> dict[str, Any]:
    """Return the settings of `model`, by name, with which a network of `task` takes all it can of a model; empty for no model.

    Raises:
        RequestError: as `read_card`.
    """
    folder = find_model(weights)
    if folder is None:
        return {}
    card = read_card(folder)
    names = ("encoder", "in_channels", *(() if "cls" in (task, card.task) else ("decoder", "attention", "channels")))
    architecture = Architecture.from_dict(card.architecture).to_dict()
    return {name: architecture[name] for name in names}


def find_model(weights: str) -> Path | None:
    """Return the model folder of a bundled model's name, `hf://owner/name`, a run folder, a model folder or its weights file.

    None where `weights` names no model. Raises `RequestError` as `find_on_hub`.
    """
    if weights in WITHOUT_FILE:
        return None
    if fetched := find_on_hub(weights):
        return fetched
    path = Path(weights)
    places = [path.parent] if path.name == WEIGHTS else [path, path / "model"]
    return next((place for place in places if (place / CARD).is_file()), None) or find_bundled(weights)


def _refuse_other_encoder(card: ModelCard, encoder: str, folder: Path) -> None:
    found = str(card.architecture["encoder"])
    if resolve(found) != resolve(encoder):
        raise RequestError(
            f"{folder}: a model with encoder '{found}', expected '{encoder}': fine-tune with --model.encoder {found}, "
            "or name other weights (--model.weights)"
        )


def _transfer(source: Network, network: Network, *, same_classes: bool) -> tuple[list[str], list[str]]:
    """Copy each part of `source` that fits; return the names of the parts that were copied, and of those that were not."""
    found, copied, kept = source.state_dict(), [], []
    for name, part in network.named_children():
        own = part.state_dict()
        taken = {key: found.get(f"{name}.{key}") for key in own}
        # a segmentation network has the encoder of the others without the layers behind its last maps
        fits = all(value is not None and value.shape == own[key].shape for key, value in taken.items())
        if fits and own and (same_classes or name in ("encoder", "decoder", "mask_head")):
            part.load_state_dict(taken)
            copied.append(name.replace("_", " "))
        elif own:
            kept.append(name.replace("_", " "))
    return copied, kept
