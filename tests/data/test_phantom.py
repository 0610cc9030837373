"""The synthetic set: figshare's layout, deterministic, and tumours that differ as the real ones do."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from bts.data.phantom import plan_patients, write_phantom
from bts.data.phantom_head import Head
from bts.data.phantom_scan import PLANES, draw_slices, examine
from bts.data.phantom_shapes import Noise, Points, ellipsoid, join, tube, within
from bts.data.readers.mat import read_mat_border
from bts.data.sources.figshare import Figshare
from bts.errors import RequestError
from bts.progress import Phase

TUMOURS = ("meningioma", "glioma", "pituitary")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    assert write_phantom(root, patients=5, slices_per_patient=(1, 2), healthy=1, seed=3) == len(list(root.glob("[0-9]*.mat")))
    return Figshare(root)


@pytest.fixture(scope="module")
def drawn():
    """Ten persons of each class at 80 px, one slice each: (image, mask)."""
    return {
        label: [next(draw_slices(label=label, n_slices=1, side=80, seed=(seed, 5))) for seed in range(10)]
        for label in (*TUMOURS, "no_tumour")
    }


def fields(path):
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file["cjdata"].items()}


def test_the_set_reads_as_figshare_and_is_marked_synthetic(source):
    assert source.synthetic
    assert source.classes == (*TUMOURS, "no_tumour")
    for record in source.records():
        found = source.read(record)
        assert found.synthetic
        assert found.mask.any() == (record.label != "no_tumour")
        assert found.image.shape in ((512, 512), (256, 256))


def test_a_set_without_healthy_slices_has_three_classes(tmp_path):
    write_phantom(tmp_path, patients=1, slices_per_patient=(1, 1), side=64)
    assert Figshare(tmp_path).classes == TUMOURS


def test_progress_counts_every_slice(tmp_path: Path, phases: list[Phase]) -> None:
    count = write_phantom(tmp_path, patients=3, slices_per_patient=(1, 3), side=64)
    assert [(phase.name, phase.done, phase.total) for phase in phases] == [("drawing phantoms", count, count)]


def test_files_are_matlab_73_in_figshares_layout(source):
    head = (source.root / "1.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file")
    assert b"synthetic" in head
    assert head[124:] == b"\x00\x02IM"
    with h5py.File(source.root / "1.mat") as file:
        group = file["cjdata"]
        assert file.attrs["bts_synthetic"] == 1
        assert group.attrs["MATLAB_class"] == b"struct"
        assert {name: data.attrs["MATLAB_class"] for name, data in group.items()} == {
            "image": b"int16",
            "label": b"double",
            "PID": b"char",
            "tumorMask": b"logical",
            "tumorBorder": b"double",
        }
        assert group["label"].shape == (1, 1)
        assert group["PID"].dtype == np.uint16


def test_border_runs_around_the_mask(source):
    for record in source.records():
        found, border = source.read(record), read_mat_border(source.root / record.path)
        if not found.mask.any():
            assert border.shape == (0, 2)
            continue
        near = binary_dilation(found.mask, iterations=1) & ~found.mask | found.mask
        at = np.round(border).astype(int)
        assert near[at[:, 0], at[:, 1]].all()
        centre = np.argwhere(found.mask).mean(axis=0)
        np.testing.assert_allclose((border.max(axis=0) + border.min(axis=0)) / 2, centre, atol=12)


def test_equal_seeds_give_equal_files_and_other_seeds_others(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_phantom(tmp_path / folder, patients=2, slices_per_patient=(1, 1), seed=seed, side=64)
    for name in ("1.mat", "2.mat"):
        first, second, other = (fields(tmp_path / folder / name) for folder in "abc")
        for field, array in first.items():
            np.testing.assert_array_equal(array, second[field])
        assert (first["image"] != other["image"]).any()


def test_more_patients_leave_the_first_ones_as_they_are():
    few, many = (plan_patients(number, (2, 5), seed=4) for number in (5, 30))
    assert many[:5] == few


def test_every_person_has_one_fold_one_class_and_at_most_two_ids():
    by_patient = defaultdict(list)
    for patient in plan_patients(60, (1, 3), healthy=10):
        by_patient[re.sub(r"[A-Z]$", "", patient.patient)].append(patient)
    for scans in by_patient.values():
        assert len({(scan.fold, scan.label, scan.number) for scan in scans}) == 1
    assert sorted({len(scans) for scans in by_patient.values()}) == [1, 2]


def test_ids_are_unique_numeric_and_lettered():
    ids = [patient.patient for patient in plan_patients(60, (1, 3), healthy=10)]
    assert len(set(ids)) == len(ids) == 70
    kinds = {"MR" if name.startswith("MR") else "number" for name in ids}
    assert kinds == {"MR", "number"}
    assert any(name.endswith("B") and name[:-1] in ids for name in ids)
    assert all(re.fullmatch(r"9\d{5}|MR9\d{5}B?", name) for name in ids)
    assert not {patient.patient.rstrip("B") for patient in plan_patients(60, (1, 3), seed=1)} & set(ids)


def test_classes_sizes_and_folds_are_mixed():
    plan = plan_patients(30, (2, 4), healthy=5)
    assert [sum(patient.label == label for patient in plan) for label in (*TUMOURS, "no_tumour")] == [10, 10, 10, 5]
    assert {patient.side for patient in plan} == {256, 512}
    assert {patient.n_slices for patient in plan} == {2, 3, 4}
    for label in TUMOURS:
        assert {patient.fold for patient in plan if patient.label == label} == {1, 2, 3, 4, 5}


def test_folds_file_holds_the_plan(source):
    plan = plan_patients(5, (1, 2), healthy=1, seed=3)
    folds = {patient.patient: patient.fold for patient in plan}
    assert [record.fold for record in source.records()] == [folds[record.patient] for record in source.records()]
    with h5py.File(source.root / "cvind.mat") as file:
        assert file["cvind"].shape == (1, len(source.records()))  # N x 1 for MATLAB


def test_intensities_are_sixteen_bit_of_varying_range(source):
    tops = {float(source.read(record).image.max()) for record in source.records()}
    assert all(255 < top < 32767 for top in tops)
    assert max(tops) > 1.5 * min(tops)


def test_slices_of_a_patient_look_alike_and_are_not_the_same():
    first, second = (image.astype(float) for image, _ in draw_slices(label="glioma", n_slices=2, side=96, seed=(1,)))
    stranger = next(draw_slices(label="glioma", n_slices=1, side=96, seed=(9,)))[0].astype(float)
    alike = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert 0.7 < alike < 0.9999
    assert np.corrcoef(first.ravel(), stranger.ravel())[0, 1] < alike - 0.05


def test_every_tumour_is_hit_by_every_slice():
    for label in TUMOURS:
        for seed in range(5):
            for scan in (0, 1):
                for _, mask in draw_slices(label=label, n_slices=3, side=64, seed=(seed, 11), scan=scan):
                    assert 3 <= mask.sum() < 0.15 * mask.size


def test_a_healthy_slice_has_no_mask(drawn):
    assert not any(mask.any() for _, mask in drawn["no_tumour"])


def test_meningioma_and_pituitary_are_bright_and_even(drawn):
    for label in ("meningioma", "pituitary"):
        for image, mask in drawn[label]:
            values = image[mask].astype(float)
            head = image[image > 0.1 * image.max()]
            assert np.median(values) > 1.3 * np.median(head)
            assert values.std() < 0.3 * values.mean()


def test_glioma_is_bright_outside_and_dark_inside(drawn):
    rimmed = 0
    for image, mask in drawn["glioma"]:
        depth = distance_transform_edt(mask)
        dark = mask & (image < (np.percentile(image[mask], 5) + np.percentile(image[mask], 95)) / 2)
        rimmed += dark.any() and depth[dark].mean() > depth[mask & ~dark].mean()
    assert rimmed >= 9


def test_glioma_is_the_least_even(drawn):
    def unevenness(label):
        return np.median([image[mask].std() / image[mask].mean() for image, mask in drawn[label]])

    assert unevenness("glioma") > 1.5 * max(unevenness("meningioma"), unevenness("pituitary"))


def test_pituitary_is_the_smallest(drawn):
    area = {label: np.median([mask.mean() for _, mask in drawn[label]]) for label in TUMOURS}
    assert area["pituitary"] < 0.6 * min(area["meningioma"], area["glioma"])


def test_the_background_is_dark_and_noisy(drawn):
    for image, _ in (pair for pairs in drawn.values() for pair in pairs):
        corner = image[:8, :8].astype(float)
        assert 0 < corner.mean() < 0.06 * np.percentile(image, 99)
        assert corner.std() > 0


def test_a_second_scan_shows_the_same_person_with_a_larger_tumour():
    def tumour(scan):
        return max(mask.sum() for _, mask in draw_slices(label="pituitary", n_slices=3, side=96, seed=(4,), scan=scan))

    assert tumour(1) != tumour(0)


def test_all_planes_occur():
    assert {examine(np.random.default_rng(seed), np.ones(3), seed=(seed,)).plane for seed in range(20)} == set(PLANES)


@pytest.mark.parametrize(
    ("patients", "slices", "healthy"), [(0, (1, 1), 0), (-1, (1, 1), 2), (1, (0, 1), 0), (1, (3, 2), 0), (1, (1, 1), -1)]
)
def test_numbers_that_make_no_set_are_refused(tmp_path, patients, slices, healthy):
    with pytest.raises(RequestError, match="expected at least one patient and 1 <= fewest <= most slices, received"):
        write_phantom(tmp_path / "out", patients=patients, slices_per_patient=slices, healthy=healthy)
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(RequestError, match="seed -1: expected a whole number from 0 on"):
        write_phantom(tmp_path, patients=1, slices_per_patient=(1, 1), seed=-1)


@pytest.mark.parametrize("side", [63, 1025])
def test_a_side_that_no_slice_has_is_refused(tmp_path, side):
    with pytest.raises(RequestError, match=f"side {side}: expected 64 to 1024 rows and columns"):
        write_phantom(tmp_path / "out", patients=1, slices_per_patient=(1, 1), side=side)
    assert not (tmp_path / "out").exists()


def test_slices_have_the_side_that_is_asked_for(tmp_path):
    write_phantom(tmp_path, patients=5, slices_per_patient=(1, 1), side=64)
    source = Figshare(tmp_path)
    assert [source.read(record).image.shape for record in source.records()] == [(64, 64)] * 4 + [(32, 32)]


def test_a_folder_with_slices_is_left_alone(tmp_path):
    (tmp_path / "1.mat").write_bytes(b"real")
    with pytest.raises(RequestError, match=r"there are \.mat files already: name an empty folder"):
        write_phantom(tmp_path, patients=1, slices_per_patient=(1, 1))
    assert (tmp_path / "1.mat").read_bytes() == b"real"


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"can't be written \(.+\): choose a writable folder") as caught:
        write_phantom(tmp_path / "file" / "out", patients=1, slices_per_patient=(1, 1))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_in_one_line_and_leaves_no_half_slice(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(RequestError, match=r"can't be written \(No space left on device\)"):
        write_phantom(tmp_path, patients=1, slices_per_patient=(1, 1))
    assert not list(tmp_path.glob("*.mat"))


def test_distances_of_solids_are_those_of_geometry():
    at = Points(*np.array([[0, 3, 10], [0, 0, 0], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(ellipsoid(at, (0, 0, 0), (3, 3, 3))[1:], [0, 7], atol=1e-5)
    np.testing.assert_allclose(tube(at, ((0, 0, 0), (5, 0, 0)), (1, 1)), [-1, -1, 4], atol=1e-5)
    np.testing.assert_allclose(ellipsoid(at, (10, 0, 0), (2, 2, 2), mirror=True)[2], 0, atol=2.1)
    far_apart = join(np.float32([1.0]), np.float32([50.0]), 2)
    np.testing.assert_allclose(far_apart, [1])
    np.testing.assert_array_equal(within(np.float32([-5, 0, 5])), [1, 0.5, 0])


def test_noise_is_smooth_centred_and_repeatable():
    random = np.random.default_rng(0)
    at = Points(*random.uniform(-200, 200, (3, 20_000)).astype(np.float32))
    values = Noise((1,)).at(at, 10)
    np.testing.assert_array_equal(values, Noise((1,)).at(at, 10))
    assert abs(values.mean()) < 0.1
    assert 0.8 < values.std() < 1.2
    step = Points(at.x + np.float32(0.1), at.y, at.z)
    assert np.abs(Noise((1,)).at(step, 10) - values).max() < 0.1


def test_the_brain_lies_inside_the_head():
    head = Head(noise=Noise((1,)), ventricles=1, fat_mm=4, contrast=1)
    random = np.random.default_rng(0)
    at = Points(*random.uniform((-90, -110, -40), (90, 110, 100), (20_000, 3)).T.astype(np.float32))
    brain = head.cavity(at) < 0
    assert brain.mean() > 0.1
    assert (head.surface(at)[brain] < 0).all()
