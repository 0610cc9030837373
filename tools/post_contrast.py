"""TCGA-LGG in the layout of Kaggle's "kaggle_3m": the T1 channel after contrast, for evaluation only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bts.data.readers.picture import read_pixels
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.data.sources.mask_files import read_mask
from bts.data.sources.picture_files import folders_in, natural_key
from bts.errors import RequestError
from bts.glossary import NO_TUMOUR

FLAIR, POST_CONTRAST = 1, 2
"""Channels of a file; the publisher repeats FLAIR where a patient has no series after contrast."""
LEAST_PX = 150
"""A slice with a smaller mask is neither a tumour slice nor tumour-free, and is left out."""
SUFFIX = "_mask.tif"


@dataclass(frozen=True)
class LeftOut:
    """Patients without a series after contrast, and slices with a small mask or without an image."""

    patients: int
    slices: int


class PostContrast(Source):
    """Every `step`-th slice of each patient: `<patient>/<patient>_N.tif` and `<patient>/<patient>_N_mask.tif`."""

    name: ClassVar[str] = "lgg"
    classes = ("glioma", NO_TUMOUR)
    synthetic = False

    def __init__(self, root: Path, *, step: int = 1) -> None:
        self.root = Path(root)
        folders = folders_in(self.root) if self.root.is_dir() else []
        slices: dict[str, list[Path]] = {}
        for folder in folders:
            masks = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: natural_key(file.name))
            if masks:
                slices[folder.name] = [mask.with_name(mask.name.replace(SUFFIX, ".tif")) for mask in masks]
        if not slices:
            raise RequestError(f"{root}: expected PATIENT/PATIENT_N.tif and PATIENT_N{SUFFIX} in it, found none: check --lgg")
        with_contrast = {patient: files for patient, files in slices.items() if _has_contrast(files[len(files) // 2])}
        found = [self._record(file, patient) for patient, files in with_contrast.items() for file in files[::step]]
        self._records = [record for record in found if record is not None]
        self.left_out = LeftOut(len(slices) - len(with_contrast), len(found) - len(self._records))

    def _record(self, file: Path, patient: str) -> Record | None:
        mask = file.with_name(file.stem + SUFFIX)
        area = int(read_mask(mask).sum())
        if 0 < area <= LEAST_PX or (not area and _is_blank(file)):
            return None
        path, mask_path = (each.relative_to(self.root).as_posix() for each in (file, mask))
        label = "glioma" if area else NO_TUMOUR
        return Record(path, label=label, patient=patient, mask=mask_path, source=self.name, plane="axial")

    def records(self) -> list[Record]:
        """Return the slices by patient, in natural order."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return the channel after contrast of a slice, with its mask."""
        image = read_pixels(self.root / record.path).values[..., POST_CONTRAST].astype(np.float32)
        mask = read_mask(self.root / str(record.mask))
        return Slice(image, self.name, record.path, label=record.label, mask=mask, patient=record.patient)


def _is_blank(file: Path) -> bool:
    return bool(np.ptp(read_pixels(file).values[..., POST_CONTRAST]) == 0)


def _has_contrast(file: Path) -> bool:
    colours = read_pixels(file).values.astype(np.int64)
    return float(np.abs(colours[..., POST_CONTRAST] - colours[..., FLAIR]).mean()) >= 1
