"""What is kept of a trained model, and how is it read back? A folder of `model.json` and `model.safetensors`, never a pickle.

The card can be read without torch: a runtime that does not need torch never imports it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts.errors import RequestError
from bts.glossary import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

    from bts.models.base import Network

FORMAT = 1
CARD = "model.json"
WEIGHTS = "model.safetensors"
OPERATING_POINT: dict[str, float | bool] = {"threshold": 0.5, "min_area": 0.0, "flip": False}
INTENDED_USE = "Research on brain MRI slices. Not a medical device: not for diagnosis or treatment."
PACKAGES = ("bts", "torch", "timm", "segmentation-models-pytorch", "monai")


@dataclass(frozen=True)
class ModelCard:
    """Everything but the weights: enough to rebuild the network, to feed it, and to say what it is.

    Attributes:
        task: `seg`, `cls` or `joint`.
        name: what results call the model.
        architecture: the fields of `bts.models.architecture.Architecture`.
        classes: class names in the order of the logits; empty for `seg`.
        preprocessing: the fields of `bts.data.preprocess.Preprocessing`.
        operating_point: `threshold` on the mask's probability, `min_area` (smallest region kept, as a share of the picture's area),
            `flip` (average with the mirrored picture); chosen on validation.
        temperature: divides the class logits before softmax (Guo 2017).
        cam_scale: raw Grad-CAM value that is shown as 1, the 95th percentile of the maxima on validation; None before that.
        refer_below: largest class probability under which a case is marked for review; None marks none.
        training_patients: SHA-256 of each patient family that was trained on.
        data_fingerprint: of the split that was trained on.
        synthetic: trained on phantoms; every output says so.
        trained_on: what it was trained on, in words.
        scores: test scores, each with its n.
        weights_sha256: of the weights file; set when the folder is written.
    """

    task: Task
    name: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    classes: list[str] = field(default_factory=list)
    operating_point: dict[str, float | bool] = field(default_factory=lambda: dict(OPERATING_POINT))
    temperature: float = 1.0
    cam_scale: float | None = None
    refer_below: float | None = None
    training_patients: list[str] = field(default_factory=list)
    data_fingerprint: str = ""
    synthetic: bool = False
    trained_on: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    intended_use: str = INTENDED_USE
    weights_sha256: str = ""
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these weights in every result."""
        return self.weights_sha256[:16]


def write_model_folder(path: str | Path, card: ModelCard, state_dict: Mapping[str, Tensor]) -> ModelCard:
    """Write the folder at once or not at all; a folder that is there already is replaced. Return the card as written.

    Raises:
        RequestError: the place can't be written to.
    """
    from safetensors.torch import save

    path = Path(path)
    data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()})
    card = replace(card, weights_sha256=hashlib.sha256(data).hexdigest(), versions=card.versions or _versions())
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            new.mkdir()
            (new / WEIGHTS).write_bytes(data)
            (new / CARD).write_text(_to_json(card), encoding="utf-8")
            if path.exists():
                path.rename(old)
            new.rename(path)
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
        values = json.loads((path / CARD).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path / CARD}: no valid JSON ({error}): the card is damaged, take the folder from its run again"
        ) from error
    card = _card(values, path / CARD)
    if expect is not None and card.task != expect:
        raise RequestError(f"{path}: a model for task '{card.task}', one for '{expect}' is needed here")
    return card


def load_network(path: str | Path, *, expect: Task | None = None) -> tuple[Network, ModelCard]:
    """Return the network in eval mode on the CPU, and its card.

    Raises:
        RequestError: as `read_card`; or the weights are missing, damaged, or do not fit the card.
    """
    from safetensors.torch import load

    from bts.models.architecture import Architecture
    from bts.models.networks import build_network

    card = read_card(path, expect=expect)
    data = read_weights(path, card)
    network = build_network(Architecture.from_dict(card.architecture))
    try:
        network.load_state_dict(load(data))
    except RuntimeError as error:
        raise RequestError(f"{path}: the weights are not those of the card ({_first_lines(error)})") from error
    return network.eval(), card


def read_weights(path: str | Path, card: ModelCard) -> bytes:
    """Return the bytes of the weights file, checked against the card.

    Raises:
        RequestError: the file is missing, or its SHA-256 is not the card's.
    """
    file = Path(path) / WEIGHTS
    if not file.is_file():
        raise RequestError(f"{file}: no such file: the model folder is incomplete, take it from its run again")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise RequestError(
            f"{file}: {len(data):,} bytes whose SHA-256 is not the card's: cut short or changed, take the folder from its run again"
        )
    return data


def update_card(
    path: str | Path,
    *,
    operating_point: dict[str, float | bool] | None = None,
    temperature: float | None = None,
    cam_scale: float | None = None,
    refer_below: float | None = None,
    scores: dict[str, Any] | None = None,
) -> ModelCard:
    """Change what is chosen after training (None leaves a field as it is), and return the new card; written at once or not at all.

    Raises:
        RequestError: as `read_card`, or the folder can't be written to.
    """
    given: dict[str, Any] = {
        "operating_point": operating_point,
        "temperature": temperature,
        "cam_scale": cam_scale,
        "refer_below": refer_below,
        "scores": scores,
    }
    card = replace(read_card(path), **{name: value for name, value in given.items() if value is not None})
    _check(card, Path(path) / CARD)
    with _writing(Path(path)):
        temporary = Path(path) / f".{CARD}-{os.getpid()}"
        temporary.write_text(_to_json(card), encoding="utf-8")
        temporary.replace(Path(path) / CARD)
    return card


def _card(values: Any, where: Path) -> ModelCard:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise RequestError(f"{where}: format {found!r}, this version of bts reads format {FORMAT}: use the bts that wrote it")
    known = {item.name for item in fields(ModelCard)}
    unknown = sorted(set(values) - known)
    missing = [name for name in ("task", "name", "architecture", "preprocessing", "weights_sha256") if name not in values]
    if unknown or missing:
        raise RequestError(f"{where}: " + (f"unknown field '{unknown[0]}'" if unknown else f"no field '{missing[0]}'"))
    card = ModelCard(**values)
    _check(card, where)
    return card


def _check(card: ModelCard, where: Path) -> None:
    if card.task not in TASKS:
        raise RequestError(f"{where}: unknown task {card.task!r}, one of {', '.join(TASKS)} is needed")
    if not isinstance(card.operating_point, dict) or set(card.operating_point) != set(OPERATING_POINT):
        raise RequestError(f"{where}: operating_point needs exactly {', '.join(OPERATING_POINT)}")
    if not isinstance(card.temperature, (int, float)) or not card.temperature > 0:
        raise RequestError(f"{where}: temperature {card.temperature!r}, a positive number is needed")


def _to_json(card: ModelCard) -> str:
    values = asdict(card)
    return json.dumps({"format": values.pop("format"), **values}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another place or free some room") from error


def _first_lines(error: Exception) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:3])
