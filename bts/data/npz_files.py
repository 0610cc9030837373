"""Pictures of a source as `train.npz` and `test.npz`: squares of bytes, class names, patients where known.

What is written here the source `npz` reads (`bts.data.sources.arrays_npz`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bts.atomic import replacing
from bts.data.arrays import Arrays, load_arrays
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.errors import RequestError

WHOLE = "all"
"""Key under which slices stand that no publisher put in a part."""


def write_npz(
    source: Source, out: Path, *, size: int = 224, progress: Callable[[int, int], None] | None = None
) -> dict[Path, int]:
    """Write the slices of a source and return how many each file holds.

    Args:
        source: any; its whole range of grey is kept, padded to a square and scaled.
        out: a folder, which gets one file for each published part; or a file ending in .npz, which gets all slices.
        size: side of the squares in pixels.
        progress: is called with (done, total) after each slice of a file.

    Raises:
        RequestError: no parts to make files of, or slices without a class.
        InputError: a picture can't be read.
    """
    by_part = _by_part(source.records(), out)
    preprocessing = Preprocessing(size=size, low_percentile=0.0, high_percentile=100.0)
    out.parent.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, records in by_part.items():
        arrays = load_arrays(source, records, preprocessing=preprocessing, classes=source.classes, progress=progress)
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
