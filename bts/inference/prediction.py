"""Prediction of one slice, and its fields in `result.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bts.data.slice import Slice
from bts.glossary import NO_TUMOUR
from bts.inference.ood import OodScore
from bts.inference.picture import as_bytes
from bts.models.card import GRAD_CAM

SCHEMA_VERSION = 2
"""Of `result.json`; its schema is docs/result.schema.json."""


@dataclass(frozen=True)
class ModelMark:
    """Identity of a model, by which a result can be traced to its weights.

    Attributes:
        name: name on the model card.
        fingerprint: first 16 hex digits of the SHA-256 of the weights.
        trained_on: training data, as the model card describes it.
    """

    name: str
    fingerprint: str
    trained_on: str


@dataclass(frozen=True, eq=False)
class UnfusedHeads:
    """Mask and class of a joint model before they are fused.

    Attributes:
        label: most probable class of the class head.
        class_prob: (K,) float64, softmax(class_logits / temperature).
        mask_area_px: pixels of the mask head's mask.
        tumour_prob: largest probability in the mask, the mask head's evidence that there is a tumour.
        mask_prob: (H, W) float32, probability of tumour in each pixel, whatever the class; None where it is not kept.
    """

    label: str
    class_prob: np.ndarray
    mask_area_px: int
    tumour_prob: float
    mask_prob: np.ndarray | None = None

    @property
    def consistent(self) -> bool:
        """Whether the two heads agree on whether there is a tumour."""
        return (self.mask_area_px > 0) == (self.label != NO_TUMOUR)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Mask, class and class activation map of one slice, all in the slice's own size (H, W).

    What no loaded model predicts is None: a segmenter gives no class, a classifier no mask.

    Attributes:
        slice: the slice.
        mask_prob: (H, W) float32, probability of tumour, or None; of a joint model, conditional on the predicted class.
        mask: (H, W) bool, `mask_prob` after threshold and smallest region, or None.
        mask_confidence: soft Dice of the mask with `mask_prob`, in [0, 1] (`postprocess.mask_confidence`); None where the mask
            is empty.
        mask_uncertain: whether that is below the model's threshold; None where the model has none or the mask is empty.
        volume_threshold: score from which the model's lesions are reported in a volume; None takes that of `VolumeRule`.
        classes: class names in the order of the model's outputs; empty without a classifier.
        class_logits: (K,) class scores before temperature and softmax, or None; calibration is fitted on these.
        class_prob: (K,) float64, softmax(class_logits / temperature), or None; of a joint model, fused with the mask's
            evidence.
        unfused: mask and class of a joint model before they are fused, or None.
        cam: (H, W) float32 in [0, 1], class activation map of `cam_class`, or None.
        cam_class: name of the class that the map explains, or None.
        cam_method: `gradcam` or `hirescam`, or None.
        cam_name: name of the method, for display.
        cam_scale: what the map was divided by: `slice`, its own maximum, or `model`, the model's scale; None without a map.
        cam_strength: largest value of the map before scaling, relative to the model's scale: 1 is as strong as the strongest 5%
            of the validation slices. None without a map, or where the model has no scale for it.
        cam_peak: largest value of the map before scaling, or None; the scale is chosen from these on validation.
        features: (C,) pooled features behind the class, or None.
        ood: distance of the slice from the training slices, or None where the model card holds no reference.
        refer: whether the case is referred to an expert; a warning says why (`bts.inference.statements`).
        warnings: one sentence for each reason why the prediction may be wrong.
        models: the models that took part.
        runtime: what computed it, such as `"torch on cpu"`.
        versions: package name to version.
    """

    slice: Slice
    mask_prob: np.ndarray | None = None
    mask: np.ndarray | None = None
    mask_confidence: float | None = None
    mask_uncertain: bool | None = None
    volume_threshold: float | None = None
    classes: tuple[str, ...] = ()
    class_logits: np.ndarray | None = None
    class_prob: np.ndarray | None = None
    unfused: UnfusedHeads | None = None
    cam: np.ndarray | None = None
    cam_class: str | None = None
    cam_method: str | None = None
    cam_name: str = GRAD_CAM
    cam_scale: str | None = None
    cam_strength: float | None = None
    cam_peak: float | None = None
    features: np.ndarray | None = None
    ood: OodScore | None = None
    refer: bool = False
    warnings: tuple[str, ...] = ()
    models: tuple[ModelMark, ...] = ()
    runtime: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str | None:
        """Name of the most probable class."""
        return None if self.class_prob is None else self.classes[int(self.class_prob.argmax())]

    @cached_property
    def mask_area_px(self) -> int | None:
        """Pixels in the mask."""
        return None if self.mask is None else int(np.count_nonzero(self.mask))

    @property
    def mask_area_mm2(self) -> float | None:
        """Area of the mask in square millimetres; None where the spacing is unknown."""
        if self.mask_area_px is None or self.slice.spacing_mm is None:
            return None
        return self.mask_area_px * math.prod(self.slice.spacing_mm)

    @property
    def box(self) -> dict[str, list[int]] | None:
        """First and last row and column of the mask, inclusive; None where it is empty."""
        if self.mask is None or not self.mask_area_px:
            return None
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return {"row": [int(rows[0]), int(rows[-1])], "column": [int(columns[0]), int(columns[-1])]}

    @cached_property
    def cam_energy_in_mask(self) -> float | None:
        """Share of the class map's sum inside the predicted mask; None with an empty mask or a map of zeros."""
        if self.cam is None or self.mask is None or not self.mask_area_px:
            return None
        total = float(self.cam.sum(dtype=np.float64))
        return float(self.cam[self.mask].sum(dtype=np.float64)) / total if total > 0 else None

    @cached_property
    def cam_bytes(self) -> np.ndarray | None:
        """Class map (H, W) uint8, 255 for 1, as pictures show it; one array for all that keep it."""
        return None if self.cam is None else as_bytes(self.cam)

    @property
    def consistent(self) -> bool | None:
        """Whether mask and class agree on whether there is a tumour; None where one of the two is not predicted."""
        if self.mask is None or self.label is None:
            return None
        return bool(self.mask_area_px) == (self.label != NO_TUMOUR)

    @property
    def agreement(self) -> str | None:
        """Agreement on whether there is a tumour; None where mask or class is not predicted.

        `agree`; `heads_disagree`, where the heads of a joint model did before they were fused; `contradict`, where mask and
        class do.
        """
        if self.consistent is None:
            return None
        if not self.consistent:
            return "contradict"
        return "agree" if self.unfused is None or self.unfused.consistent else "heads_disagree"

    def findings(self) -> dict[str, Any]:
        """Return the fields of `result.json` about the slice."""
        return {
            "class": self.label,
            "probabilities": self._by_class(self.class_prob),
            "mask_area_px": self.mask_area_px,
            "mask_area_mm2": _rounded(self.mask_area_mm2, 3),
            "box": self.box,
            "mask_confidence": _rounded(self.mask_confidence, 6),
            "mask_uncertain": self.mask_uncertain,
            "cam_class": self.cam_class,
            "cam_method": self.cam_method,
            "cam_scale": self.cam_scale,
            "cam_strength": _rounded(self.cam_strength, 6),
            "cam_energy_in_mask": _rounded(self.cam_energy_in_mask, 6),
            "consistent": self.consistent,
            "agreement": self.agreement,
            "unfused": self._unfused(),
            "ood": None if self.ood is None else self.ood.to_dict(),
            "refer": self.refer,
            "warnings": list(self.warnings),
        }

    def origin(self) -> dict[str, Any]:
        """Return the fields of `result.json` about models, runtime and versions."""
        return origin_fields(self.models, self.runtime, self.versions)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole `result.json` of a picture; it holds no patient data."""
        return {"schema_version": SCHEMA_VERSION, "source": self.slice.path, **self.findings(), **self.origin()}

    def _by_class(self, probabilities: np.ndarray | None) -> dict[str, float] | None:
        if probabilities is None:
            return None
        return {name: round(float(value), 6) for name, value in zip(self.classes, probabilities, strict=True)}

    def _unfused(self) -> dict[str, Any] | None:
        if self.unfused is None:
            return None
        return {
            "class": self.unfused.label,
            "probabilities": self._by_class(self.unfused.class_prob),
            "mask_area_px": self.unfused.mask_area_px,
            "tumour_probability": round(self.unfused.tumour_prob, 6),
        }


def origin_fields(models: Sequence[ModelMark], runtime: str, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `result.json` about models, runtime and versions."""
    marks = [{"name": model.name, "fingerprint": model.fingerprint, "trained_on": model.trained_on} for model in models]
    return {"models": marks, "runtime": runtime, "versions": dict(versions)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
