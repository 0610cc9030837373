"""Export of a source to `train.npz` and `test.npz`: square 8-bit images, class names, known patients.

The source `npz` (`bts.data.sources.arrays_npz`) reads these files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bts.atomic import replacing
from bts.data.arrays import Arrays, load_arrays
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.errors import RequestError

WHOLE = "all"
"""Key of slices without a published part."""


def write_npz(source: Source, out: Path, *, size: int = 224) -> dict[Path, int]:
    """Write the slices of a source and return the number in each file.

    Args:
        source: any source; images keep their full intensity range and are padded to a square and scaled.
        out: a folder, for one file per published part; or a file ending in .npz, for all slices.
        size: side of the squares in pixels.

    Raises:
        RequestError: there are no published parts, or slices without a class.
        InputError: an image can't be read.
    """
    by_part = _by_part(source.records(), out)
    preprocessing = Preprocessing(size=size, low_percentile=0.0, high_percentile=100.0, crop_brain=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, records in by_part.items():
        arrays = load_arrays(source, records, preprocessing=preprocessing, classes=source.classes)
        path = out if part == WHOLE else out / f"{part}.npz"
        _save(path, arrays, source.classes)
        written[path] = len(arrays)
    return written


def _by_part(records: list[Record], out: Path) -> dict[str, list[Record]]:
    unlabelled = [record for record in records if record.label is None]
    if unlabelled:
        raise RequestError(f"{unlabelled[0].path}: {len(unlabelled)} slices have no class: arrays need one for each picture")
    if out.suffix == ".npz":
        return {WHOLE: records}
    if any(record.part is None for record in records):
        raise RequestError(
            f"{out}: a folder gets a file for each published part, and some slices here have none: "
            "name a file that ends in .npz, which gets all of them"
        )
    parts = sorted({str(record.part) for record in records}, key=("train", "val", "test").index)
    return {part: [record for record in records if record.part == part] for part in parts}


def _save(path: Path, arrays: Arrays, classes: tuple[str, ...]) -> None:
    values = {
        "images": arrays.images,
        "labels": np.array([classes[label] for label in arrays.labels]),
        "classes": np.array(classes),
    }
    if arrays.has_mask.all():
        values["masks"] = arrays.masks
    if all(arrays.patients):
        values["patients"] = np.array(arrays.patients)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **values)  # type: ignore[arg-type]
