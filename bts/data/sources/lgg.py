"""TCGA-LGG, "kaggle_3m" (Buda 2019): whole series of low-grade gliomas with masks of the FLAIR abnormality.

110 patients, axial slices of 256 x 256 pixels in order, with three channels: T1 before contrast, FLAIR, T1 after contrast.
Where a sequence is missing, the publisher repeats FLAIR. Distances are not stated. For evaluation only: the licence is
CC BY-NC-SA 4.0, and nothing that ships is trained on it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from bts.data.readers.picture import read_pixels
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.mask_files import read_mask
from bts.data.sources.picture_files import folders_in, natural_key, record_mask_values, refuse_missing
from bts.errors import InputError, RequestError
from bts.glossary import count_of

SERIES = re.compile(r"(TCGA_[A-Z0-9]{2}_[A-Z0-9]{4})_\d{8}")
"""Name of a folder: patient and date."""
MASK = "_mask"


@sources.register("lgg")
class Lgg(Source):
    """TCGA-LGG with masks (kaggle_3m), T1 after contrast; for evaluation only."""

    name: ClassVar[str] = "lgg"
    channel: ClassVar[int] = 2
    """Of the stored pictures: 0 T1 before contrast, 1 FLAIR, 2 T1 after contrast."""
    synthetic = False
    classes: tuple[str, ...] = ("glioma",)

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        refuse_missing(self.root)
        self._records = [record for folder in folders_in(self.root) for record in _records(folder)]
        if not self._records:
            raise RequestError(f"{root}: no folder as TCGA_CS_4941_19960909 with .tif files in it: name the folder kaggle_3m")
        without = [record.path for record in self._records if not (self.root / str(record.mask)).is_file()]
        if without:
            raise RequestError(
                f"{root}: {count_of(len(without), 'slice')} without a mask (first: {without[0]}): unpack the archive again"
            )

    def records(self) -> list[Record]:
        """Return all slices, those of a series in order; whether one shows a tumour is in its mask only."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return one channel of a slice, with mask."""
        path = self.root / record.path
        if not path.is_file():
            raise InputError(f"{path}: no such file: unpack the archive again")
        values = read_pixels(path).values
        if values.ndim != 3:
            raise InputError(f"{path}: one channel, expected three (T1 before contrast, FLAIR, T1 after contrast)")
        mask = read_mask(self.root / str(record.mask), labels=self.mask_labels)
        try:
            return Slice(image=values[..., self.channel], source=self.name, path=str(path), patient=record.patient, mask=mask)
        except InputError as error:
            raise error.at(path) from error

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of a record's mask."""
        return record_mask_values(self.root, record)


@sources.register("lgg_flair")
class LggFlair(Lgg):
    """TCGA-LGG with masks (kaggle_3m), FLAIR; for evaluation only."""

    name: ClassVar[str] = "lgg_flair"
    channel: ClassVar[int] = 1


@sources.register("lgg_t1")
class LggT1(Lgg):
    """TCGA-LGG with masks (kaggle_3m), T1 before contrast; for evaluation only."""

    name: ClassVar[str] = "lgg_t1"
    channel: ClassVar[int] = 0


def is_series(folder: Path) -> bool:
    """Return whether a folder is a series of this set, by its name."""
    return folder.is_dir() and SERIES.fullmatch(folder.name) is not None


def _records(folder: Path) -> list[Record]:
    """Return the slices of a series in order; none for a folder of another name."""
    found = SERIES.fullmatch(folder.name)
    if found is None:
        return []
    files = (file for file in folder.glob("*.tif") if not file.stem.endswith(MASK) and not file.name.startswith("."))
    return [
        Record(
            path=f"{folder.name}/{file.name}",
            patient=found[1],
            mask=f"{folder.name}/{file.stem}{MASK}.tif",
            plane="axial",
        )
        for file in sorted(files, key=lambda file: natural_key(file.name))
    ]
