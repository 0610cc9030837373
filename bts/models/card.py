"""What must be known of a trained model beside its weights? A card in JSON, readable without torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bts.errors import RequestError
from bts.glossary import TASKS, Task

FORMAT = 1
YOUNGER = ("outside", "doubt_mask_below")
OPERATING_POINT: dict[str, float | bool] = {"threshold": 0.5, "min_area": 0.0, "flip": False}
GRAD_CAM = "Grad-CAM"
INTENDED_USE = "Research on brain MRI slices. Not a medical device: not for diagnosis or treatment."


@dataclass(frozen=True)
class ModelCard:
    """Everything but the weights: enough to rebuild the network, to feed it, and to say what it is.

    Attributes:
        task: `seg`, `cls` or `joint`.
        name: what results call the model.
        architecture: the fields of `bts.models.architecture.Architecture`.
        classes: class names in the order of the logits; empty for `seg`.
        preprocessing: the fields of `bts.data.preprocess.Preprocessing`.
        operating_point: `threshold` on the mask's probability, `min_area` (smallest region kept, as a share of the picture's
            area), `flip` (average with the mirrored picture); chosen on validation.
        temperature: divides the class logits before softmax (Guo 2017).
        cam_scale: raw Grad-CAM value that is shown as 1, the 95th percentile of the maxima on validation; None before that.
        cam_offset_px: pixels of the network's square by which a cell of the map looks further down and right than its even
            place (`bts.models.alignment`).
        cell_offset_px: of a joint network, the same of a cell of the last maps: its own map is finer and has it in it already
            (`JointNetwork.shares`). None: a folder of before, whose map is Grad-CAM.
        refer_below: largest class probability under which a case is marked for review; None marks none.
        doubt_mask_below: confidence of a mask (`decision.mask_confidence`) under which it is called doubtful; None calls none
            so, as in older folders.
        training_patients: SHA-256 of each patient family that was trained on.
        data_fingerprint: of the split that was trained on.
        synthetic: trained on phantoms; every output says so.
        trained_on: what it was trained on, in words.
        outside: what the training slices look like, so that a picture unlike them is noticed (`bts.inference.outside`), and
            the share of test slices that are wrongly taken for such; empty in older folders, which never warn.
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
    cam_offset_px: float = 0.0
    cell_offset_px: float | None = None
    refer_below: float | None = None
    doubt_mask_below: float | None = None
    training_patients: list[str] = field(default_factory=list)
    data_fingerprint: str = ""
    synthetic: bool = False
    trained_on: str = ""
    outside: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    intended_use: str = INTENDED_USE
    weights_sha256: str = ""
    format: int = FORMAT

    @property
    def cam_name(self) -> str:
        """What its map is called where it is shown: a joint model's is drawn place by place, which Grad-CAM is not."""
        return "class map (HiResCAM)" if self.task == "joint" and self.cell_offset_px is not None else GRAD_CAM

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these weights in every result."""
        return self.weights_sha256[:16]


def parse_card(text: str, where: Path) -> ModelCard:
    """Return the card that `to_json` wrote; `where` names it in messages.

    Raises:
        RequestError: no JSON, another format version, unknown or missing fields, values out of range.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestError(f"{where}: no valid JSON ({error}): the card is damaged, copy the model folder anew") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise RequestError(f"{where}: format {found!r}, this version of bts reads format {FORMAT}: use the bts that wrote it")
    known = {item.name for item in fields(ModelCard)}
    unknown = sorted(set(values) - known)
    missing = [name for name in ("task", "name", "architecture", "preprocessing", "weights_sha256") if name not in values]
    if unknown or missing:
        raise RequestError(f"{where}: " + (f"unknown field '{unknown[0]}'" if unknown else f"no field '{missing[0]}'"))
    card = ModelCard(**values)
    check_card(card, where)
    return card


def check_card(card: ModelCard, where: Path) -> None:
    """Raise `RequestError` where a value can't be worked with."""
    if card.task not in TASKS:
        raise RequestError(f"{where}: unknown task {card.task!r}, one of {', '.join(TASKS)} is needed")
    if not isinstance(card.operating_point, dict) or set(card.operating_point) != set(OPERATING_POINT):
        raise RequestError(f"{where}: operating_point needs exactly {', '.join(OPERATING_POINT)}")
    if card.task != "seg" and len(card.classes) != card.architecture.get("classes", len(card.classes)):
        raise RequestError(f"{where}: {len(card.classes)} class names, the network has {card.architecture['classes']} classes")
    if not isinstance(card.outside, dict):
        raise RequestError(f"{where}: outside is a {type(card.outside).__name__}, an object is needed")
    if not isinstance(card.temperature, (int, float)) or not card.temperature > 0:
        raise RequestError(f"{where}: temperature {card.temperature!r}, a positive number is needed")


def to_json(card: ModelCard) -> str:
    """Return the card as JSON that a human can read, its format version first.

    What younger versions added is left out where it is empty, so that versions which know nothing of it read the card.
    """
    values = {name: value for name, value in asdict(card).items() if name not in YOUNGER or value}
    ordered = _plain({"format": values.pop("format"), **values})
    return json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return `value` in JSON's types: a NaN score (nothing to score) is null, a NumPy number a plain one."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
