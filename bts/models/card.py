"""Model card: metadata of a trained model as JSON, readable without torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from bts.errors import RequestError
from bts.fields import Length, Range, problems
from bts.glossary import Task
from bts.models.architecture import MOST_CLASSES, Architecture
from bts.models.card_rules import (
    ClassName,
    FeatureRules,
    Fingerprint,
    Hash,
    HashOrNone,
    KeyName,
    Line,
    Offset,
    OodRules,
    OperatingPointRules,
    Prose,
    ReferralRules,
    Share,
    read_fields,
    read_json,
    refuse_evaluated,
    shortened,
)
from bts.settings import PreprocessingParams

FORMAT = 3
MOST_PATIENTS = 100_000
OPERATING_POINT: dict[str, float | bool] = {"threshold": 0.5, "min_area": 0.0, "flip": False}
GRAD_CAM = "Grad-CAM"
INTENDED_USE = "Research on brain MRI slices. Not a medical device: not for diagnosis or treatment."


@dataclass(frozen=True)
class ModelCard:
    """Metadata of a model: enough to rebuild the network, to preprocess its input, and to describe it.

    Attributes:
        task: `seg`, `cls` or `joint`.
        name: name of the model in results.
        architecture: the fields of `bts.models.architecture.Architecture`.
        classes: class names in the order of the logits; empty for `seg`.
        preprocessing: the fields of `bts.data.preprocess.Preprocessing`.
        operating_point: `threshold` on the mask's probability, `min_area` (smallest region kept, as a share of the picture's
            area), `flip` (average with the mirrored picture); chosen on validation.
        temperature: divides the class logits before softmax (Guo 2017).
        cam_scale: raw Grad-CAM value that is shown as 1, the 95th percentile of the maxima on validation; None before that.
        cam_offset_px: offset of a cell of the map from a regular grid, in pixels of the network input, down and to the right
            (`bts.models.alignment`).
        cell_offset_px: the same of a cell of the last maps of a joint network, whose class map already includes it
            (`JointNetwork.class_contributions`). None for an older folder, whose map is Grad-CAM.
        mask_evidence_exponent: power of the mask's evidence where a joint model's heads are fused, fitted on validation
            together with the temperature (`postprocess.fuse_evidence`); 1 counts it in full, 0 ignores it.
        no_tumour_bias: log-odds added to the class "no tumour" where a joint model's heads are fused, chosen on validation.
        referral: weights of the signals of doubt and the estimated probability of a right answer under which a case is referred
            (`bts.inference.referral`); takes the place of `refer_below`; empty where none was chosen.
        refer_below: largest class probability under which a case is marked for review; None marks none.
        uncertain_mask_below: confidence of a mask (`postprocess.mask_confidence`) below which it is flagged as uncertain; None
            flags none.
        volume_threshold: score from which a lesion of a volume is reported (`bts.inference.volume`), chosen on whole series;
            None takes that of `VolumeRule`.
        mask_flaw: what makes the masks useless on validation, in words; every answer repeats it. Empty where nothing does.
        training_patients: HMAC-SHA256 of each training patient under the key of the run
            (`bts.data.patient_ids`); empty in what is exported or published, and where the data names no patients.
        patients_key: name of that key, which lies in the run folder; empty where no patients are listed.
        data_fingerprint: fingerprint of the split.
        synthetic: trained on phantoms; every output says so.
        trained_on: description of the training data.
        confounding: classes that come from a single publisher in the training data, in words; empty where there are none.
        ood: out-of-distribution reference of the training slices (`bts.inference.ood.OodReference`), and how many test slices
            it flags; empty where none was fitted.
        scores: test scores, each with its n.
        weights_sha256: SHA-256 of the weights file; set when the folder is written.
    """

    task: Task
    name: Annotated[str, Length(1, 200)]
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    classes: Annotated[list[ClassName], Length(0, MOST_CLASSES)] = field(default_factory=list)
    operating_point: dict[str, float | bool] = field(default_factory=lambda: dict(OPERATING_POINT))
    temperature: Annotated[float, Range(0, 1000, low_open=True)] = 1.0
    mask_evidence_exponent: Annotated[float, Range(0, 10)] = 1.0
    no_tumour_bias: Annotated[float, Range(-10, 10)] = 0.0
    cam_scale: Annotated[float, Range(0, 1e12)] | None = None
    cam_offset_px: Offset = 0.0
    cell_offset_px: Offset | None = None
    refer_below: Share | None = None
    referral: dict[str, Any] = field(default_factory=dict)
    uncertain_mask_below: Share | None = None
    volume_threshold: Share | None = None
    mask_flaw: Prose = ""
    training_patients: Annotated[list[Hash], Length(0, MOST_PATIENTS)] = field(default_factory=list)
    patients_key: KeyName = ""
    data_fingerprint: Fingerprint = ""
    synthetic: bool = False
    trained_on: Prose = ""
    confounding: Prose = ""
    ood: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    versions: Annotated[dict[str, Line], Length(0, 100)] = field(default_factory=dict)
    licence: Annotated[str, Length(1, 200)] = "Apache-2.0"
    intended_use: Prose = INTENDED_USE
    weights_sha256: HashOrNone = ""
    format: int = FORMAT

    @property
    def cam_name(self) -> str:
        """What its map is called where it is shown: a joint model's is drawn place by place, which Grad-CAM is not."""
        return "class map (HiResCAM)" if self.task == "joint" and self.cell_offset_px is not None else GRAD_CAM

    @property
    def referral_text(self) -> str:
        """What is referred to an expert, for a table."""
        if self.referral:
            return (
                f"referred to an expert where the estimated probability of a right answer is below {self.referral['below']:.3f}"
            )
        if self.refer_below:
            return f"referred to an expert below a probability of {self.refer_below:.3f}"
        return "no referral"

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these weights in every result."""
        return self.weights_sha256[:16]


def parse_card(text: str, where: Path) -> ModelCard:
    """Return the card that `to_json` wrote; `where` names it in messages.

    Raises:
        RequestError: no JSON, another format version, unknown or missing fields, values of a wrong type or out of range, or
            texts that a MONAI bundle would evaluate.
    """
    values = read_json(text, where)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        remedy = "install the version of bts that wrote it"
        if isinstance(found, int) and found < FORMAT:
            remedy = "train the model again, or export the file again, with this version"
        raise RequestError(f"{where}: model card of format {shortened(repr(found))}, expected format {FORMAT}: {remedy}")
    if "weights_sha256" not in values:
        raise RequestError(f"{where}: no field 'weights_sha256'")
    card = read_fields(ModelCard, values, str(where))
    if not card.weights_sha256:
        raise RequestError(f"{where}: weights_sha256 is empty: the folder was not written by bts")
    _check_parts(card, where)
    return card


def check_card(card: ModelCard, where: Path) -> None:
    """Raise `RequestError`, in one line, where a value can't be worked with or can't be written and read again."""
    if found := problems(card):
        raise RequestError(f"{where}: {shortened('; '.join(found))}")
    refuse_evaluated(asdict(card), what=str(where))
    _check_parts(card, where)


def _check_parts(card: ModelCard, where: Path) -> None:
    """Raise `RequestError` where one of the objects in a card is wrong, or two fields contradict each other."""
    architecture = read_fields(Architecture, card.architecture, f"{where}: architecture", complete=True)
    preprocessing = read_fields(PreprocessingParams, card.preprocessing, f"{where}: preprocessing", complete=True)
    read_fields(OperatingPointRules, card.operating_point, f"{where}: operating_point")
    if card.referral:
        read_fields(ReferralRules, card.referral, f"{where}: referral")
    if card.ood:
        read_fields(OodRules, card.ood, f"{where}: ood")
        if card.ood.get("features"):
            read_fields(FeatureRules, card.ood["features"], f"{where}: ood: features")
    if card.training_patients and not card.patients_key:
        raise RequestError(f"{where}: training_patients are listed without the name of their key, patients_key")
    if architecture.task != card.task:
        raise RequestError(f"{where}: task '{card.task}', the architecture is for task '{architecture.task}'")
    expected = 0 if card.task == "seg" else architecture.num_classes
    if len(card.classes) != expected:
        raise RequestError(f"{where}: {len(card.classes)} class names, the network has {expected} classes")
    if len(set(card.classes)) < len(card.classes):
        raise RequestError(f"{where}: classes: duplicate name, {shortened(repr(card.classes))}")
    if preprocessing.size != architecture.size:
        raise RequestError(
            f"{where}: preprocessing makes pictures of {preprocessing.size} px, the network is for {architecture.size} px"
        )


def published(card: ModelCard) -> ModelCard:
    """Return the card as it leaves the run: in exported files, bundles and the package no training patient is listed."""
    return replace(card, training_patients=[], patients_key="")


def to_json(card: ModelCard) -> str:
    """Return the card as indented JSON, its format version first."""
    values = asdict(card)
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
