"""NIfTI: orientation by hand-made truth, spacing, volumes and their masks, and what is refused."""

from __future__ import annotations

import gzip
import itertools
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import claimed_values, read_scan, read_slice
from bts.data.readers.nifti import read_nifti_plane
from bts.errors import InputError

LPS = np.random.default_rng(0).permutation(3 * 4 * 5).reshape(3, 4, 5).astype(np.int16)
"""3 to the left, 4 to posterior, 5 to superior; all values different."""
SPACING_LPS = (0.5, 0.75, 5.0)


def save(path, array, affine, *, sform=1, qform=0, unit="mm"):
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine if sform else None, sform)
    image.set_qform(affine if qform else None, qform)
    nibabel.save(image, path)
    return path


def stored_as(codes: str):
    """LPS laid out in memory in another order, with the affine that says so."""
    transform = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    affine_lps = np.diag([-SPACING_LPS[0], -SPACING_LPS[1], SPACING_LPS[2], 1.0])
    return nibabel.apply_orientation(LPS, transform), affine_lps @ inv_ornt_aff(transform, LPS.shape)


ORDERS = ["".join(picks) for order in itertools.permutations(["LR", "PA", "SI"]) for picks in itertools.product(*order)]


@pytest.mark.parametrize("codes", ORDERS)
def test_a_volume_looks_the_same_however_it_is_stored(tmp_path, codes):
    array, affine = stored_as(codes)
    path = save(tmp_path / "a.nii", array, affine)
    axial = read_scan(path)
    assert axial.volume.axis == 2  # the slices are 5 mm apart
    assert [item.index for item in axial.slices] == [0, 1, 2, 3, 4]
    for item in axial.slices:
        np.testing.assert_array_equal(item.image, LPS[:, :, item.index].T)
        assert item.spacing_mm == pytest.approx((0.75, 0.5))
    for item in read_scan(path, axis=0).slices:  # sagittal: face to the left, top of the head at the top
        np.testing.assert_array_equal(item.image, LPS[item.index, :, ::-1].T)
        assert item.spacing_mm == pytest.approx((5.0, 0.75))
    for item in read_scan(path, axis=1).slices:  # coronal
        np.testing.assert_array_equal(item.image, LPS[:, item.index, ::-1].T)
        assert item.spacing_mm == pytest.approx((5.0, 0.5))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("codes", ORDERS[::5])
def test_masks_go_back_into_the_voxels_they_came_from(tmp_path, codes, axis):
    array, affine = stored_as(codes)
    scan = read_scan(save(tmp_path / "a.nii.gz", array, affine), axis=axis)
    found = scan.volume.restore({item.index: item.image > 30 for item in scan.slices})
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array > 30)
    np.testing.assert_allclose(scan.volume.affine, affine)


def test_slices_that_are_not_named_stay_empty_and_wrong_masks_are_refused(tmp_path):
    array, affine = stored_as("RAS")
    volume = read_scan(save(tmp_path / "a.nii", array, affine)).volume
    assert volume.restore({0: np.ones(volume.slice_shape)}).sum() == 12
    with pytest.raises(ValueError, match=r"expected shape \(4, 3\)"):
        volume.restore({0: np.ones((3, 4))})
    with pytest.raises(ValueError, match="index below 5"):
        volume.restore({5: np.ones((4, 3))})


def test_oblique_volumes_follow_the_nearest_axes(tmp_path):
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.5, -0.75, 5.0])
    found = read_scan(save(tmp_path / "a.nii", LPS, affine)).slices
    np.testing.assert_array_equal(found[2].image, LPS[:, :, 2].T)
    assert found[0].spacing_mm == pytest.approx((0.75, 0.5))


def test_without_any_orientation_the_array_is_taken_as_stored(tmp_path):
    path = save(tmp_path / "a.nii", LPS, np.eye(4), sform=0, unit="unknown")
    scan = read_scan(path)
    for item in scan.slices:
        np.testing.assert_array_equal(item.image, LPS[:, :, item.index].T)
        assert item.spacing_mm is None
    np.testing.assert_array_equal(scan.volume.restore({k: LPS[:, :, k].T > 9 for k in range(5)}), LPS > 9)


def test_qform_is_followed_where_there_is_no_sform(tmp_path):
    array, affine = stored_as("RAS")
    found = read_scan(save(tmp_path / "a.nii", array, affine, sform=0, qform=1)).slices
    np.testing.assert_array_equal(found[1].image, LPS[:, :, 1].T)


def test_cubic_voxels_are_cut_axially_and_thick_slices_as_they_were_scanned(tmp_path):
    assert read_scan(save(tmp_path / "a.nii", LPS, np.diag([-1.0, -1, 1, 1]))).volume.axis == 2
    assert read_scan(save(tmp_path / "b.nii", LPS, np.diag([-6.0, -1, 1, 1]))).volume.axis == 0
    assert read_scan(save(tmp_path / "c.nii", LPS, np.diag([-1.0, -6, 1, 1]))).volume.axis == 1
    assert read_scan(save(tmp_path / "d.nii", LPS, np.diag([-1.0, -1.2, 1, 1]))).volume.axis == 2


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 1, 1)])
def test_a_plane_is_one_slice(tmp_path, shape):
    plane = LPS[:, :, 0]
    scan = read_scan(save(tmp_path / "a.nii.gz", plane.reshape(shape), np.diag([-0.5, -0.75, 5, 1])), axis=0)
    assert scan.volume is None
    assert scan.slices[0].index is None
    np.testing.assert_array_equal(scan.slices[0].image, plane.T)
    assert scan.slices[0].spacing_mm == pytest.approx((0.75, 0.5))


def test_a_sagittal_plane_stands_upright(tmp_path):
    plane = LPS[:1]  # one step to the left, then posterior, then superior
    found = read_slice(save(tmp_path / "a.nii", plane, np.diag([-5, -0.75, 0.5, 1])))
    np.testing.assert_array_equal(found.image, LPS[0, :, ::-1].T)


def test_scaled_values_are_what_the_header_says(tmp_path):
    image = nibabel.Nifti1Image(LPS[:, :, 0], np.diag([-1.0, -1, 1, 1]))
    image.header.set_slope_inter(2, 10)
    nibabel.save(image, tmp_path / "a.nii")
    scaled = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(read_slice(tmp_path / "a.nii").image, scaled.get_fdata().T, atol=1e-3)


def test_units_become_millimetres(tmp_path):
    affine = np.diag([-0.0005, -0.00075, 0.005, 1])
    found = read_slice(save(tmp_path / "a.nii", LPS[:, :, 0], affine, unit="meter"))
    assert found.spacing_mm == pytest.approx((0.75, 0.5))


def test_blank_slices_are_left_out_and_counted(tmp_path):
    volume = LPS.copy()
    volume[:, :, 0], volume[:, :, 3] = 0, 7
    scan = read_scan(save(tmp_path / "a.nii", volume, np.diag([-1.0, -1, 1, 1])))
    assert scan.blank == (0, 3)
    assert [item.index for item in scan.slices] == [1, 2, 4]


def test_a_volume_with_nothing_in_it_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", LPS * 0, np.diag([-1.0, -1, 1, 1]))
    with pytest.raises(InputError, match=r"a\.nii: all 5 slices are constant: there is nothing to see in the volume"):
        read_scan(path)


def test_infinite_values_in_a_slice_name_file_and_slice(tmp_path):
    volume = LPS.astype(np.float32)
    volume[0, 0, 2] = np.inf
    with pytest.raises(InputError, match=r"a\.nii: slice 2: the picture holds NaN or infinite values"):
        read_scan(save(tmp_path / "a.nii", volume, np.diag([-1.0, -1, 1, 1])))


def test_nan_is_background_with_a_note(tmp_path):
    volume = LPS.astype(np.float32) - 20
    volume[0], volume[:, :, 3] = np.nan, np.nan
    scan = read_scan(save(tmp_path / "a.nii", volume, np.diag([-1.0, -1, 1, 1])))
    assert scan.blank == (3,)
    expected = np.where(np.isnan(volume), np.nanmin(volume), volume)
    for item in scan.slices:
        np.testing.assert_array_equal(item.image, expected[:, :, item.index].T)
        assert item.warnings == ("47% of the voxels are NaN and were read as background, the smallest value",)


def test_nothing_but_nan_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.full((3, 4, 1), np.nan, np.float32), np.diag([-1.0, -1, 1, 1]))
    with pytest.raises(InputError, match=r"a\.nii: the picture holds NaN or infinite values"):
        read_scan(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_packing_is_told_by_content_and_not_by_name(tmp_path, name):
    array, affine = stored_as("RAS")
    path = save(tmp_path / name, array, affine)
    expected = [item.image for item in read_scan(path).slices]
    data = path.read_bytes()
    path.write_bytes(gzip.decompress(data) if name.endswith(".gz") else gzip.compress(data))
    assert claimed_values(path) == 60
    found = [item.image for item in read_scan(path).slices]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxel_sizes_come_from_the_affine_and_a_header_at_odds_is_noted(tmp_path, name):
    path = save(tmp_path / "b.nii", LPS, np.diag([-0.5, -0.75, 5.0, 1]))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<3f", raw, 80, 1.0, 1.5, 5.0)  # pixdim[1:4]
    (tmp_path / name).write_bytes(gzip.compress(bytes(raw)) if name.endswith(".gz") else raw)
    for item in read_scan(tmp_path / name).slices:
        assert item.spacing_mm == pytest.approx((0.75, 0.5))
        assert item.warnings == ("voxels of 0.5 x 0.75 x 5 by the affine and 1 x 1.5 x 5 by pixdim: the affine was used",)


def test_a_header_that_rounds_its_voxel_sizes_is_not_noted(tmp_path):
    path = save(tmp_path / "a.nii", LPS, np.diag([-0.5, -0.75, 5.0, 1]))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<3f", raw, 80, 0.501, 0.75, 5.0)
    path.write_bytes(raw)
    assert read_scan(path).slices[0].warnings == ()


def test_a_volume_is_refused_where_a_slice_is_wanted(tmp_path):
    path = save(tmp_path / "a.nii.gz", LPS, np.diag([-1.0, -1, 1, 1]))
    with pytest.raises(InputError, match=r"a\.nii\.gz: a volume of 5 slices where one is wanted"):
        read_slice(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("volumes", [1, 2, 300])
def test_the_first_volume_of_a_series_is_read_with_a_note(tmp_path, volumes, name):
    series = np.stack([LPS, *[LPS[::-1]] * (volumes - 1)], axis=3)
    scan = read_scan(save(tmp_path / name, series, np.diag([-1.0, -1, 1, 1])))
    assert scan.volume.shape == (3, 4, 5)
    notes = (f"a series of {volumes} volumes: only the first was read",) if volumes > 1 else ()
    for item in scan.slices:
        np.testing.assert_array_equal(item.image, LPS[:, :, item.index].T)
        assert item.warnings == notes


def test_five_dimensions_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.stack([LPS[..., None]] * 3, axis=4), np.eye(4))
    with pytest.raises(InputError, match="an array of 3 x 4 x 5 x 1 x 3: expected a plane or one volume"):
        read_scan(path)


def test_several_planes_are_no_mask(tmp_path):
    path = save(tmp_path / "a.nii", np.stack([LPS[:, :, :1]] * 2, axis=3), np.eye(4))
    with pytest.raises(InputError, match="several planes along the fourth axis: expected one plane"):
        read_nifti_plane(path)


@pytest.mark.parametrize("axis", [3, -1])
def test_an_axis_that_is_none_is_refused(tmp_path, axis):
    path = save(tmp_path / "a.nii", LPS, np.eye(4))
    with pytest.raises(InputError, match=rf"axis {axis}: expected 0 \(sagittal\), 1 \(coronal\) or 2 \(axial\)"):
        read_scan(path, axis=axis)


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_of_several_numbers_are_refused(tmp_path, dtype):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"voxels of type .*: expected one real number each"):
        read_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sizes", [(32_000, 32_000, 32_000), (8000, 8000, 8000), (3, 9000, 3)])
def test_an_enormous_header_is_refused_before_reading(tmp_path, sizes, zipped):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"] = [3, *sizes, 1, 1, 1, 1]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    raw = header.binaryblock + bytes(4) + bytes(1000)
    path = tmp_path / ("a.nii.gz" if zipped else "a.nii")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    with pytest.raises(InputError, match=rf"its header claims {sizes[0]} x {sizes[1]} x {sizes[2]} voxels: accepted are"):
        read_scan(path)


def test_a_singular_affine_is_refused(tmp_path):
    image = nibabel.Nifti1Image(LPS, np.eye(4))
    image.header["srow_x"] = image.header["srow_y"] = [0, 0, 0, 0]
    image.header["sform_code"] = 1
    raw = image.header.binaryblock + bytes(4) + LPS.tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(InputError, match="its affine is singular or not finite"):
        read_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_file_is_refused(tmp_path, name, share):
    rough = np.random.default_rng(0).integers(0, 4000, (32, 32, 16)).astype(np.int16)
    path = save(tmp_path / name, rough, np.eye(4))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        InputError, match=rf"{name}: truncated or damaged NIfTI file \(.*\): export or download it again"
    ) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_is_no_nifti_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind " * 50)
    with pytest.raises(InputError, match=rf"{name}: truncated or damaged NIfTI file"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("codes", ["PIR", "RPI", "IRP", "SAL"])
def test_a_slab_of_cubic_voxels_is_cut_into_its_few_slices_however_it_is_stored(tmp_path, codes):
    sagittal = np.arange(2 * 24 * 20, dtype=np.int16).reshape(2, 24, 20)  # left, posterior, superior
    transform = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    affine = np.diag([-1.0, -1, 1, 1]) @ inv_ornt_aff(transform, sagittal.shape)
    scan = read_scan(save(tmp_path / "a.nii", nibabel.apply_orientation(sagittal, transform), affine))
    assert scan.volume.axis == 0
    assert len(scan.slices) == 2
    np.testing.assert_array_equal(scan.slices[0].image, sagittal[0, :, ::-1].T)


def test_few_slices_of_long_pixels_are_the_planes_that_were_scanned(tmp_path):
    array = np.arange(16 * 10 * 3, dtype=np.int16).reshape(16, 10, 3)
    assert read_scan(save(tmp_path / "a.nii", array, np.diag([-6.4, -4, 0.5, 1]))).volume.axis == 2


def test_all_slices_of_a_volume_share_one_margin_so_that_small_ones_are_not_enlarged(tmp_path):
    array = np.zeros((64, 64, 4), np.int16)
    texture = np.random.default_rng(0).integers(1, 99, array.shape)
    array[20:52, 16:48, 1:3] = texture[20:52, 16:48, 1:3]
    array[31:41, 26:36, 3] = texture[31:41, 26:36, 3]  # the top of the head, which alone is cut to 10 x 10
    scan = read_scan(save(tmp_path / "a.nii", array, np.diag([-1.0, -1, 5, 1])))
    assert [item.content for item in scan.slices] == [(16, 20, 48, 52)] * 3
    top = scan.slices[-1]
    preprocessing = Preprocessing(size=32, low_percentile=0, high_percentile=100, crop_brain=False)
    assert preprocessing.box(top.image, content=top.content).shape == (32, 32)
    square = preprocessing.image(top.image, content=top.content).astype(int)
    assert square[10:20, 11:21].min() > 0
    assert square.sum() == square[10:20, 11:21].sum()


def test_a_volume_without_a_wide_margin_is_shown_whole(tmp_path):
    array = np.zeros((60, 60, 2), np.int16)
    array[5:55, 5:55] = np.random.default_rng(0).integers(1, 99, (50, 50, 2))
    scan = read_scan(save(tmp_path / "a.nii", array, np.diag([-1.0, -1, 5, 1])))
    assert {item.content for item in scan.slices} == {(0, 0, 60, 60)}


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "SAL"])
def test_reading_takes_little_more_memory_than_the_volume(tmp_path, codes, name):
    array = np.random.default_rng(0).integers(0, 9, (64, 64, 64)).astype(np.float32)
    affine = inv_ornt_aff(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)), array.shape)
    path = save(tmp_path / name, array, affine)
    read_scan(path)  # imports
    tracemalloc.start()
    try:
        scan = read_scan(path)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * array.nbytes
    finally:
        tracemalloc.stop()
    assert sum(item.image.nbytes for item in scan.slices) == array.nbytes
