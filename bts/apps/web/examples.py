"""Synthetic examples for visitors without a scan, drawn on first use and labelled as synthetic."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from bts.data.phantom import write_phantom
from bts.data.phantom_scan import draw_slices
from bts.data.readers.catalogue import read_scan
from bts.data.readers.scan import Scan

NAMES = ("Meningioma", "Glioma", "Pituitary", "No tumour", "Volume")
SEED = 11
SLICES, BLANK, SIDE = 12, 2, 192
"""Slices of the example volume, blank slices at each end, and side in pixels."""
SAGITTAL = np.array([[0, 0, -6.0, 0], [-1.2, 0, 0, 0], [0, -1.2, 0, 0], [0, 0, 0, 1]])
"""Affine of the volume: with this seed, columns run to the back, rows downwards and slices to the left."""
_drawing = threading.Lock()


def example(name: str, folder: Path) -> Scan:
    """Return one of `NAMES`, a phantom that is written to the folder on first use."""
    with _drawing:
        path = _volume(folder) if name == "Volume" else _picture(name, folder)
    scan = read_scan(path)
    shown = f"phantom {name.lower()}{''.join(path.suffixes)}"
    slices = [replace(item, path=shown, patient=None, label=None, mask=None, synthetic=True) for item in scan.slices]
    return replace(scan, path=shown, slices=slices)


def _picture(name: str, folder: Path) -> Path:
    phantoms = folder / "phantoms"
    if not phantoms.exists():
        part = folder / "phantoms.part"
        write_phantom(part, patients=3, healthy=1, slices_per_patient=(1, 1), seed=SEED)
        part.rename(phantoms)
    return phantoms / f"{NAMES.index(name) + 1}.mat"


def _volume(folder: Path) -> Path:
    import nibabel

    path = folder / "phantom.nii.gz"
    if not path.exists():
        drawn = draw_slices(label="glioma", n_slices=SLICES, side=SIDE, seed=(SEED, 7))
        array = np.stack([image.T for image, _ in drawn], axis=2).astype(np.int16)
        array = np.pad(array, ((0, 0), (0, 0), (BLANK, BLANK)))  # as in real volumes
        nibabel.save(nibabel.Nifti1Image(array, SAGITTAL), path)
    return path
