"""Write small DICOM series in tests: classic files and enhanced multi-frame ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_files import write_dicom

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Directions along a row and along a column, LPS."""
STUDY, SERIES = "1.2.3", "1.2.3.4"


def positions(count: int, *, directions=AXIAL, origin=(0.0, 0.0, 0.0), step=None) -> np.ndarray:
    """Position (count, 3) of each slice; `step` is the vector between two, or a distance along the normal."""
    normal = np.cross(*directions)
    step = normal * 5.0 if step is None else normal * step if np.isscalar(step) else np.asarray(step)
    return np.asarray(origin) + np.arange(count)[:, None] * step


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    at: np.ndarray | None = None,
    directions=AXIAL,
    spacing=(1.0, 1.0),
    names=None,
    study: str = STUDY,
    series: str = SERIES,
    each=lambda index: {},
    **more,
) -> list[Path]:
    """A file for each slice of `stored` (slices, rows, columns); their names are in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    at = positions(len(stored), directions=directions) if at is None else at
    names = np.random.default_rng(0).permutation(len(stored)) if names is None else names
    fields = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "FrameOfReferenceUID": "1.2.9"} | more
    return [
        write_dicom(
            folder / f"{name}.dcm",
            pixels,
            spacing=tuple(spacing),
            ImagePositionPatient=[float(part) for part in position],
            ImageOrientationPatient=[float(part) for part in np.ravel(directions)],
            **(fields | each(index)),
        )
        for index, (name, pixels, position) in enumerate(zip(names, stored, at, strict=True))
    ]


def write_enhanced(
    path: Path,
    stored: np.ndarray,
    *,
    at: np.ndarray | None = None,
    directions=AXIAL,
    spacing=(1.0, 1.0),
    slopes=None,
    each=lambda index: {},
    shared_place: bool = True,
    **more,
) -> Path:
    """One file whose frames are `stored` (frames, rows, columns); `each` gives further groups: sequence name to fields."""
    at = positions(len(stored), directions=directions) if at is None else at
    plane = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [float(part) for part in np.ravel(directions)]},
        "PixelMeasuresSequence": {"PixelSpacing": list(spacing), "SliceThickness": 99.0},
    }
    frames = []
    for index, position in enumerate(at):
        groups = {"PlanePositionSequence": {"ImagePositionPatient": [float(part) for part in position]}}
        if slopes is not None:
            transform = {"RescaleSlope": slopes[index], "RescaleIntercept": 1.0, "RescaleType": "US"}
            groups["PixelValueTransformationSequence"] = transform
        frames.append(as_groups(groups | ({} if shared_place else plane) | each(index)))
    return write_dicom(
        path,
        stored,
        frames=len(stored),
        SharedFunctionalGroupsSequence=[as_groups(plane if shared_place else {})],
        PerFrameFunctionalGroupsSequence=frames,
        **({"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES} | more),
    )


def as_groups(groups: dict[str, dict]):
    """A data set with a sequence of one item for each group of fields."""
    from pydicom.dataset import Dataset

    found = Dataset()
    for sequence, fields in groups.items():
        item = Dataset()
        for name, value in fields.items():
            setattr(item, name, value)
        setattr(found, sequence, [item])
    return found


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Values (slices, rows, columns) that are all different."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.int16)
