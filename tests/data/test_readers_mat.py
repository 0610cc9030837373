"""Figshare's `.mat` files, of both MATLAB versions, whole and broken."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from figshare_files import BORDER, MASK, PICTURE, write_mat5, write_mat7
from scipy.io import savemat

from bts.data.readers.catalogue import read_scan, read_slice
from bts.data.readers.mat import read_mat_border, read_mat_head
from bts.errors import InputError

WRITERS = pytest.mark.parametrize("write", [write_mat7, write_mat5], ids=["mat73", "mat5"])


@WRITERS
def test_picture_and_mask_lie_as_in_matlab(tmp_path, write):
    found = read_slice(write(tmp_path / "1.mat"))
    assert found.image.dtype == np.float32
    np.testing.assert_array_equal(found.image, PICTURE)
    np.testing.assert_array_equal(found.mask, MASK)


@WRITERS
def test_label_and_whole_patient_id_are_read(tmp_path, write):
    for label, name in ((1, "meningioma"), (2, "glioma"), (3, "pituitary")):
        found = read_slice(write(tmp_path / f"{label}.mat", label=label, patient="MR040240B"))
        assert (found.label, found.patient, found.synthetic) == (name, "MR040240B", False)
        assert read_mat_head(tmp_path / f"{label}.mat").patient == "MR040240B"


@WRITERS
def test_border_is_row_and_column_from_zero(tmp_path, write):
    expected = [(y - 1, x - 1) for x, y in BORDER]
    np.testing.assert_array_equal(read_mat_border(write(tmp_path / "1.mat")), expected)


@WRITERS
def test_a_file_without_border_is_fine(tmp_path, write):
    path = write(tmp_path / "1.mat", without=("tumorBorder",))
    assert read_mat_border(path) is None
    assert read_slice(path).mask is not None


@WRITERS
def test_sixteen_bit_values_survive(tmp_path, write):
    picture = np.array([[0, 32767], [-5, 1]], np.int16)
    np.testing.assert_array_equal(read_slice(write(tmp_path / "1.mat", image=picture, mask=np.eye(2) > 0)).image, picture)


def test_lone_file_gives_one_slice_and_no_volume(tmp_path):
    scan = read_scan(write_mat7(tmp_path / "1.mat"))
    assert len(scan.slices) == 1
    assert scan.volume is None
    assert scan.slices[0].source == "file"


@WRITERS
@pytest.mark.parametrize("name", ["image", "label", "PID", "tumorMask"])
def test_missing_field_is_named(tmp_path, write, name):
    path = write(tmp_path / "1.mat", without=(name,))
    with pytest.raises(InputError, match=rf"1\.mat: field '{name}' is missing in cjdata: figshare's files hold"):
        read_slice(path)


@WRITERS
@pytest.mark.parametrize(("label", "shown"), [(4, "4"), (0, "0"), (-1, "-1"), (1.5, "1.5")])
def test_label_outside_one_to_three_is_refused(tmp_path, write, label, shown):
    with pytest.raises(InputError, match=rf"label is {shown}: expected one of 1 meningioma, 2 glioma, 3 pituitary"):
        read_slice(write(tmp_path / "1.mat", label=label))


def test_a_healthy_label_is_accepted_in_a_phantom_only(tmp_path):
    found = read_slice(write_mat7(tmp_path / "1.mat", label=0, mask=MASK & False, synthetic=True))
    assert (found.label, found.synthetic, found.mask.any()) == ("no_tumour", True, False)
    with pytest.raises(InputError, match="label is 4: expected one of 0 no_tumour, 1"):
        read_slice(write_mat7(tmp_path / "2.mat", label=4, synthetic=True))


def test_label_of_several_numbers_is_refused(tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("label",))
    with h5py.File(path, "r+") as file:
        file["cjdata/label"] = np.array([[1.0, 2.0]])
    with pytest.raises(InputError, match=r"label is an array of shape \(2, 1\)"):
        read_slice(path)


@WRITERS
@pytest.mark.parametrize("patient", ["", "   "])
def test_empty_patient_id_is_refused(tmp_path, write, patient):
    with pytest.raises(InputError, match="PID is empty: without a patient the slice can't be split safely"):
        read_slice(write(tmp_path / "1.mat", patient=patient))


def test_unprintable_patient_id_is_refused(tmp_path):
    with pytest.raises(InputError, match="PID holds unprintable characters"):
        read_slice(write_mat7(tmp_path / "1.mat", patient="MR\x07"))


def test_patient_id_of_fractions_is_refused(tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("PID",))
    with h5py.File(path, "r+") as file:
        file["cjdata/PID"] = np.array([[1.5]])
    with pytest.raises(InputError, match="PID holds float64 values: expected character codes"):
        read_slice(path)


@WRITERS
def test_mask_of_another_size_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"1\.mat: mask of shape \(2, 2\) on a picture of shape \(3, 4\)"):
        read_slice(write(tmp_path / "1.mat", mask=np.eye(2) > 0))


@WRITERS
def test_three_dimensional_picture_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"expected one grey slice \(rows, columns\), received an array of shape \(3, 4, 5\)"):
        read_slice(write(tmp_path / "1.mat", image=np.arange(60.0).reshape(3, 4, 5)))


@WRITERS
def test_constant_picture_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"1\.mat: the picture is constant \(every pixel is 7\)"):
        read_slice(write(tmp_path / "1.mat", image=np.full((3, 4), 7, np.int16)))


@WRITERS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, write, value):
    image = PICTURE.astype(float)
    image[0, 0] = value
    with pytest.raises(InputError, match="the picture holds NaN or infinite values"):
        read_slice(write(tmp_path / "1.mat", image=image))


def test_text_instead_of_a_picture_is_refused(tmp_path):
    savemat(tmp_path / "1.mat", {"cjdata": {"image": "scan", "label": 1.0, "PID": "1", "tumorMask": MASK}})
    with pytest.raises(InputError, match="'image' holds <U4 values: expected real numbers"):
        read_slice(tmp_path / "1.mat")


def test_a_file_that_is_no_matlab_file_is_refused(tmp_path):
    (tmp_path / "1.mat").write_bytes(b"<html>404 Not Found</html>" * 20)
    with pytest.raises(InputError, match=r"1\.mat: neither MATLAB 7.3 \(HDF5\) nor MATLAB 5"):
        read_slice(tmp_path / "1.mat")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
@WRITERS
def test_truncated_file_is_refused(tmp_path, write, share):
    random = np.random.default_rng(0)
    path = write(tmp_path / "1.mat", image=random.integers(0, 4000, (96, 96)), mask=np.eye(96) > 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"1\.mat: truncated or damaged MATLAB file") as caught:
        read_slice(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_inside_its_first_block_is_refused(tmp_path):
    path = write_mat7(tmp_path / "1.mat")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"truncated MATLAB 7\.3 file"):
        read_slice(path)


def test_damaged_pixels_are_refused(tmp_path):
    random = np.random.default_rng(0)
    path = write_mat7(tmp_path / "1.mat", image=random.integers(0, 4000, (96, 96)), mask=np.eye(96) > 0)
    with h5py.File(path) as file:
        start = file["cjdata/image"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[start + 512 : start + 552] = bytes(40)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="truncated or damaged MATLAB file"):
        read_slice(path)


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_another_matlab_file_is_refused(tmp_path, kind):
    path = tmp_path / "cvind.mat"
    if kind == "mat5":
        savemat(path, {"cvind": np.ones((5, 1))})
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["cvind"] = np.ones((1, 5))
    with pytest.raises(InputError, match=r"cvind\.mat: struct 'cjdata' is missing: this is not a figshare file"):
        read_slice(path)


def test_a_group_where_numbers_belong_is_refused(tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("image",))
    with h5py.File(path, "r+") as file:
        file.create_group("cjdata/image")
    with pytest.raises(InputError, match="'image' is not an array in this file"):
        read_slice(path)


def test_a_picture_of_monstrous_size_is_refused_before_it_is_read(tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("image",))
    with h5py.File(path, "r+") as file:  # chunks are never written: the file stays small
        file.create_dataset("cjdata/image", shape=(100_000, 100_000), dtype="i2", chunks=(64, 64))
    with pytest.raises(InputError, match="'image' claims 10000000000 values: at most 8192x8192 are accepted"):
        read_slice(path)


@pytest.mark.parametrize("kind", ["S9", h5py.string_dtype("utf-8", 9), h5py.string_dtype(), h5py.string_dtype("ascii")])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_patient_that_is_stored_as_an_hdf5_string_has_its_own_name(kind, shape, tmp_path):
    path = write_mat7(tmp_path / "1.mat")
    with h5py.File(path, "r+") as file:
        del file["cjdata/PID"]
        file.create_dataset("cjdata/PID", shape, dtype=kind)[...] = b"MR040240B"
    assert read_mat_head(path).patient == "MR040240B"


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_several_texts_are_no_patient(shape, tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("PID",))
    with h5py.File(path, "r+") as file:
        file.create_dataset("cjdata/PID", shape, dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="'PID' holds several or packed text values: expected real numbers or one text"):
        read_mat_head(path)


@pytest.mark.parametrize("text", ["", "MR1\n2", "x" * 5000])
def test_an_unusable_text_of_variable_length_is_refused(text, tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("PID",))
    with h5py.File(path, "r+") as file:
        file["cjdata/PID"] = text
    with pytest.raises(InputError, match=r"PID is empty|unprintable|'PID' claims a text of 5000 bytes: at most 4096"):
        read_mat_head(path)


def test_a_text_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = write_mat7(tmp_path / "1.mat", without=("PID",))
    with h5py.File(path, "r+") as file:
        file["cjdata/PID"] = "MR040240B"
        place = file["cjdata/PID"].id.get_offset()
    with open(path, "r+b") as raw:
        raw.seek(place)
        assert raw.read(4) == (9).to_bytes(4, "little")
        raw.seek(place)
        raw.write((2**31).to_bytes(4, "little"))
    with pytest.raises(InputError, match="'PID' claims a text of 2147483648 bytes: at most 4096 are accepted"):
        read_mat_head(path)
