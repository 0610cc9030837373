"""Files behind a linked folder and `..`: the system follows the link first, so `..` is not the folder of the link."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from figshare_files import PICTURE, write_mat5, write_mat7
from PIL import Image

from bts.data.cache import SliceCache
from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import is_scan, read_scan
from bts.data.readers.isolated import ReadingProcess
from bts.inference.writers.json_result import source_id


def write_nifti(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(PICTURE, np.eye(4)), path)
    return path


def write_picture(path: Path) -> Path:
    Image.fromarray(PICTURE.astype(np.uint8)).save(path)
    return path


def write_uncompressed(path: Path) -> Path:
    return write_dicom(path, PICTURE)


WRITERS = {
    "73.mat": write_mat7,
    "5.mat": write_mat5,
    "a.nii": write_nifti,
    "a.nii.gz": write_nifti,
    "a.dcm": write_uncompressed,
    "no_suffix": write_uncompressed,
    "a.png": write_picture,
    "a.tif": write_picture,
}


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    """`near/link/..`, which is the folder `far`; `near` is empty but for the link."""
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "deep")
    return tmp_path / "near" / "link" / ".."


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_behind_a_link_and_two_dots_is_read(name: str, behind: Path, tmp_path: Path) -> None:
    expected = read_scan(WRITERS[name](tmp_path / "far" / name)).slices[0].image
    assert is_scan(behind / name)
    np.testing.assert_array_equal(read_scan(behind / name).slices[0].image, expected)


def test_the_reading_process_opens_the_same_file(behind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mat7(tmp_path / "far" / "1.mat")
    monkeypatch.chdir(tmp_path)
    process = ReadingProcess()
    try:
        found = process.read_scan(behind.relative_to(tmp_path) / "1.mat", memory_mib=700)
    finally:
        process.close()
    np.testing.assert_array_equal(found.slices[0].image, PICTURE)


def test_two_files_that_differ_by_a_link_have_keys_of_their_own(behind: Path, tmp_path: Path) -> None:
    """Also with equal size and time, as unpacked archives have them."""
    for folder in ("far", "near"):
        write_picture(tmp_path / folder / "a.png")
        os.utime(tmp_path / folder / "a.png", (1, 1))
    names = behind / "a.png", tmp_path / "near" / "a.png"
    cache = SliceCache(tmp_path / "cache", 1.0)
    assert len({cache.key([name], Preprocessing(size=64, crop_brain=False)) for name in names}) == 2
    assert len({source_id(name) for name in names}) == 2
