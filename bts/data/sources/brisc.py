"""BRISC 2025 (Fateh et al., arXiv 2506.14318): both tasks, with the published train and test parts.

`brisc` is the classification task: 6,000 pictures, 1,207 of them healthy. A picture that the segmentation task has too
brings its mask, and a healthy one an empty mask, so that one source trains classes, masks, or both. `brisc_seg` is the
segmentation task alone: 4,793 pictures with a tumour.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.folders import Folders
from bts.data.sources.labels import ordered_classes, part_name
from bts.data.sources.picture_files import folders_in, pictures_in, read_record, record_mask_values, refuse_missing
from bts.errors import RequestError
from bts.glossary import NO_TUMOUR, count_of

CLASSIFICATION, SEGMENTATION = "classification_task", "segmentation_task"
CODES = {"gl": "glioma", "me": "meningioma", "pi": "pituitary", "no": NO_TUMOUR}
"""Class codes in the file names, as in `brisc2025_train_00001_gl_ax_t1.jpg`."""
PLANES = {"ax": "axial", "co": "coronal", "sa": "sagittal"}
"""Codes of the plane in the same names."""


@sources.register("brisc")
class Brisc(Source):
    """BRISC 2025, classification task, with masks where the segmentation task has them."""

    name: ClassVar[str] = "brisc"
    synthetic = False

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        _refuse_other_layout(self.root, CLASSIFICATION)
        masks = {Path(path).stem: path for path in _masks(self.root).values()}
        found = Folders(self.root / CLASSIFICATION).records()
        self._records = [
            Record(
                path=f"{CLASSIFICATION}/{record.path}",
                label=record.label,
                part=record.part,
                mask=masks.get(Path(record.path).stem),
                plane=_plane(Path(record.path)),
            )
            for record in found
        ]
        self._has_masks = bool(masks)
        self.classes: tuple[str, ...] = ordered_classes(record.label for record in found if record.label)

    def records(self) -> list[Record]:
        """Return class, published part and mask of every picture."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return the slice of a record; a healthy one has an empty mask."""
        is_healthy = record.label == NO_TUMOUR and self._has_masks
        return read_record(self.root, record, source=self.name, empty_mask=is_healthy, mask_labels=self.mask_labels)

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of a record's mask."""
        return record_mask_values(self.root, record)


@sources.register("brisc_seg")
class BriscSegmentation(Source):
    """BRISC 2025, segmentation task: tumour slices and their masks."""

    name: ClassVar[str] = "brisc_seg"
    synthetic = False

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        _refuse_other_layout(self.root, SEGMENTATION)
        masks = _masks(self.root)
        self._records = [
            Record(
                path=f"{SEGMENTATION}/{part.name}/images/{picture.name}",
                label=_label(picture),
                part=part_name(part.name),
                mask=masks.get(f"{part.name}/{picture.stem}"),
                plane=_plane(picture),
            )
            for part in folders_in(self.root / SEGMENTATION)
            for picture in _pictures(part / "images")
        ]
        _refuse_no_mask(self.root, self._records)
        self.classes: tuple[str, ...] = ordered_classes(record.label for record in self._records if record.label)

    def records(self) -> list[Record]:
        """Return class, published part and mask of every picture."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return the slice of a record, with mask."""
        return read_record(self.root, record, source=self.name, mask_labels=self.mask_labels)

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of a record's mask."""
        return record_mask_values(self.root, record)


def _refuse_other_layout(root: Path, task: str) -> None:
    refuse_missing(root)
    if not (root / task).is_dir():
        raise RequestError(f"{root}: no folder '{task}' in it: name the folder that BRISC's archive unpacks to")


def _masks(root: Path) -> dict[str, str]:
    """Return the path of each mask relative to the root, by part and file name without suffix."""
    found = {}
    for part in folders_in(root / SEGMENTATION) if (root / SEGMENTATION).is_dir() else []:
        if (part / "masks").is_dir():
            for mask in pictures_in(part / "masks"):
                found[f"{part.name}/{mask.stem}"] = mask.relative_to(root).as_posix()
    return found


def _pictures(folder: Path) -> list[Path]:
    pictures = pictures_in(folder) if folder.is_dir() else []
    if not pictures:
        raise RequestError(f"{folder}: no pictures in it: unpack BRISC's archive again")
    return pictures


def _plane(picture: Path) -> str | None:
    """Return the plane that the file name tells, None where it tells none."""
    return next((PLANES[code] for code in picture.stem.split("_") if code in PLANES), None)


def _label(picture: Path) -> str:
    codes = [piece for piece in picture.stem.split("_") if piece in CODES]
    if len(codes) != 1:
        raise RequestError(f"{picture}: no class in the name: expected one of _{'_, _'.join(CODES)}_, as BRISC names its files")
    return CODES[codes[0]]


def _refuse_no_mask(root: Path, records: list[Record]) -> None:
    without = [record.path for record in records if record.mask is None]
    if without:
        raise RequestError(
            f"{root}: {count_of(len(without), 'picture')} without a mask (first: {without[0]}): unpack BRISC's archive again"
        )
