"""DICOM series as volumes: order, affine, display, values and memory, by hand-made truth and by NIfTI."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom
from dicom_series import AXIAL, noise, positions, write_enhanced, write_series

from bts.data.readers.catalogue import claimed_values, read_scan
from bts.data.readers.series import find_series, read_series
from bts.errors import InputError

VALUES = noise(5, 4, 3)


def only(files):
    found, left = find_series(files)
    assert not left
    assert len(found) == 1
    return found[0]


def read_stored(found, **more):
    """The array (columns, rows, slices) of a scan, put together from its slices."""
    scan = read_series(found, **more)
    stored = np.full(found.shape, np.nan)
    slices = scan.volume.cut(stored)
    for item in scan.slices:
        slices[item.index] = item.image
    return stored


def rotation(seed: int) -> np.ndarray:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix


@pytest.mark.parametrize("seed", range(4))
def test_every_voxel_lies_where_its_file_says(tmp_path, seed):
    directions = rotation(seed)[:2]
    at = positions(5, directions=directions, origin=(7.0, -20.0, 31.0), step=2.5)
    found = only(write_series(tmp_path, VALUES, at=at, directions=directions, spacing=(0.5, 0.75)))
    assert found.shape == (3, 4, 5)
    stored = read_stored(found)
    for index, row, column in itertools.product(range(5), range(4), range(3)):
        lps = at[index] + column * 0.75 * directions[0] + row * 0.5 * directions[1]
        place = np.argwhere(stored == VALUES[index, row, column])[0]
        np.testing.assert_allclose(found.affine @ [*place, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-9)


def test_files_are_ordered_by_their_positions_and_named_so(tmp_path):
    files = write_series(tmp_path, VALUES, InstanceNumber=1)
    for order in (files, files[::-1], sorted(files)):
        found = only(order)
        assert found.series.files == tuple(map(str, files))
        np.testing.assert_array_equal(read_stored(found), VALUES.transpose(2, 1, 0))
    assert len(set(found.series.instance_uids)) == 5
    assert found.series.frame_numbers == ()


def test_spacing_comes_from_the_positions_alone(tmp_path):
    found = only(write_series(tmp_path, VALUES, SliceThickness=0.6, SpacingBetweenSlices=0.6))
    np.testing.assert_allclose(np.diag(found.affine), [-1, -1, 5, 1])


PLANES = [
    (rows, columns)
    for rows, columns in itertools.product(np.concatenate([np.eye(3), -np.eye(3)]), repeat=2)
    if not np.any(rows * columns)
]


@pytest.mark.parametrize(("along_row", "along_column"), PLANES)
@pytest.mark.parametrize("forward", [True, False])
def test_a_marker_at_the_left_front_top_is_shown_there_however_the_slices_lie(tmp_path, along_row, along_column, forward):
    patient = noise(6, 7, 8)  # left, posterior, superior in mm
    patient[5, 0, 7] = 500  # the marker: left, anterior, superior
    directions = np.array([along_row, along_column])
    normal = np.cross(*directions) * (1 if forward else -1)
    basis = np.array([*directions, normal])
    corner = np.where(basis.sum(axis=0) > 0, 0, np.array(patient.shape) - 1)
    columns, rows, slices = (patient.shape[int(np.argmax(abs(axis)))] for axis in basis)
    stored = np.empty((slices, rows, columns), np.int16)
    for k, r, c in np.ndindex(stored.shape):
        stored[k, r, c] = patient[tuple((corner + c * basis[0] + r * basis[1] + k * basis[2]).astype(int))]
    at = positions(slices, directions=directions, origin=corner, step=normal)
    found = only(write_series(tmp_path, stored, at=at, directions=directions))
    axial = read_series(found, axis=2)
    assert [item.index for item in axial.slices] == list(range(8))
    assert axial.slices[7].image[0, 5] == 500  # radiological: the patient's left is at the right of the picture
    for item in axial.slices:
        np.testing.assert_array_equal(item.image, patient[:, :, item.index].T)
    for item in read_series(found, axis=0).slices:  # the face to the left, the top of the head at the top
        np.testing.assert_array_equal(item.image, patient[item.index, :, ::-1].T)
    for item in read_series(found, axis=1).slices:
        np.testing.assert_array_equal(item.image, patient[:, item.index, ::-1].T)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_series_as_nifti_gives_the_same_slices(tmp_path, seed, axis):
    draw = np.random.default_rng(seed)
    directions = rotation(seed)[:2]
    step = (1.0, 4.0)[seed % 2]
    at = positions(9, directions=directions, origin=draw.normal(size=3) * 50, step=step)
    values = noise(9, 8, 7, seed=seed)
    found = only(write_series(tmp_path, values, at=at, directions=directions, spacing=(1.0, 1.2)))
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), found.affine), tmp_path / "a.nii.gz")
    one, other = read_series(found, axis=axis), read_scan(tmp_path / "a.nii.gz", axis=axis)
    assert one.volume.axis == other.volume.axis
    assert len(one.slices) == len(other.slices)
    for left, right in zip(one.slices, other.slices, strict=True):
        assert left.index == right.index
        assert left.spacing_mm == pytest.approx(right.spacing_mm, rel=1e-6)
        np.testing.assert_array_equal(left.image, right.image)
    mask = {item.index: item.image > 200 for item in one.slices}
    np.testing.assert_array_equal(one.volume.restore(mask), values.transpose(2, 1, 0) > 200)


def test_values_are_rescaled_slice_by_slice(tmp_path):
    files = write_series(tmp_path, VALUES, each=lambda index: {"RescaleSlope": 1 + index, "RescaleIntercept": -index})
    wanted = VALUES * np.arange(1, 6)[:, None, None] - np.arange(5)[:, None, None]
    np.testing.assert_array_equal(read_stored(only(files)), wanted.transpose(2, 1, 0))


def test_a_mirrored_series_is_mirrored_within_its_own_range(tmp_path):
    found = only(write_series(tmp_path, VALUES, kind="MONOCHROME1"))
    np.testing.assert_array_equal(read_stored(found), VALUES.max() - VALUES.transpose(2, 1, 0))


def test_padding_becomes_the_darkest_value_of_the_volume(tmp_path):
    values = VALUES + 10
    values[:, 0, 0] = -2000
    found = only(write_series(tmp_path, values, PixelPaddingValue=-2000))
    stored = read_stored(found)
    assert (stored[0, 0] == stored.min()).all()
    assert stored.min() == values[values > 0].min()


def test_an_enhanced_file_alone_is_its_volume(tmp_path):
    directions = rotation(3)[:2]
    at = positions(5, directions=directions, origin=(1.0, 2.0, 3.0), step=2.0)
    order = [3, 0, 4, 1, 2]  # frames are in no order either
    slopes = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    path = write_enhanced(tmp_path / "a.dcm", VALUES[order], at=at[order], directions=directions, slopes=slopes[order])
    found = only([path])
    assert found.series.frame_numbers == (2, 4, 5, 1, 3)
    assert found.series.files == (str(path),) * 5
    wanted = VALUES * slopes[:, None, None] + 1
    np.testing.assert_array_equal(read_stored(found), wanted.transpose(2, 1, 0))
    classic = only(write_series(tmp_path / "classic", VALUES, at=at, directions=directions))
    np.testing.assert_allclose(found.affine, classic.affine)
    scan = read_scan(path)
    assert scan.path == scan.slices[0].path == str(path)
    assert scan.volume.n_slices == 5
    assert claimed_values(path) == VALUES.size


def test_groups_of_a_frame_come_before_shared_ones(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", VALUES, shared_place=False, spacing=(2.0, 3.0))
    np.testing.assert_allclose(np.diag(only([path]).affine), [-3, -2, 5, 1])
    measures = {"PixelMeasuresSequence": {"PixelSpacing": [4.0, 6.0]}}
    path = write_enhanced(tmp_path / "b.dcm", VALUES, spacing=(2.0, 3.0), each=lambda index: measures)
    np.testing.assert_allclose(np.diag(only([path]).affine), [-6, -4, 5, 1])


@pytest.mark.parametrize("enhanced", [False, True])
def test_compressed_slices_and_frames_give_the_same_values(tmp_path, enhanced):
    files = [write_enhanced(tmp_path / "a.dcm", VALUES)] if enhanced else write_series(tmp_path, VALUES)
    for file in files:
        data = pydicom.dcmread(file)
        data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        data.save_as(file)
    np.testing.assert_array_equal(read_stored(only(files)), VALUES.transpose(2, 1, 0))


def test_a_lone_slice_is_a_picture_as_it_is_stored(tmp_path):
    file = write_series(tmp_path, VALUES[:1], directions=((-1, 0, 0), (0, 1, 0)))[0]
    scan = read_series(only([file]))
    assert scan.volume is None
    assert scan.path == str(file)
    np.testing.assert_array_equal(scan.slices[0].image, read_scan(file).slices[0].image)
    lost = write_dicom(tmp_path / "without.dcm", VALUES[0])
    assert read_series(only([lost])).slices[0].image.shape == (4, 3)


def test_blank_slices_are_named_and_keep_their_index(tmp_path):
    values = VALUES.copy()
    values[1] = 7
    scan = read_series(only(write_series(tmp_path, values)))
    assert scan.blank == (1,)
    assert [item.index for item in scan.slices] == [0, 2, 3, 4]


def test_a_series_is_named_by_description_and_uid_without_the_patient(tmp_path):
    found = only(write_series(tmp_path / "IM", VALUES, SeriesDescription="T1 MPRAGE/+C", series="1.2.3456789012"))
    assert found.path == tmp_path / "IM" / "T1_MPRAGE_C-56789012"
    scan = read_series(found)
    assert scan.path == str(found.path)
    assert "Doe" not in repr(scan.series)
    assert "SECRET" not in repr(scan.series)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_reading_takes_the_volume_and_a_few_slices(tmp_path, enhanced, turned):
    values = np.arange(12 * 256 * 256, dtype=np.int32).astype(np.int16).reshape(12, 256, 256)
    directions = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)) if turned else AXIAL
    files = (
        [write_enhanced(tmp_path / "a.dcm", values, directions=directions)]
        if enhanced
        else write_series(tmp_path, values, directions=directions)
    )
    found = only(files)
    del values
    tracemalloc.start()
    try:
        scan = read_series(found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scan.volume.n_slices == 12
    one = 4 * 256 * 256
    assert peak < (12 + 8) * one


def test_a_header_that_claims_two_gigabytes_is_refused_without_reading(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", VALUES, NumberOfFrames=1024)
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 1024
    data.save_as(path)
    found, left = find_series([path])
    assert not found
    assert left[0].failed
    assert "claims 2048 MiB" in left[0].reason
    with pytest.raises(InputError, match="claims 2048 MiB"):
        read_scan(path)


def real_series() -> Path:
    return Path(os.environ.get("BTS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "unpack.py"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    if not real_series().is_file():
        pytest.skip(f"real series of several vendors are not on this machine ({real_series()}; BTS_SHARED names its folder)")
    out = tmp_path_factory.mktemp("dicom")
    subprocess.run([sys.executable, str(real_series()), "dicom", str(out)], check=True, capture_output=True)
    return out


def test_real_series_agree_with_an_established_converter(unpacked):
    compared = 0
    for truth in sorted(unpacked.rglob("*_ground_truth.nii.gz")):
        folder = truth.with_name(truth.name.replace("_ground_truth.nii.gz", ""))
        found = only(sorted(folder.glob("*.dcm")))
        image = nibabel.load(truth)
        voxels = np.asarray(image.dataobj, np.float32).reshape(found.shape)
        wanted = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, image.affine))
        if found.shape[2] == 1:  # the direction across a lone slice is arbitrary
            np.testing.assert_array_equal(read_series(found).slices[0].image, voxels[:, :, 0].T)
            np.testing.assert_allclose(found.affine[:, [0, 1, 3]], image.affine[:, [0, 1, 3]], atol=1e-4)
        else:
            given = nibabel.Nifti1Image(read_stored(found).astype(np.float32), found.affine)
            given = nibabel.as_closest_canonical(given)
            np.testing.assert_allclose(given.get_fdata(), wanted.get_fdata(), rtol=1e-6)
            np.testing.assert_allclose(given.affine, wanted.affine, atol=1e-4)
        compared += 1
    assert compared == 10


def test_a_real_head_has_the_spacing_of_its_positions_and_is_the_right_way_up(unpacked):
    found = only(sorted((unpacked / "real_head").glob("*.dcm")))
    assert found.shape == (274, 384, 96)
    assert np.linalg.norm(found.affine[:3, 2]) == pytest.approx(2.6667, abs=1e-3)
    scan = read_series(found)
    assert scan.volume.axis == 2
    assert len(scan.slices) + len(scan.blank) == 96
    widths = [np.count_nonzero(item.image > 0.2 * item.image.max()) for item in scan.slices]
    assert np.mean(widths[-8:]) < np.mean(widths[30:60])  # the last slices are the top of the head


@pytest.mark.parametrize(
    ("name", "reason"), [("sliceincrement", "1 missing between them"), ("gantrytilting", "gantry tilt of 14")]
)
def test_real_broken_series_are_refused_where_they_claim_to_be_mr(unpacked, tmp_path, name, reason):
    files = sorted((unpacked / "failing" / name / "001").glob("*.dcm"))
    found, left = find_series(files)
    assert not found
    assert "modality CT" in left[0].reason
    for file in files:
        data = pydicom.dcmread(file)
        data.Modality = "MR"
        data.save_as(tmp_path / file.name)
    found, left = find_series(sorted(tmp_path.iterdir()))
    assert not found
    assert reason in left[0].reason
