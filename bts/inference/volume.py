"""Findings of a volume: whether there is a tumour, its class, and the measurements of each lesion.

The mask probabilities of the slices are smoothed along the normal and cut at a threshold; connected components are the
candidates. Each has a score, the mean probability of its most probable millilitre, so that a false alarm in one slice of 150
counts for little. A candidate whose score reaches the volume's own threshold is a lesion; the largest score is the probability
that the volume shows a tumour.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bts.data.readers.scan import VolumeGeometry
from bts.glossary import NO_TUMOUR
from bts.inference.measurements import diameters_mm, positions_mm, side_of, slice_spacing_mm, voxel_volume_mm3

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
        tumour_prob: probability that the volume shows a tumour.
        threshold: at which a tumour is reported.
        class_prob: class name to probability, pooled over the slices that show the tumour.
        label: most probable class; None without a classifier.
        warnings: about the volume as a whole.
    """

    lesion_labels: np.ndarray
    lesions: tuple[Lesion, ...]
    tumour_prob: float
    threshold: float
    class_prob: Mapping[str, float]
    label: str | None
    warnings: tuple[str, ...] = ()

    @property
    def tumour(self) -> bool:
        """Whether a tumour is reported."""
        return bool(self.lesions)


@dataclass(frozen=True)
class VolumeRule:
    """How a volume is decided; the defaults were chosen on whole series (docs/experiments.md, "Volumes").

    Attributes:
        smoothing_mm: standard deviation of the Gaussian along the normal; 0 leaves the slices as they are.
        voxel_threshold: smallest smoothed probability of a voxel in a mask.
        evidence_ml: volume over which the score of a candidate is averaged; a smaller candidate counts as that large.
        tumour_threshold: smallest score of a lesion.
        assumed_spacing_mm: of slice, row and column where the volume states none; nothing is reported in mm then.
    """

    smoothing_mm: float = 4.0
    voxel_threshold: float = 0.35
    evidence_ml: float = 1.0
    tumour_threshold: float = 0.5
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
        mask_prob: (n_slices, H, W) floating-point, probability of tumour in each voxel; it is smoothed in place.
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
    smooth_along_normal(mask_prob, sigma=rule.smoothing_mm / slice_spacing_mm(affine), blank=blank)
    labels, tumour_prob = _label_lesions(
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
    if lesions:
        pooled = _pool(among, classes, weights)
    else:
        pooled = {name: float(name == NO_TUMOUR) for name in classes} if NO_TUMOUR in classes else {}
    return VolumeFindings(
        lesion_labels=labels,
        lesions=tuple(lesions),
        tumour_prob=tumour_prob,
        threshold=rule.tumour_threshold,
        class_prob=pooled,
        label=max(pooled, key=lambda name: pooled[name]) if pooled else None,
        warnings=tuple(warnings),
    )


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
