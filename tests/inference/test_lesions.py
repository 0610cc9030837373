"""Findings of a volume: hand-made ellipsoids of known volume, diameters, side and place, and the decision for the volume."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from bts.data.readers.scan import VolumeGeometry
from bts.glossary import NO_TUMOUR
from bts.inference.measurements import CROSSES, LEFT, RIGHT, Midline, diameters_mm, side_of, slice_spacing_mm
from bts.inference.volume import VolumeFindings, VolumeRule, find_lesions, smooth_along_normal

CLASSES = ("glioma", "pituitary", NO_TUMOUR)
SHAPE = (60, 50, 24)
"""Of the stored array, axes to the left, to posterior and to superior."""
SPACING_MM = (1.5, 1.0, 4.0)
AFFINE = np.array([[-1.5, 0, 0, 44], [0, -1.0, 0, 25], [0, 0, 4.0, -46], [0, 0, 0, 1]])
"""LPS voxels: the first one lies on the patient's right, in front and below."""
PLAIN = VolumeRule(smoothing_mm=0)


def geometry_of(
    affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE, *, axis: int = 2, codes=(0, 1)
) -> VolumeGeometry:
    """Return the geometry as the NIfTI reader makes it."""
    wanted = "LPS" if axis == 2 else "LPI"
    orientation = ornt_transform(io_orientation(affine), axcodes2ornt(wanted)).astype(int)
    return VolumeGeometry(affine, shape, axis, orientation, codes=codes)


def positions(geometry: VolumeGeometry) -> np.ndarray:
    """Return the RAS position (..., 3) of every stored voxel, straight from the file's affine."""
    voxels = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return voxels @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]


def ellipsoid(geometry: VolumeGeometry, centre, radii) -> np.ndarray:
    """Return the slices (n, H, W) float16 of an ellipsoid given in RAS mm, 0.9 inside."""
    inside = ((((positions(geometry) - centre) / radii) ** 2).sum(-1) <= 1).astype(np.float16)
    return np.ascontiguousarray(geometry.cut(inside)) * np.float16(0.9)


def turned(orientation: str) -> VolumeGeometry:
    """Return the same volume stored in another voxel order."""
    change = ornt_transform(io_orientation(AFFINE), axcodes2ornt(orientation))
    order = np.argsort(change[:, 0]).astype(int)
    return geometry_of(AFFINE @ inv_ornt_aff(change, SHAPE), tuple(SHAPE[place] for place in order))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_an_ellipsoid_is_measured_alike_however_the_volume_is_stored_and_cut(orientation: str, axis: int) -> None:
    stored = turned(orientation)
    geometry = geometry_of(stored.affine, stored.shape, axis=axis)
    centre, radii = np.array([20.0, -3.0, 2.0]), np.array([12.0, 18.0, 26.0])
    findings = find_lesions(ellipsoid(geometry, centre, radii), geometry=geometry, midline_mm=0.0, rule=PLAIN)
    (lesion,) = findings.lesions
    truth_ml = 4 / 3 * math.pi * radii.prod() / 1000
    assert lesion.volume_ml == pytest.approx(truth_ml, rel=0.05)
    assert lesion.centroid_mm == pytest.approx(centre, abs=1.0)
    assert lesion.side == RIGHT
    inplane = np.delete(radii, axis)
    voxel = np.delete(SPACING_MM, axis).max()
    assert lesion.longest_mm == pytest.approx(2 * inplane.max(), abs=1.2 * voxel)
    assert lesion.perpendicular_mm == pytest.approx(2 * inplane.min(), abs=1.2 * voxel)
    assert lesion.extent_mm == pytest.approx(2 * radii[axis], abs=1.5 * SPACING_MM[axis])
    assert lesion.slices[0] <= lesion.largest_slice <= lesion.slices[1]
    areas = (findings.lesion_labels > 0).sum((1, 2))
    assert areas[lesion.largest_slice] == areas.max()
    assert np.flatnonzero(areas)[[0, -1]].tolist() == list(lesion.slices)
    assert lesion.voxels == areas.sum()
    assert lesion.certainty == pytest.approx(0.9, abs=1e-3)


def test_an_oblique_slice_is_measured_in_its_own_plane() -> None:
    angle = math.radians(30)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ AFFINE[:3, :3]
    geometry = geometry_of(affine)
    mask = np.zeros((24, 50, 60), np.float16)
    mask[10:13, 5:25, 7:17] = 1  # 20 rows of 1 mm, 10 columns of 1.5 mm, 3 slices of 4 mm
    (lesion,) = find_lesions(mask, geometry=geometry, rule=PLAIN).lesions
    assert lesion.volume_ml == pytest.approx(20 * 15 * 12 / 1000)
    assert lesion.extent_mm == pytest.approx(12)
    assert 24 < lesion.longest_mm <= 25  # the diagonal of 20 x 15 mm, its corners cut by half a pixel


def test_diameters_are_those_of_rano_by_hand() -> None:
    # a cross of 9 x 5 pixels with pixels of 1 x 2 mm (row, column)
    mask = np.zeros((11, 11), bool)
    mask[1:10, 5] = True
    mask[4, 3:8] = True
    affine = np.diag([3.0, 1.0, 2.0, 1.0])
    longest, perpendicular = diameters_mm(mask, affine)
    assert longest == pytest.approx(10)  # 5 columns of 2 mm, longer than 9 rows of 1 mm
    assert perpendicular == pytest.approx(9)


def test_the_perpendicular_is_a_chord_and_not_the_width() -> None:
    # a thin parallelogram: its width across the longest diameter is spread over two vertices, no chord is as long
    row, column = np.mgrid[:60, :60]
    mask = (np.abs(row - column) < 8) & (row >= 10) & (row < 50)
    longest, perpendicular = diameters_mm(mask, np.eye(4))
    points = np.argwhere(mask)
    across = points @ np.array([-1, 1]) / math.sqrt(2)
    assert longest > 50
    assert perpendicular < float(np.ptp(across)) + 1.5
    brute = max(np.ptp(across[np.abs(points.sum(1) - along) < 1]) for along in range(20, 100))
    assert perpendicular == pytest.approx(brute, abs=1.5)


def test_one_pixel_has_the_size_of_a_pixel() -> None:
    mask = np.zeros((5, 5), bool)
    mask[2, 3] = True
    assert diameters_mm(mask, np.diag([1.0, 2.0, 2.0, 1.0])) == pytest.approx((2, 2))


def test_a_shear_does_not_lengthen_the_distance_of_slices() -> None:
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    affine[1, 0] = 3  # a tilted gantry: the next slice lies 5 mm away, 4 mm along the normal
    assert slice_spacing_mm(affine) == pytest.approx(4)


@pytest.mark.parametrize(("centre", "side"), [(-20.0, LEFT), (20.0, RIGHT), (1.0, CROSSES)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_side_is_the_patient_s_by_the_head_s_own_middle(centre: float, side: str, axis: int) -> None:
    shift = 7.0  # the head lies off the scanner's middle
    geometry = geometry_of(axis=axis)
    head = np.ascontiguousarray(geometry.cut(np.sum((((positions(geometry) - [shift, 0, 0]) / [34, 22, 40]) ** 2), -1) <= 1))
    midline = Midline(geometry.slice_affine_mm)
    for index, image in enumerate(head):
        if image.any():
            midline.add(index, 100.0 * image)
    assert midline.position_mm == pytest.approx(shift, abs=1)
    mask = ellipsoid(geometry, np.array([shift + centre, 0, 0]), np.array([8.0, 8.0, 12.0]))
    (lesion,) = find_lesions(mask, geometry=geometry, midline_mm=midline.position_mm, rule=PLAIN).lesions
    assert lesion.side == side


def test_a_few_voxels_beyond_the_midline_do_not_make_a_lesion_cross_it() -> None:
    assert side_of(np.array([*[1.0] * 19, -1.0]), 0.0) == RIGHT
    assert side_of(np.array([*[1.0] * 9, -1.0]), 0.0) == CROSSES


def two_lesions() -> np.ndarray:
    geometry = geometry_of()
    small = ellipsoid(geometry, np.array([-25.0, 0, -20]), np.array([9.0, 9.0, 12.0]))
    return small + ellipsoid(geometry, np.array([22.0, 0, 20]), np.array([14.0, 14.0, 18.0]))


def test_two_lesions_are_numbered_from_the_largest_with_classes_of_their_own_slices() -> None:
    mask = two_lesions()
    upper = np.arange(24) >= 12
    class_prob = np.where(upper[:, None], [0.6, 0.2, 0.2], [0.1, 0.4, 0.5])
    found = find_lesions(mask, classes=CLASSES, class_prob=class_prob, geometry=geometry_of(), midline_mm=0.0, rule=PLAIN)
    first, second = found.lesions
    assert (first.number, second.number) == (1, 2)
    assert first.voxels > second.voxels
    assert (first.side, second.side) == (RIGHT, LEFT)
    assert [np.count_nonzero(found.lesion_labels == number) for number in (1, 2)] == [first.voxels, second.voxels]
    assert first.class_prob == pytest.approx({"glioma": 0.75, "pituitary": 0.25, NO_TUMOUR: 0})
    assert second.class_prob == pytest.approx({"glioma": 0.2, "pituitary": 0.8, NO_TUMOUR: 0})
    share = first.voxels / (first.voxels + second.voxels)  # equally certain: weighted by area alone
    assert found.class_prob["glioma"] == pytest.approx(0.75 * share + 0.2 * (1 - share))
    assert found.label == "glioma"
    assert found.tumour


def test_the_class_counts_certain_slices_more() -> None:
    mask = np.zeros((2, 20, 20), np.float16)
    mask[0, 5:15, 5:15], mask[1, 5:15, 5:15] = 0.4, 0.8
    rule = VolumeRule(smoothing_mm=0, evidence_ml=0.1, tumour_threshold=0.5)
    found = find_lesions(mask, classes=("a", "b"), class_prob=np.array([[1.0, 0.0], [0.0, 1.0]]), rule=rule)
    assert found.class_prob == pytest.approx({"a": 1 / 3, "b": 2 / 3}, abs=1e-3)


def test_without_a_lesion_there_is_no_tumour() -> None:
    found = find_lesions(np.full((9, 20, 20), 0.1, np.float16), classes=CLASSES, class_prob=np.full((9, 3), 1 / 3))
    assert (found.tumour, found.lesions, found.label) == (False, (), NO_TUMOUR)
    assert found.class_prob == {}  # no certainty of 100% is claimed
    assert not found.lesion_labels.any()
    assert found.tumour_score < found.threshold
    assert find_lesions(np.zeros((9, 20, 20), np.float16), classes=("glioma",), class_prob=np.ones((9, 1))).label is None


def test_a_false_alarm_of_one_thin_slice_is_no_tumour_and_the_same_in_many_is() -> None:
    geometry = geometry_of(np.diag([-1.0, -1.0, 1.0, 1.0]), (40, 40, 150))
    for slices, tumour in ((1, False), (20, True)):
        mask = np.zeros((150, 40, 40), np.float16)
        mask[60 : 60 + slices, 10:25, 10:25] = 0.99
        assert find_lesions(mask, geometry=geometry).tumour is tumour


def test_the_smallest_lesion_has_a_volume_and_not_a_number_of_voxels() -> None:
    for size, tumour in ((4, False), (12, True)):
        mask = np.zeros((24, 50, 60), np.float16)
        mask[10:12, 10 : 10 + size, 10 : 10 + size] = 1
        assert find_lesions(mask, geometry=geometry_of(), rule=PLAIN).tumour is tumour  # 0.2 and 1.7 ml


def test_without_spacing_or_orientation_nothing_is_made_up() -> None:
    lesion = find_lesions(two_lesions(), rule=PLAIN).lesions[0]
    assert lesion.voxels > 0
    unknown = (lesion.volume_ml, lesion.longest_mm, lesion.perpendicular_mm, lesion.extent_mm, lesion.side, lesion.centroid_mm)
    assert set(unknown) == {None}
    lesion = find_lesions(two_lesions(), geometry=geometry_of(codes=(0, 0)), midline_mm=0.0, rule=PLAIN).lesions[0]
    assert lesion.volume_ml is not None
    assert (lesion.side, lesion.centroid_mm) == (None, None)


def test_smoothing_is_that_of_scipy_inside_a_volume_and_keeps_a_constant_at_its_ends() -> None:
    from scipy.ndimage import gaussian_filter1d

    values = np.random.default_rng(0).random((30, 4, 5)).astype(np.float32)
    smoothed = values.copy()
    smooth_along_normal(smoothed, sigma=2.0)
    expected = gaussian_filter1d(values, 2.0, axis=0, truncate=3.0)
    assert np.allclose(smoothed[6:-6], expected[6:-6], atol=1e-6)
    even = np.full((7, 2, 2), 0.5, np.float32)
    smooth_along_normal(even, sigma=1.5, blank=(3,))
    assert np.allclose(np.delete(even, 3, axis=0), 0.5)
    assert not even[3].any()


def test_lesions_are_those_of_the_whole_volume_smoothed_though_only_where_they_can_be_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    mask_prob = rng.uniform(0, 0.34, (12, 30, 26)).astype(np.float16)
    mask_prob[3:8, 5:14, 9:20] += np.float16(0.5)
    mask_prob[5] *= np.float16(0.3)  # smoothing closes this gap
    rule = VolumeRule(smoothing_mm=6.0, tumour_threshold=0.4)
    whole = mask_prob.copy()
    smooth_along_normal(whole, sigma=6 / 5, blank=[9])
    expected = find_lesions(whole, rule=replace(rule, smoothing_mm=0), blank=[9])
    found = find_lesions(mask_prob, rule=rule, blank=[9])
    np.testing.assert_array_equal(found.lesion_labels, expected.lesion_labels)
    assert found.lesion_labels[5].any()
    assert (found.tumour_score, found.lesions) == (expected.tumour_score, expected.lesions)


def test_no_smoothing_leaves_the_slices_as_they_are() -> None:
    values = np.random.default_rng(0).random((5, 4, 4)).astype(np.float16)
    smoothed = values.copy()
    smooth_along_normal(smoothed, sigma=0.0)
    assert np.array_equal(smoothed, values)


def test_a_missed_slice_in_the_middle_of_a_lesion_is_closed() -> None:
    mask = np.zeros((9, 30, 30), np.float16)
    mask[2:7, 5:20, 5:20] = 0.9
    mask[4] = 0
    rule = VolumeRule(smoothing_mm=4.0, tumour_threshold=0.5)
    geometry = geometry_of(np.diag([-1.0, -1.0, 4.0, 1.0]), (30, 30, 9))
    found: VolumeFindings = find_lesions(mask, geometry=geometry, rule=rule)
    assert len(found.lesions) == 1
    assert found.lesion_labels[4, 10, 10] == 1
