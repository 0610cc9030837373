"""Slices of a volume that knows its orientation: along which axis it is cut, and how each slice is turned for display.

NIfTI files and DICOM series go through here, so that a series gives the same slices in either form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from bts.data.enhance import Box, padding_box
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.errors import InputError

THICK = 1.5
"""Slices this many times farther apart than their pixels are taken for the planes that were scanned."""
SLAB = 0.5
"""A volume is a slab of few planes where it is less than this many times as long along one axis as along the others, in
millimetres and in voxels; a head is not."""


def lay_out(
    affine: np.ndarray,
    shape: tuple[int, int, int],
    *,
    sizes_mm: Sequence[float],
    axis: int | None,
    oriented: bool = True,
    codes: tuple[int, int] = (0, 1),
    unit: str = "mm",
) -> tuple[VolumeGeometry, tuple[float, float]]:
    """Return how a volume is cut, and the spacing (row, column) of its slices.

    Args:
        affine: (4, 4) voxel index to RAS position, in `unit`.
        shape: of the array as stored.
        sizes_mm: (3,) of a voxel along the stored axes.
        axis: patient axis along which to cut; None takes `natural_axis`. A file of one plane has no choice.
        oriented: False takes the array as stored, its first axis along the columns of a slice.
        codes: qform and sform code, for the geometry.
        unit: of lengths, for the geometry.

    Raises:
        InputError: no such axis.
    """
    stored = ornt_transform(io_orientation(affine), axcodes2ornt("LPS")) if oriented else axcodes2ornt("RAS")
    order = np.argsort(stored[:, 0])  # stored axis for each patient axis
    if axis is None or 1 in shape:
        axis = natural_axis([shape[i] for i in order], [sizes_mm[i] for i in order])
    if axis not in (0, 1, 2):
        raise InputError(f"axis {axis}: expected 0 (sagittal), 1 (coronal) or 2 (axial)")
    if oriented and axis != 2:
        stored = ornt_transform(io_orientation(affine), axcodes2ornt("LPI"))
    columns, rows = (sizes_mm[order[other]] for other in range(3) if other != axis)
    geometry = VolumeGeometry(np.array(affine), shape, axis, orientation=stored.astype(int), codes=codes, unit=unit)
    return geometry, (rows, columns)


def natural_axis(shape: Sequence[int], sizes: Sequence[float]) -> int:
    """Return the axis of a lone plane, else the one through a slab, else the one of thick slices, else 2.

    >>> natural_axis([4, 256, 256], [1.0, 1.0, 1.0]), natural_axis([176, 256, 256], [1.0, 1.0, 1.0])
    (0, 2)
    """
    if 1 in shape:
        return max(axis for axis in range(3) if shape[axis] == 1)
    fewest, widest = int(np.argmin(shape)), int(np.argmax(sizes))
    lengths = np.multiply(shape, sizes)
    if all(each[fewest] < SLAB * min(np.delete(each, fewest)) for each in (lengths, shape)):
        return fewest
    return widest if sizes[widest] > THICK * max(np.delete(sizes, widest)) else 2


def cut_slices(
    planes: np.ndarray,
    geometry: VolumeGeometry,
    *,
    path: str,
    spacing_mm: tuple[float, float] | None,
    notes: tuple[str, ...] = (),
) -> Scan:
    """Return the scan of all `planes` (n_slices, H, W) that `geometry` cuts: a picture where there is only one.

    Raises:
        InputError: a slice is unusable, or all are constant.
    """
    if geometry.n_slices == 1:
        return Scan(path=path, slices=[Slice(image=planes[0], source="file", path=path, spacing_mm=spacing_mm, warnings=notes)])
    slices: list[Slice] = []
    blank: list[int] = []
    content = find_content(planes)
    for index, plane in enumerate(planes):
        if plane.min() == plane.max():
            blank.append(index)
            continue
        try:
            item = Slice(plane, "file", path, spacing_mm=spacing_mm, index=index, content=content, warnings=notes)
            slices.append(item)
        except InputError as error:
            raise error.at(f"slice {index}") from error
    if not slices:
        raise InputError(f"all {len(blank)} slices are constant: there is nothing to see in the volume")
    return Scan(path=path, slices=slices, volume=geometry, blank=tuple(blank))


def find_content(planes: np.ndarray) -> Box:
    """Return the part of the slices (n_slices, H, W) inside of the constant margin that all of them have, as `padding_box`."""
    brightest = np.zeros(planes.shape[1:], np.float32)
    for plane in planes:
        with np.errstate(over="ignore", invalid="ignore"):  # what no slice may hold is refused for each
            np.maximum(brightest, np.abs(plane - plane[0, 0]), out=brightest)
    return padding_box(brightest)


def fill_missing(planes: np.ndarray, *, mirrored: bool = False) -> None:
    """Replace NaN in a volume (n_slices, H, W) by its smallest value in place, its values mirrored within their range before.

    Raises:
        InputError: all are NaN.
    """
    ranges = [(np.nanmin(plane), np.nanmax(plane)) for plane in planes if not np.isnan(plane).all()]
    if not ranges:
        raise InputError("all pixels are padding: there is nothing to see in the volume")
    low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
    for plane in planes:
        if mirrored:
            np.subtract(low + high, plane, out=plane)
        plane[np.isnan(plane)] = low
