"""DICOM: values, brightness, spacing, privacy, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dicom_files import write_dicom

from bts.data.readers.catalogue import claimed_values, is_scan, read_slice
from bts.errors import InputError

PIXELS = np.array([[0, 1, 2], [10, 20, 4000]], np.uint16)


def test_slice_is_read_row_by_row_and_rescaled(tmp_path):
    found = read_slice(write_dicom(tmp_path / "a.dcm", PIXELS, slope=0.5, intercept=-3))
    np.testing.assert_array_equal(found.image, PIXELS * 0.5 - 3)


def test_signed_values_stay_signed(tmp_path):
    signed = PIXELS.astype(np.int16) - 50
    np.testing.assert_array_equal(read_slice(write_dicom(tmp_path / "a.dcm", signed)).image, signed)


def test_monochrome1_is_turned_bright_side_up(tmp_path):
    found = read_slice(write_dicom(tmp_path / "a.dcm", PIXELS, kind="MONOCHROME1"))
    np.testing.assert_array_equal(found.image, [[4000, 3999, 3998], [3990, 3980, 0]])


def test_spacing_is_row_then_column(tmp_path):
    assert read_slice(write_dicom(tmp_path / "a.dcm", PIXELS, spacing=(0.5, 0.75))).spacing_mm == (0.5, 0.75)


def test_senseless_or_absent_spacing_is_unknown(tmp_path):
    assert read_slice(write_dicom(tmp_path / "a.dcm", PIXELS)).spacing_mm is None
    assert read_slice(write_dicom(tmp_path / "b.dcm", PIXELS, spacing=(0.0, 0.5))).spacing_mm is None


def test_no_patient_field_is_kept(tmp_path):
    found = read_slice(write_dicom(tmp_path / "a.dcm", PIXELS))
    assert found.patient is None
    assert "Doe" not in repr(found)
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2.5", "scan.ima", "a.dicom", "A.DCM"])
def test_dicom_is_known_by_content_under_any_name(tmp_path, name):
    np.testing.assert_array_equal(read_slice(write_dicom(tmp_path / name, PIXELS)).image, PIXELS)


def bare(path, pixels, *, implicit=True, meta=False):
    """A file without preamble, and without meta information unless it is wanted."""
    from pydicom import dcmread

    data = dcmread(write_dicom(path, pixels))
    kept = data.file_meta
    data.preamble, data.file_meta = None, type(kept)()
    if meta:
        data.file_meta = kept
    more = {} if meta else {"implicit_vr": implicit, "little_endian": True}
    data.save_as(path, enforce_file_format=False, **more)
    assert path.read_bytes()[128:132] != b"DICM"
    return path


@pytest.mark.parametrize("more", [{}, {"implicit": False}, {"meta": True}])
@pytest.mark.parametrize("name", ["IM0001", "a.dcm"])
def test_dicom_without_a_preamble_is_known_by_its_elements(tmp_path, name, more):
    path = bare(tmp_path / name, PIXELS, **more)
    assert is_scan(path)
    assert claimed_values(path) == 6
    np.testing.assert_array_equal(read_slice(path).image, PIXELS)


@pytest.mark.parametrize(
    "data", [b"", b"text of some length " * 20, bytes(200), b"\x08\0\x05\0" + b"\xff" * 200, b"\x02\0\x10\0" + bytes(100)]
)
def test_other_files_are_no_dicom(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert not is_scan(tmp_path / "a")


def test_grey_rgb_capture_is_accepted_and_a_coloured_one_refused(tmp_path):
    grey = np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 3, axis=2)
    np.testing.assert_array_equal(read_slice(write_dicom(tmp_path / "a.dcm", grey, kind="RGB")).image, grey[..., 0])
    grey[1, 1, 0] = 200
    with pytest.raises(InputError, match=r"a\.dcm: a coloured picture"):
        read_slice(write_dicom(tmp_path / "a.dcm", grey, kind="RGB"))


def test_several_frames_without_a_place_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.stack([PIXELS, PIXELS]), frames=2)
    with pytest.raises(InputError, match=r"2 of 2 slices have no ImageOrientationPatient.*dcm2niix"):
        read_slice(path)


def test_an_enormous_picture_is_refused_from_its_header(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, Rows=60_000, Columns=60_000)
    with pytest.raises(InputError, match=r"a picture of .*60000 columns: at most 8192 a side"):
        read_slice(path)


def test_a_file_without_picture_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, Rows=0)
    with pytest.raises(InputError, match="a DICOM file without a picture: name a file of the image series"):
        read_slice(path)


def test_another_file_under_a_dicom_name_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no dicom" * 40)
    with pytest.raises(InputError, match=r"a\.dcm: no DICOM file \(the letters DICM are missing\)"):
        read_slice(tmp_path / "a.dcm")


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_truncated_file_is_refused(tmp_path, share):
    path = write_dicom(tmp_path / "a.dcm", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"a\.dcm: DICOM that can't be decoded here \(.+\): export it uncompressed") as caught:
        read_slice(path)
    assert "\n" not in str(caught.value)


def test_missing_pydicom_is_said_in_one_line(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", PIXELS)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"reading DICOM needs pydicom: pip install 'bts\[dicom\]'"):
        read_slice(path)
