"""Pretrained encoder weights: where they come from, whether they fit, and which input they expect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bts.errors import RequestError
from bts.models.base import INPUT_MEAN, INPUT_STD, Network
from bts.models.encoders import Encoder
from bts.models.hub import fetch_imagenet, hub_normalisation, known_classifier_keys
from bts.models.weights_package import INSTALL, in_timms_names, is_packaged, packaged_file

WAYS_OUT = "give a file (--model.weights FILE) or start from random weights (--model.weights none)"
PREFIXES = ("module.", "network.", "encoder.", "backbone.", "body.", "top.", "model.")
"""What training frameworks put before a backbone's own names."""
KNOWN_FILES = {"5fa1518c729c04a67f552d5245743c0c19436011eb676f286d299f6694704246": (0.5, 0.5)}
"""SHA-256 of files that carry no note of their normalisation: its mean and deviation for grey values in [0, 1]."""


@dataclass(frozen=True)
class Pretrained:
    """A state dict and what its network expects of its input in [0, 1]."""

    state: dict[str, Tensor]
    mean: float
    std: float
    note: str


def load_pretrained(network: Network, weights: str | Path) -> None:
    """Load the encoder's weights, and set the input's normalisation: the architecture's if given, else that of the weights.

    Raises:
        RequestError: no package has the weights and the hub can't be reached, the file can't be read, or it does not fit the
            encoder.
    """
    network.weights_note = "random weights"
    pretrained = None
    if str(weights) == "imagenet":
        pretrained = _from_imagenet(network.encoder.name)
    elif str(weights) != "none":
        pretrained = _from_file(Path(weights), encoder=network.encoder.name)
    if pretrained is not None:
        note = load_encoder(network.encoder, pretrained.state, where=str(weights))
        own = network.architecture.normalisation
        unlike = "" if own == "weights" else f"; the input is normalised as '{own}' says all the same"
        network.weights_note = f"{pretrained.note}; {note}{unlike}"
    _set_normalisation(network, pretrained)


def load_encoder(encoder: Encoder, state: dict[str, Tensor], *, where: str) -> str:
    """Copy a state dict of torchvision, timm or smp into `encoder`; return a line that says what was done.

    The classifier of the file is left out. The kernels of a first convolution for RGB are added up to one for grey: the network
    then computes on a grey picture exactly what the RGB one computes on that picture repeated three times, as long as mean and
    standard deviation are the same for the three channels.

    Raises:
        RequestError: keys are missing or unknown, or a tensor has another shape: the first few are named.
    """
    found = {_plain(key): value for key, value in state.items()}
    target = encoder.state_dict()
    names = {_plain(key): key for key in target}
    optional = {plain for plain in names if plain.endswith("num_batches_tracked")}
    missing = [names[plain] for plain in names if plain not in found and plain not in optional]
    extra = set(found) - set(names)
    if extra:
        extra -= known_classifier_keys(encoder.name, _plain)
    if missing or extra:
        raise RequestError(
            f"{where}: the weights do not fit encoder '{encoder.name}': {_some(missing)} missing, {_some(sorted(extra))} "
            "unknown; name the encoder that they were trained with (--model.encoder)"
        )
    fitted, grey = {}, 0
    for plain, key in names.items():
        if plain in found:
            value, was_rgb = _fit(found[plain], target[key], where=f"{where}: '{key}'")
            fitted[key], grey = value, grey + was_rgb
    encoder.load_state_dict(fitted, strict=False)
    return f"{len(fitted)} tensors" + (", first kernels summed over RGB" if grey else "")


def _fit(value: Tensor, target: Tensor, *, where: str) -> tuple[Tensor, bool]:
    if value.shape == target.shape:
        return value.to(target.dtype), False
    if value.ndim == 4 and value.shape[1] == 3 and target.shape == (value.shape[0], 1, *value.shape[2:]):
        return value.float().sum(1, keepdim=True), True
    raise RequestError(
        f"{where} has shape {tuple(value.shape)}, the encoder needs {tuple(target.shape)}: another encoder's weights"
    )


def _plain(key: str) -> str:
    """Return a key without prefixes, with one separator: timm's feature networks write stages_0 for stages.0."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if key.startswith(prefix):
                key, stripped = key[len(prefix) :], True
    return key.replace(".", "_")


def _some(keys: list[str]) -> str:
    return f"{len(keys)}" + (f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else "")


def _from_imagenet(name: str) -> Pretrained:
    mean, std = hub_normalisation(name)
    file = packaged_file(name)
    if file is not None:
        state = in_timms_names(_read_torch(file), name, where=file)
        return Pretrained(state, mean, std, f"ImageNet weights of {name} ({file.name})")
    ways_out = f"{INSTALL}, {WAYS_OUT}" if is_packaged(name) else WAYS_OUT
    return Pretrained(fetch_imagenet(name, ways_out), mean, std, f"ImageNet weights of {name}")


def _from_file(path: Path, *, encoder: str) -> Pretrained:
    if not path.is_file():
        raise RequestError(f"{path}: no such weights file; give a file, `imagenet` or `none` (--model.weights)")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif path.suffix in (".pt", ".pth"):
        state = _read_torch(path)
    else:
        raise RequestError(f"{path}: weights are read from .safetensors, .pt or .pth, not from '{path.suffix}'")
    mean, std, why = _file_normalisation(path, metadata, encoder)
    return Pretrained(state, mean, std, f"weights of {path.name}, input mean {mean:g} and deviation {std:g} ({why})")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{path}: not a readable safetensors file ({_line(error)}): it is damaged or cut short") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    import pickle

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise RequestError(
            f"{path}: not readable as a plain state dict ({type(error).__name__}): it is damaged, or holds more than tensors, "
            "and code from a file is never run: save the state dict alone"
        ) from error
    while isinstance(state, dict) and isinstance(state.get("state_dict", state.get("model")), dict):
        state = state.get("state_dict", state.get("model"))
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise RequestError(f"{path}: expected a state dict (names and tensors), found {type(state).__name__}")
    return state


def _file_normalisation(path: Path, metadata: dict[str, str], encoder: str) -> tuple[float, float, str]:
    if "input_mean" in metadata and "input_std" in metadata:
        return float(metadata["input_mean"]), float(metadata["input_std"]), "from the file"
    known = KNOWN_FILES.get(hashlib.sha256(path.read_bytes()).hexdigest())
    if known:
        return *known, "a known file"
    return *hub_normalisation(encoder), "ImageNet's"


def _set_normalisation(network: Network, pretrained: Pretrained | None) -> None:
    mean, std = (pretrained.mean, pretrained.std) if pretrained else (INPUT_MEAN, INPUT_STD)
    architecture = network.architecture
    if architecture.normalisation != "weights":
        return  # the architecture's own, whatever the weights
    mean = architecture.input_mean if architecture.input_mean is not None else mean
    std = architecture.input_std if architecture.input_std is not None else std
    network.architecture = replace(architecture, input_mean=mean, input_std=std)
    network.input_mean.fill_(mean)
    network.input_std.fill_(std)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
