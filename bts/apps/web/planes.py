"""The volume as the three planes of the page show it: 8 bits a voxel, in the place of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bts.atomic import replacing
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.inference.volume import VolumeFindings
from bts.inference.writers.nifti import nifti_mask

DARKEST, BRIGHTEST = 0.5, 99.5
"""Percentiles of the values that are black and white."""
SAMPLED = 2**20
"""Values from which the percentiles are taken."""


def write_view(scan: Scan, path: Path) -> Path:
    """Write a volume as NIfTI for the viewer of the page, unless it is there; blank slices are black."""
    if path.is_file():
        return path
    assert scan.volume is not None
    step = max(1, sum(item.image.size for item in scan.slices) // SAMPLED)
    sample = np.concatenate([item.image.ravel()[::step] for item in scan.slices])
    low, high = np.percentile(sample, [DARKEST, BRIGHTEST])
    view = np.zeros(scan.volume.shape, np.uint8)
    planes = scan.volume.cut(view)
    for item in scan.slices:
        planes[int(item.index or 0)] = np.clip((item.image - low) * (255 / max(high - low, 1e-9)), 0, 255)
    with replacing(path) as part:
        nifti_mask(view, scan.volume).to_filename(part)
    return path


def view_position(findings: VolumeFindings, geometry: VolumeGeometry) -> tuple[float, float, float]:
    """Return the middle of the largest lesion in its largest slice as shares of the volume to the right, front and top.

    Args:
        findings: with at least one lesion.
        geometry: of the volume.
    """
    lesion = findings.lesions[0]
    row, column = np.argwhere(findings.lesion_labels[lesion.largest_slice] == lesion.number).mean(0)
    columns, rows = (axis for axis in range(3) if axis != geometry.axis)
    sizes = dict(zip((geometry.axis, rows, columns), (geometry.n_slices, *geometry.slice_shape), strict=True))
    places = {geometry.axis: lesion.largest_slice, rows: row, columns: column}
    left, back, third = ((places[axis] + 0.5) / sizes[axis] for axis in range(3))
    return 1 - left, 1 - back, third if geometry.axis == 2 else 1 - third  # axial slices follow each other upwards
