"""Model folder: `model.json` and `model.safetensors`, never a pickle; written atomically, read as untrusted.

The card can be read without torch: a runtime that does not need torch never imports it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts.atomic import replacing_folder, write_text
from bts.errors import RequestError
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.card import ModelCard, check_card, parse_card, to_json
from bts.models.card_rules import read_bounded

if TYPE_CHECKING:
    from torch import Tensor

    from bts.models.base import Network

__all__ = ["ModelCard", "load_network", "read_card", "read_weights", "update_card", "write_model_folder"]

CARD = "model.json"
WEIGHTS = "model.safetensors"
PACKAGES = ("bts", "torch", "timm", "segmentation-models-pytorch", "monai")


def write_model_folder(path: str | Path, card: ModelCard, state_dict: Mapping[str, Tensor]) -> ModelCard:
    """Write the folder at once or not at all; a folder that is there already is replaced. Return the card as written.

    Raises:
        RequestError: the place can't be written to, the card is one that can't be read again, or weights are not finite.
    """
    from safetensors.torch import save

    from bts.models.weights_file import refuse_non_finite

    path = Path(path)
    check_card(card, path / CARD)
    refuse_non_finite(state_dict, where=path)
    data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()})
    card = replace(card, weights_sha256=hashlib.sha256(data).hexdigest(), versions=card.versions or _versions())
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(path) as new:
            (new / WEIGHTS).write_bytes(data)
            (new / CARD).write_text(to_json(card), encoding="utf-8")
    return card


def read_card(path: str | Path, *, expect: Task | None = None) -> ModelCard:
    """Return the card of a model folder, without reading its weights.

    Raises:
        RequestError: no such folder, no card, a card of another format version, damaged, or not of the task in `expect`.
    """
    path = Path(path)
    if not (path / CARD).is_file():
        what = f"no {CARD} in it: not a model folder" if path.is_dir() else "no such model folder"
        raise RequestError(f"{path}: {what}; give the folder `model` of a run")
    try:
        with (path / CARD).open("rb") as file:
            text = read_bounded(file, path / CARD)
    except OSError as error:
        raise RequestError(f"{path / CARD}: can't be read as text: the card is damaged, copy the model folder again") from error
    card = parse_card(text, path / CARD)
    if expect is not None and card.task != expect:
        raise RequestError(f"{path}: a model for task '{card.task}', one for '{expect}' is needed here")
    return card


def load_network(path: str | Path, *, expect: Task | None = None) -> tuple[Network, ModelCard]:
    """Return the network in eval mode on the CPU, and its card.

    Raises:
        RequestError: as `read_card`; or the weights are missing, damaged, not finite, or do not fit the card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from bts.models.networks import create_network
    from bts.models.weights_file import refuse_non_finite

    card = read_card(path, expect=expect)
    data = read_weights(path, card)
    network = create_network(Architecture.from_dict(card.architecture))
    try:
        weights = load(data)
        network.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        raise RequestError(f"{path}: the weights are not those of the card ({_first_lines(error)})") from error
    refuse_non_finite(weights, where=Path(path))
    return network.eval(), card


def read_weights(path: str | Path, card: ModelCard) -> bytes:
    """Return the bytes of the weights file, its header checked against the card's architecture before the tensors are read.

    Raises:
        RequestError: the file is missing, holds other tensors than the network has, or its SHA-256 is not the card's.
    """
    from bts.models.weights_file import read_checked

    file = Path(path) / WEIGHTS
    if not file.is_file():
        raise RequestError(f"{file}: no such file: the model folder is incomplete, copy it from its run again")
    data = read_checked(file, Architecture.from_dict(card.architecture))
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise RequestError(
            f"{file}: {len(data):,} bytes whose SHA-256 is not the card's: cut short or changed, copy the folder again"
        )
    return data


def update_card(
    path: str | Path,
    *,
    operating_point: dict[str, float | bool] | None = None,
    temperature: float | None = None,
    mask_evidence_exponent: float | None = None,
    no_tumour_bias: float | None = None,
    cam_scale: float | None = None,
    cam_offset_px: float | None = None,
    cell_offset_px: float | None = None,
    refer_below: float | None = None,
    referral: dict[str, Any] | None = None,
    uncertain_mask_below: float | None = None,
    volume_threshold: float | None = None,
    mask_flaw: str | None = None,
    ood: dict[str, Any] | None = None,
    scores: dict[str, Any] | None = None,
    confounding: str | None = None,
) -> ModelCard:
    """Change what is chosen after training (None leaves a field as it is), at once or not at all; return the new card.

    Raises:
        RequestError: as `read_card`, or the folder can't be written to.
    """
    given: dict[str, Any] = {
        "operating_point": operating_point,
        "temperature": temperature,
        "mask_evidence_exponent": mask_evidence_exponent,
        "no_tumour_bias": no_tumour_bias,
        "cam_scale": cam_scale,
        "cam_offset_px": cam_offset_px,
        "cell_offset_px": cell_offset_px,
        "refer_below": refer_below,
        "referral": referral,
        "uncertain_mask_below": uncertain_mask_below,
        "volume_threshold": volume_threshold,
        "mask_flaw": mask_flaw,
        "ood": ood,
        "scores": scores,
        "confounding": confounding,
    }
    card = replace(read_card(path), **{name: value for name, value in given.items() if value is not None})
    check_card(card, Path(path) / CARD)
    with _writing(Path(path)):
        write_text(Path(path) / CARD, to_json(card))
    return card


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # bts itself, run from a checkout that is not installed
            continue
    return found


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another place or free disk space") from error


def _first_lines(error: Exception) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:3])
