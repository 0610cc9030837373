"""Findings of a volume: whether there is a tumour, its class, and the measurements of each lesion.

The mask probabilities of the slices are smoothed along the normal and cut at a threshold; connected components are the
candidates. Each has a score, the mean probability of its most probable 0.3 ml, so that a false alarm in one slice of
150 counts for little. A candidate whose score reaches the volume's own threshold is a lesion; the largest score is the
tumour score of the volume, which is no probability: it is not calibrated, as no healthy volumes were available for that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bts.data.readers.scan import Scan, VolumeGeometry
from bts.glossary import NO_TUMOUR
from bts.inference.measurements import Midline, diameters_mm, positions_mm, side_of, slice_spacing_mm, voxel_volume_mm3
from bts.inference.postprocess import PHANTOM_MODEL, PHANTOM_SLICE
from bts.inference.prediction import Prediction
from bts.inference.statements import cap_probabilities, describe_decision

MOST_LESIONS = 255
"""Of a volume: their numbers are uint8. Smaller ones are left out."""
TRUNCATE = 3.0
"""The Gaussian along the normal ends at this many standard deviations."""


@dataclass(frozen=True)
class Lesion:
    """One connected component of a volume's mask.

    Lengths, volume, side and centroid are None where the volume has no spacing or no orientation.

    Attributes:
        number: from 1, the largest first; the value of its voxels in `VolumeFindings.lesion_labels`.
        voxels: count.
        volume_ml: volume.
        slices: first and last index along the volume's axis.
        largest_slice: index of the slice with the largest area.
        longest_mm: longest diameter in that slice.
        perpendicular_mm: longest diameter perpendicular to it in that slice, as in RANO (Wen et al. 2010).
            DOI 10.1200/JCO.2009.26.3541
        extent_mm: along the normal of the slices.
        side: `left`, `right` or `crosses the midline`, of the patient.
        centroid_mm: (3,) RAS.
        certainty: mean mask probability of its voxels, in [0, 1].
        class_prob: class name to probability, pooled over its slices.
    """

    number: int
    voxels: int
    volume_ml: float | None
    slices: tuple[int, int]
    largest_slice: int
    longest_mm: float | None
    perpendicular_mm: float | None
    extent_mm: float | None
    side: str | None
    centroid_mm: tuple[float, float, float] | None
    certainty: float
    class_prob: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class VolumeFindings:
    """Decision for a whole volume.

    Attributes:
        lesion_labels: (n_slices, H, W) uint8 along the volume's axis, number of the lesion or 0.
        lesions: the largest first.
        tumour_score: largest score of a candidate lesion, in [0, 1]; 0 without a candidate.
        threshold: at which a tumour is reported.
        class_prob: class name to probability given that there is a tumour, pooled over the slices that show it; empty without
            a tumour.
        label: most probable class, or `no_tumour`; None without a classifier.
        warnings: about the volume as a whole.
    """

    lesion_labels: np.ndarray
    lesions: tuple[Lesion, ...]
    tumour_score: float
    threshold: float
    class_prob: Mapping[str, float]
    label: str | None
    warnings: tuple[str, ...] = ()

    @property
    def tumour(self) -> bool:
        """Whether a tumour is reported."""
        return bool(self.lesions)

    @property
    def decision(self) -> tuple[str, ...]:
        """The decision in lines for people, the first of them as a title."""
        return describe_decision(n_lesions=len(self.lesions), tumour_score=self.tumour_score, threshold=self.threshold)


@dataclass(frozen=True)
class VolumeRule:
    """How a volume is decided; the defaults were chosen on whole series (docs/experiments.md, "Volumes").

    Attributes:
        smoothing_mm: standard deviation of the Gaussian along the normal; 0 leaves the slices as they are.
        voxel_threshold: smallest smoothed probability of a voxel in a mask.
        evidence_ml: volume over which the score of a candidate is averaged; a smaller candidate counts as that large.
        tumour_threshold: smallest score of a lesion; that of a model's card (`volume_threshold`) takes its place.
        assumed_spacing_mm: of slice, row and column where the volume states none; nothing is reported in mm then.
    """

    smoothing_mm: float = 4.0
    voxel_threshold: float = 0.35
    evidence_ml: float = 0.25
    tumour_threshold: float = 0.85
    assumed_spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.0)


def find_lesions(
    mask_prob: np.ndarray,
    *,
    classes: Sequence[str] = (),
    class_prob: np.ndarray | None = None,
    geometry: VolumeGeometry | None = None,
    midline_mm: float | None = None,
    blank: Collection[int] = (),
    rule: VolumeRule | None = None,
    warnings: Sequence[str] = (),
) -> VolumeFindings:
    """Return the findings of a volume.

    Args:
        mask_prob: (n_slices, H, W) floating-point, probability of tumour in each voxel; it is smoothed in place where a lesion
            can be.
        classes: names, in the order of the probabilities.
        class_prob: (n_slices, K), of each slice; None without a classifier. Only slices with a lesion are read.
        geometry: None where the spacing is not known: then nothing is measured in mm or ml.
        midline_mm: left-right coordinate (RAS) of the mid-sagittal plane; None leaves the sides out.
        blank: indices of slices without an image, which show no lesion and do not smooth their neighbours.
        rule: thresholds; None takes the defaults.
        warnings: about the volume, for the findings.
    """
    from scipy import ndimage  # its import takes 0.1 s

    rule = rule or VolumeRule()
    affine = np.diag([*rule.assumed_spacing_mm, 1.0]) if geometry is None else geometry.slice_affine_mm
    columns = _columns_with(mask_prob, rule.voxel_threshold)
    smooth_along_normal(mask_prob[:, columns[0], columns[1]], sigma=rule.smoothing_mm / slice_spacing_mm(affine), blank=blank)
    labels, tumour_score = _label_lesions(
        mask_prob, rule, evidence=max(1, round(rule.evidence_ml * 1000 / voxel_volume_mm3(affine)))
    )
    among = None if class_prob is None else _among_tumours(class_prob, classes)
    weights = np.zeros(len(mask_prob))
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        weight = np.where(inside, mask_prob[box], np.float16(0)).sum((1, 2), dtype=np.float64)  # area x certainty of each slice
        weights[box[0]] += weight
        pooled = _pool(among, classes, weight, first=box[0].start)
        lesion = _measure(number, inside, box, certainty=float(weight.sum()) / int(inside.sum()), class_prob=pooled)
        lesions.append(lesion if geometry is None else _in_mm(lesion, inside, box, geometry, midline_mm))
    pooled = _pool(among, classes, weights) if lesions else {}
    without = NO_TUMOUR if NO_TUMOUR in classes else None
    return VolumeFindings(
        lesion_labels=labels,
        lesions=tuple(lesions),
        tumour_score=tumour_score,
        threshold=rule.tumour_threshold,
        class_prob=pooled,
        label=max(pooled, key=lambda name: pooled[name]) if pooled else without if not lesions else None,
        warnings=tuple(warnings),
    )


def _columns_with(mask_prob: np.ndarray, threshold: float) -> tuple[slice, slice]:
    """Return the rows and columns in which a voxel of some slice reaches the threshold: smoothed, no other voxel reaches it."""
    above = np.zeros(mask_prob.shape[1:], bool)
    for plane in mask_prob:
        above |= plane >= threshold
    rows, columns = (np.flatnonzero(above.any(axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0), slice(0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def smooth_along_normal(mask_prob: np.ndarray, *, sigma: float, blank: Collection[int] = ()) -> None:
    """Smooth (n_slices, H, W) in place with a Gaussian along the first axis; a few slices are copied at a time.

    The weights of the slices that are there sum to 1, so neither the ends of the volume nor a blank slice lower a probability.

    Args:
        mask_prob: floating-point.
        sigma: standard deviation in slices.
        blank: indices of slices that become 0 and weigh nothing.
    """
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = [math.exp(-0.5 * (offset / sigma) ** 2) if sigma else 1.0 for offset in range(radius + 1)]
    before: deque[np.ndarray] = deque(maxlen=radius)  # the slices before this one as they were
    for index in range(len(mask_prob)):
        own = mask_prob[index].copy()
        total, weights = np.zeros(own.shape, np.float32), 0.0
        for offset in range(-min(radius, index), min(radius, len(mask_prob) - 1 - index) + 1):
            if index in blank or index + offset in blank:
                continue
            weight = kernel[abs(offset)]
            total += np.float32(weight) * (before[offset] if offset < 0 else mask_prob[index + offset] if offset else own)
            weights += weight
        mask_prob[index] = total / (weights or 1.0)
        before.append(own)


def _label_lesions(mask_prob: np.ndarray, rule: VolumeRule, *, evidence: int) -> tuple[np.ndarray, float]:
    """Return the lesions (n_slices, H, W) uint8 numbered from the largest, and the largest score of a candidate.

    Args:
        mask_prob: smoothed.
        rule: thresholds.
        evidence: number of most probable voxels over which a score is averaged.
    """
    from scipy import ndimage

    labels = np.zeros(mask_prob.shape, np.uint8)
    above = mask_prob >= rule.voxel_threshold
    if not above.any():
        return labels, 0.0
    box = ndimage.find_objects(above.view(np.uint8))[0]  # the numbers of all regions take 4 bytes a voxel
    regions, count = ndimage.label(above[box], structure=np.ones((3, 3, 3)))
    inside = regions > 0
    region, prob = regions[inside], mask_prob[box][inside].astype(np.float64)
    sizes = np.bincount(region, minlength=count + 1)
    order = np.lexsort((-prob, region))
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[region[order]]  # within its region, the most probable first
    top = order[rank < evidence]
    scores = np.bincount(region[top], weights=prob[top], minlength=count + 1) / evidence
    kept = np.flatnonzero(scores >= rule.tumour_threshold)
    kept = kept[np.argsort(-sizes[kept], kind="stable")][:MOST_LESIONS]
    numbers = np.zeros(count + 1, np.uint8)
    numbers[kept] = np.arange(1, len(kept) + 1)
    labels[box] = numbers[regions]
    return labels, float(scores.max())


def _among_tumours(class_prob: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities (n, K) given that there is a tumour: that of no tumour is 0."""
    tumours = np.array([name != NO_TUMOUR for name in classes])
    found = np.where(tumours, class_prob, 0.0)
    total = found.sum(1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1), tumours / tumours.sum())


def _pool(among: np.ndarray | None, classes: Sequence[str], weights: np.ndarray, *, first: int = 0) -> dict[str, float]:
    """Return the weighted mean over slices from the first on, by class name; slices without weight may hold anything."""
    if among is None:
        return {}
    shown = np.flatnonzero(weights)
    mean = weights[shown] @ among[first + shown] / weights.sum()
    return {name: float(value) for name, value in zip(classes, mean, strict=True)}


Box = tuple[slice, slice, slice]


def _measure(number: int, inside: np.ndarray, box: Box, *, certainty: float, class_prob: Mapping[str, float]) -> Lesion:
    """Return a lesion from its voxels `inside` a box of the volume, without what takes a spacing."""
    areas = inside.sum((1, 2))
    return Lesion(
        number=number,
        voxels=int(areas.sum()),
        volume_ml=None,
        slices=(box[0].start, box[0].stop - 1),
        largest_slice=box[0].start + int(areas.argmax()),
        longest_mm=None,
        perpendicular_mm=None,
        extent_mm=None,
        side=None,
        centroid_mm=None,
        certainty=certainty,
        class_prob=class_prob,
    )


def _in_mm(lesion: Lesion, inside: np.ndarray, box: Box, geometry: VolumeGeometry, midline_mm: float | None) -> Lesion:
    """Return a lesion with its measurements; side and centroid only where the axes of the patient are known."""
    affine = geometry.slice_affine_mm
    longest, perpendicular = diameters_mm(inside[lesion.largest_slice - lesion.slices[0]], affine)
    places = positions_mm(np.argwhere(inside) + [span.start for span in box], affine)
    known = geometry.oriented
    return replace(
        lesion,
        volume_ml=lesion.voxels * voxel_volume_mm3(affine) / 1000,
        longest_mm=longest,
        perpendicular_mm=perpendicular,
        extent_mm=(lesion.slices[1] - lesion.slices[0] + 1) * slice_spacing_mm(affine),
        side=side_of(places[:, 0], midline_mm) if known and midline_mm is not None else None,
        centroid_mm=tuple(places.mean(0).tolist()) if known else None,
    )


class VolumeEvidence:
    """What the slices of a volume show, gathered one by one: two bytes a voxel, and a few numbers a slice."""

    def __init__(self, scan: Scan) -> None:
        """Take a volume; its slices follow with `add`."""
        assert scan.volume is not None
        self.scan, self.geometry, self.rule = scan, scan.volume, VolumeRule()
        self.midline = Midline(self.geometry.slice_affine_mm)
        self.classes: tuple[str, ...] = ()
        self.mask_prob: np.ndarray | None = None
        self.class_prob = np.zeros((self.geometry.n_slices, 0))
        self.is_ood = np.zeros(self.geometry.n_slices, bool)
        self.is_referred = np.zeros(self.geometry.n_slices, bool)
        self._found: VolumeFindings | None = None

    def add(self, prediction: Prediction) -> None:
        """Take the prediction of a slice: of a joint model the mask head's own probabilities, before they are fused."""
        if prediction.volume_threshold is not None:
            self.rule = replace(self.rule, tumour_threshold=prediction.volume_threshold)
        index, heads = int(prediction.slice.index or 0), prediction.unfused
        mask_prob = prediction.mask_prob if heads is None else heads.mask_prob
        class_prob = prediction.class_prob if heads is None else heads.class_prob
        if class_prob is not None:
            if not self.classes:
                self.classes = prediction.classes
                self.class_prob = np.zeros((self.geometry.n_slices, len(self.classes)))
            self.class_prob[index] = class_prob
        if mask_prob is not None:
            if self.mask_prob is None:
                self.mask_prob = np.zeros((self.geometry.n_slices, *self.geometry.slice_shape), np.float16)
            self.mask_prob[index] = mask_prob
        self.is_ood[index] = prediction.ood is not None and prediction.ood.is_ood
        self.is_referred[index] = bool(prediction.refer)
        if self.geometry.oriented:
            self.midline.add(index, prediction.slice.image)

    def findings(self) -> VolumeFindings | None:
        """Return the findings, computed once; None without a segmenter."""
        if self._found is None and self.mask_prob is not None:
            found = find_lesions(
                self.mask_prob,
                classes=self.classes,
                class_prob=self.class_prob if self.classes else None,
                geometry=self.geometry if self.scan.slices[0].spacing_mm is not None else None,
                midline_mm=self.midline.position_mm,
                blank=self.scan.blank,
                rule=self.rule,
            )
            self._found, self.mask_prob = self._warned(found), None
        return self._found

    def _warned(self, found: VolumeFindings) -> VolumeFindings:
        """Warn where most slices that count are referred or out of distribution; for the latter cap the class probabilities."""
        counted = {index for lesion in found.lesions for index in range(lesion.slices[0], lesion.slices[1] + 1)}
        what = "that show the tumour" if counted else "with an image"
        counted = counted - set(self.scan.blank) or {int(item.index or 0) for item in self.scan.slices}
        referred = sum(bool(self.is_referred[index]) for index in counted)
        if 2 * referred > len(counted):
            text = f"refer to an expert: {referred} of the {len(counted)} slices {what} are referred by themselves"
            found = replace(found, warnings=(*found.warnings, text))
        unlike = sum(bool(self.is_ood[index]) for index in counted)
        if 2 * unlike <= len(counted):
            return found
        text = (
            f"out of distribution: {unlike} of the {len(counted)} slices {what} are unlike the slices that the model was "
            "trained on, so lesions, class and probabilities are unreliable"
        )
        return replace(
            found,
            class_prob=_capped(found.class_prob),
            lesions=tuple(replace(lesion, class_prob=_capped(lesion.class_prob)) for lesion in found.lesions),
            warnings=(*found.warnings, text),
        )


def _capped(class_prob: Mapping[str, float]) -> dict[str, float]:
    """Return the probabilities of the classes that are possible, none above what is reported out of distribution."""
    possible = [name for name, value in class_prob.items() if value > 0]
    if len(possible) < 2:
        return dict(class_prob)
    capped = cap_probabilities(np.array([class_prob[name] for name in possible]))
    return dict.fromkeys(class_prob, 0.0) | dict(zip(possible, capped.tolist(), strict=True))


def apply_findings(prediction: Prediction, findings: VolumeFindings) -> Prediction:
    """Return the prediction of a slice as the volume's findings have it, for a picture that agrees with them.

    The mask is that of the lesions. A slice that shows one has the class of the volume, any other has none. What the slice
    by itself gave and the findings may contradict is left out: probabilities of its pixels, referral, its warnings, and a map
    of another class than the volume's.
    """
    item = prediction.slice
    mask = findings.lesion_labels[int(item.index or 0)] > 0
    class_prob = findings.class_prob if mask.any() else {}
    known = prediction.class_prob is not None and bool(class_prob)
    made = [text for text in (PHANTOM_SLICE, PHANTOM_MODEL) if text in prediction.warnings]
    explains = not known or prediction.cam_class == findings.label
    without_map: dict[str, Any] = (
        {} if explains else dict.fromkeys(("cam", "cam_class", "cam_method", "cam_scale", "cam_strength", "cam_peak"))
    )
    return replace(
        prediction,
        **without_map,
        mask=mask,
        mask_prob=None,
        mask_confidence=None,
        mask_uncertain=None,
        classes=prediction.classes if known else (),
        class_prob=np.array([class_prob[name] for name in prediction.classes]) if known else None,
        unfused=None,
        ood=None,
        refer=False,
        warnings=(*item.warnings, *made, *findings.warnings),
    )
