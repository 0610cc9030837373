"""Findings of a volume: whether there is a tumour, its class, and the measurements of each lesion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


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
