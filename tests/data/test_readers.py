"""Paths that are no readable file, and one slice in every format."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from figshare_files import write_mat5, write_mat7
from PIL import Image

from bts.data.readers.catalogue import SUFFIXES, is_scan, read_scan, read_slice
from bts.errors import InputError

PIXELS = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)


def write(path, pixels):
    """The same slice in the format that the name asks for."""
    if path.suffix == ".mat":
        return write_mat7(path, image=pixels, mask=pixels > 100)
    if path.suffix in (".nii", ".gz"):
        nibabel.save(nibabel.Nifti1Image(pixels.T[:, :, None], np.diag([-1.0, -1, 1, 1])), path)
    elif path.suffix in (".dcm", ".dicom"):
        write_dicom(path, pixels.astype(np.uint16))
    else:
        more = {".jpg": {"quality": 100}, ".jpeg": {"quality": 100}, ".mpo": {"quality": 100}, ".webp": {"lossless": True}}
        Image.fromarray(pixels).save(path, **more.get(path.suffix, {}))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_slice_in_every_format_gives_the_same_array(tmp_path, suffix):
    found = read_slice(write(tmp_path / f"a{suffix}", PIXELS)).image
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, PIXELS, atol=2 if suffix in (".jpg", ".jpeg", ".mpo") else 0)


def test_both_matlab_versions_give_the_same_array(tmp_path):
    both = [
        write(tmp_path / name, mask=PIXELS > 9, image=PIXELS) for name, write in (("1.mat", write_mat7), ("2.mat", write_mat5))
    ]
    np.testing.assert_array_equal(*(read_slice(path).image for path in both))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png: no such file: check the path"):
        read_scan(tmp_path / "nowhere.png")


@pytest.mark.parametrize("name", ["folder", "folder.mat", "folder.nii.gz"])
def test_folder_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="a folder, expected a file: name the files in it"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ""])
def test_empty_file_is_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(InputError, match=rf"a{suffix}: the file is empty \(0 bytes\): download or export it again"):
        read_scan(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("name", ["a.ppm", "a", "a.txt", "a.mat.bak"])
def test_unknown_kind_is_refused_with_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("text")
    with pytest.raises(InputError, match=r"a file of an unknown kind '.*': readable are \.mat, \.png"):
        read_scan(tmp_path / name)


def test_scans_are_told_by_name_in_any_case_and_dicom_by_content(tmp_path):
    for name in ("a.MAT", "b.Bmp", "c.GIF", "d.WebP", "e.NII.gz", "f.DICOM"):
        (tmp_path / name).touch()
    write_dicom(tmp_path / "IM01", PIXELS)
    (tmp_path / "README.md").write_text("text of some length " * 20)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = {path.name for path in tmp_path.iterdir() if is_scan(path)}
    assert found == {"a.MAT", "b.Bmp", "c.GIF", "d.WebP", "e.NII.gz", "f.DICOM", "IM01"}
    assert not is_scan(tmp_path / "nowhere")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a regular file: name a picture on disk"):
        read_scan(tmp_path / "a.png")


def test_a_file_that_must_not_be_read_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "a.mat", PIXELS)

    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # chmod does not stop root, as which tests may run
    with pytest.raises(InputError, match=r"a\.mat: can't be read \(Permission denied\): check the disk and the permissions"):
        read_scan(tmp_path / "a.mat")


@pytest.mark.parametrize("suffix", [".mat", ".png", ".nii", ".dcm"])
def test_constant_picture_is_refused_in_every_format(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", np.full((6, 8), 5, np.uint8))
    with pytest.raises(InputError, match=r"the picture is constant \(every pixel is 5\)"):
        read_slice(path)


def test_every_message_is_one_line_that_begins_with_the_path(tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"junk\n" * 99)
        with pytest.raises(InputError) as caught:
            read_scan(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert str(caught.value).count(str(path)) == 1
