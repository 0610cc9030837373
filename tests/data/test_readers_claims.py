"""The size of a picture is told from its header alone, in every format: the page refuses large ones before it reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicom_files import write_dicom
from PIL import Image

from bts.data.readers.catalogue import claimed_values

PIXELS = np.arange(7 * 11, dtype=np.uint8).reshape(7, 11)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.gif", "a.webp", "a.mpo"])
def test_a_picture_tells_its_pixels(name: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name)
    assert claimed_values(tmp_path / name) == 77


def test_a_tiff_that_pillow_does_not_open_tells_its_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS.astype(np.float64))
    assert claimed_values(tmp_path / "a.tif") == 77


@pytest.mark.parametrize("name", ["a.dcm", "a"])
def test_dicom_tells_its_pixels(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    assert claimed_values(write_dicom(tmp_path / name, PIXELS)) == 77


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii", "a.mat", "a.unknown"])
def test_what_can_t_be_told_is_left_to_the_reader(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    assert claimed_values(tmp_path / name) == 0
