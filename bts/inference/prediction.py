"""What is said of one slice, and what of it goes into `result.json`?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bts.data.slice import Slice
from bts.glossary import NO_TUMOUR
from bts.inference.outside import Outside
from bts.models.card import GRAD_CAM


@dataclass(frozen=True)
class ModelMark:
    """Which model took part, so that a result can be traced to its weights.

    Attributes:
        name: the model folder's own name.
        fingerprint: first 16 hex digits of the SHA-256 of its weights.
        trained_on: what its card says of the training data.
    """

    name: str
    fingerprint: str
    trained_on: str


@dataclass(frozen=True, eq=False)
class UnfusedHeads:
    """What mask and class of a joint model say, each by itself, before they are put together.

    Attributes:
        label: most probable class of the class head.
        class_prob: (K,) float64, softmax(class_logits / temperature).
        mask_area_px: pixels of the mask's probability over the threshold.
        tumour: the mask's largest probability: how sure it is that there is a tumour.
    """

    label: str
    class_prob: np.ndarray
    mask_area_px: int
    tumour: float

    @property
    def consistent(self) -> bool:
        """Whether the two agree that there is a tumour."""
        return (self.mask_area_px > 0) == (self.label != NO_TUMOUR)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Mask, class and Grad-CAM of one slice, all in the slice's own size (H, W).

    What no loaded model answers is None: a segmenter alone gives no class, a classifier alone no mask.

    Attributes:
        slice: the slice that was asked about.
        mask_prob: (H, W) float32, probability of tumour, or None; of a joint model, given its answer.
        mask: (H, W) bool, after threshold and smallest region, or None.
        mask_confidence: how sure the model is of the mask, in [0, 1] (`decision.mask_confidence`); None where it is empty.
        mask_doubtful: whether that is under the model's threshold; None where the model has none, or the mask is empty.
        classes: names in the order of the model's outputs; empty without a classifier.
        class_logits: (K,) class scores before temperature and softmax, or None; calibration is fitted on these.
        class_prob: (K,) float64, softmax(class_logits / temperature), or None; of a joint model, with the mask's evidence.
        alone: what mask and class of a joint model say by themselves, or None.
        cam: (H, W) float32 in [0, 1], the map of `cam_class`, Grad-CAM or a joint model's own, or None.
        cam_class: name of the class that the map explains, or None.
        cam_name: what the map is called where it is shown.
        cam_peak: largest value of the map before scaling, or None; the scale on validation is made of these.
        features: (C,) pooled features behind the class, or None.
        outside: how unlike the training slices the picture is, or None where no model knows what those look like.
        refer: True where the largest probability is under the model's referral threshold.
        warnings: one sentence each; everything that makes the answer doubtful stands here.
        models: who answered.
        runtime: what computed it, `"torch on cpu"`.
        versions: package name to version.
    """

    slice: Slice
    mask_prob: np.ndarray | None = None
    mask: np.ndarray | None = None
    mask_confidence: float | None = None
    mask_doubtful: bool | None = None
    classes: tuple[str, ...] = ()
    class_logits: np.ndarray | None = None
    class_prob: np.ndarray | None = None
    alone: UnfusedHeads | None = None
    cam: np.ndarray | None = None
    cam_class: str | None = None
    cam_name: str = GRAD_CAM
    cam_peak: float | None = None
    features: np.ndarray | None = None
    outside: Outside | None = None
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
        """Area of the mask in square millimetres, None where the spacing is not known."""
        if self.mask_area_px is None or self.slice.spacing_mm is None:
            return None
        return self.mask_area_px * math.prod(self.slice.spacing_mm)

    @property
    def box(self) -> dict[str, list[int]] | None:
        """First and last row and column of the mask, both inside it; None where it is empty."""
        if self.mask is None or not self.mask_area_px:
            return None
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return {"row": [int(rows[0]), int(rows[-1])], "column": [int(columns[0]), int(columns[-1])]}

    @cached_property
    def cam_energy_in_mask(self) -> float | None:
        """Share of the Grad-CAM's sum that lies inside the predicted mask; None with an empty mask or a map of zeros."""
        if self.cam is None or self.mask is None or not self.mask_area_px:
            return None
        total = float(self.cam.sum(dtype=np.float64))
        return float(self.cam[self.mask].sum(dtype=np.float64)) / total if total > 0 else None

    @property
    def consistent(self) -> bool | None:
        """Whether mask and class agree that there is a tumour; None where one of the two is not answered."""
        if self.mask is None or self.label is None:
            return None
        return bool(self.mask_area_px) == (self.label != NO_TUMOUR)

    def findings(self) -> dict[str, Any]:
        """Return what was found in the slice, as it stands in `result.json`."""
        return {
            "class": self.label,
            "probabilities": self._by_class(self.class_prob),
            "mask_area_px": self.mask_area_px,
            "mask_area_mm2": _rounded(self.mask_area_mm2, 3),
            "box": self.box,
            "mask_confidence": _rounded(self.mask_confidence, 6),
            "mask_doubtful": self.mask_doubtful,
            "cam_class": self.cam_class,
            "cam_energy_in_mask": _rounded(self.cam_energy_in_mask, 6),
            "consistent": self.consistent,
            "alone": self._alone(),
            "outside": None if self.outside is None else self.outside.to_dict(),
            "refer": self.refer,
            "warnings": list(self.warnings),
        }

    def origin(self) -> dict[str, Any]:
        """Return who answered and with what, as it stands in `result.json`."""
        return origin_fields(self.models, self.runtime, self.versions)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole of `result.json`; its schema is `docs/result.schema.json`. No field of a patient is in it."""
        return {"source": self.slice.path, **self.findings(), **self.origin()}

    def _by_class(self, probabilities: np.ndarray | None) -> dict[str, float] | None:
        if probabilities is None:
            return None
        return {name: round(float(value), 6) for name, value in zip(self.classes, probabilities, strict=True)}

    def _alone(self) -> dict[str, Any] | None:
        if self.alone is None:
            return None
        return {
            "class": self.alone.label,
            "probabilities": self._by_class(self.alone.class_prob),
            "mask_area_px": self.alone.mask_area_px,
            "tumour_probability": round(self.alone.tumour, 6),
        }


def origin_fields(models: Sequence[ModelMark], runtime: str, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return who answered and with what, as it stands in `result.json`."""
    marks = [{"name": model.name, "fingerprint": model.fingerprint, "trained_on": model.trained_on} for model in models]
    return {"models": marks, "runtime": runtime, "versions": dict(versions)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
