"""Reader for MONAI's `LoadImage`: slices in figshare's files and all other supported formats.

`LoadImage(reader=SliceReader)` gives the image in MONAI's axis order, (columns, rows), as its own `PILReader` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys

from bts.data.readers.catalogue import SUFFIXES, read_slice, suffix
from bts.data.readers.mat import read_mat_border
from bts.data.slice import Slice

PathType = str | PathLike[str]


class SliceReader(ImageReader):
    """MONAI reader of files with one slice, in any format of `SUFFIXES`; for volumes MONAI has its own readers.

    The metadata hold what a figshare file has besides its image: `label` (class name), `patient` (whole ID), `mask`
    (columns, rows) uint8 and `border` (n, 2) row and column from 0; of the other formats `spacing_mm` (row, column)
    if it is known. Unknown values are absent, as MONAI's collation does not accept None.
    """

    def verify_suffix(self, filename: Sequence[PathType] | PathType) -> bool:
        """Return whether every name ends with one of `SUFFIXES`."""
        return all(suffix(name) in SUFFIXES for name in _names(filename))

    def read(self, data: Sequence[PathType] | PathType) -> list[Slice]:  # type: ignore[override]  # no options to pass on
        """Return the slices of one or several files; raises `InputError` like `read_slice`."""
        return [read_slice(str(name)) for name in _names(data)]

    def get_data(self, img: list[Slice]) -> tuple[np.ndarray, dict]:
        """Return (columns, rows) float32, several files stacked in front, and the metadata of the first."""
        first = img[0]
        stacked = np.stack([item.image.T for item in img])
        return (stacked[0] if len(img) == 1 else stacked), _metadata(first, channels=len(img) > 1)


def _names(names: Sequence[PathType] | PathType) -> list[PathType]:
    return [names] if isinstance(names, (str, PathLike)) else list(names)


def _metadata(item: Slice, *, channels: bool) -> dict:
    rows, columns = item.image.shape
    known = {
        MetaKeys.SPATIAL_SHAPE: np.array([columns, rows]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if channels else float("nan"),
        "label": item.label,
        "patient": item.patient,
        "mask": None if item.mask is None else item.mask.T.astype(np.uint8),
        "border": read_mat_border(item.path) if suffix(item.path) == ".mat" else None,
        "spacing_mm": item.spacing_mm,
    }
    return {key: value for key, value in known.items() if value is not None}
