"""DICOM series made to crash or to exhaust: damaged bytes, absurd places, endless orientations and names."""

from __future__ import annotations

import contextlib

import numpy as np
import pydicom
import pytest
from dicom_series import noise, write_enhanced, write_series

from bts.data.readers.series import find_series, read_series
from bts.errors import InputError

VALUES = noise(3, 4, 3)


def read_all(files) -> None:
    """Read what is found; nothing but an `InputError` may come out."""
    found, left = find_series(files)
    assert all(each.reason and "\n" not in each.reason for each in left)
    for each in found:
        with contextlib.suppress(InputError):
            read_series(each)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_bytes_end_in_one_line(tmp_path, seed):
    draw = np.random.default_rng(seed)
    files = [write_enhanced(tmp_path / "a.dcm", VALUES, slopes=[1.0] * 3)] if seed % 2 else write_series(tmp_path, VALUES)
    content = bytearray(files[0].read_bytes())
    for place in draw.integers(132, len(content), 1 + seed % 9):
        content[place] = draw.integers(256)
    files[0].write_bytes(content[: len(content) - (seed % 5 == 0) * int(draw.integers(len(content)))])
    read_all(files)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ImagePositionPatient", [1e300, 1e-300, 0.0]),
        ("ImagePositionPatient", [0.0, 0.0, 1e8]),
        ("PixelSpacing", [1e300, 1e300]),
        ("PixelSpacing", [1e-300, 1e-300]),
        ("ImageOrientationPatient", [0.0] * 6),
        ("ImageOrientationPatient", [1e200] * 6),
        ("ImageOrientationPatient", [1.0, 0, 0, 1.0, 0, 0]),
        ("RescaleSlope", 1e300),
        ("SliceThickness", 1e300),
    ],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_absurd_places_and_scales_end_in_one_line(tmp_path, field, value, frames):
    files = write_series(tmp_path / "classic", VALUES[:frames])
    for file in files:
        data = pydicom.dcmread(file)
        setattr(data, field, value)
        data.save_as(file)
    read_all(files)
    groups = {"PixelMeasuresSequence": {"PixelSpacing": value}} if field == "PixelSpacing" else {}
    groups |= {"PlaneOrientationSequence": {field: value}} if field == "ImageOrientationPatient" else {}
    groups |= {"PlanePositionSequence": {field: value}} if field == "ImagePositionPatient" else {}
    read_all([write_enhanced(tmp_path / "a.dcm", VALUES, each=lambda index: groups)])
    read_all([write_enhanced(tmp_path / "b.dcm", VALUES, each=lambda index: groups if index else {})])


def test_orientations_without_end_are_no_volume(tmp_path):
    count = 40
    angles = np.linspace(0, 3, count)
    groups = [
        {"PlaneOrientationSequence": {"ImageOrientationPatient": [float(np.cos(a)), float(np.sin(a)), 0.0, 0.0, 0.0, -1.0]}}
        for a in angles
    ]
    path = write_enhanced(tmp_path / "a.dcm", noise(count, 2, 2), each=lambda index: groups[index])
    found, left = find_series([path])
    assert not found
    assert "slices in more than 32 orientations, sizes and stacks" in left[0].reason


@pytest.mark.filterwarnings("ignore:.*value length:UserWarning")
def test_long_names_are_cut(tmp_path):
    more = {"SeriesDescription": "../" * 20 + "x" * 3000, "ImageType": ["A" * 200, "B" * 200]}
    found, _ = find_series(
        write_series(tmp_path, VALUES, **more) + write_series(tmp_path / "b", VALUES, **more | {"ImageType": "C"})
    )
    assert len(found) == 2
    assert all(len(each.name) < 110 and "/" not in each.name and not each.name.startswith(".") for each in found)
