"""Results of volumes: the mask's position in the world, tables, and refusals."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image

from bts.data.readers.catalogue import read_scan
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.errors import InputError
from bts.glossary import NO_TUMOUR
from bts.inference.ood import OodScore
from bts.inference.postprocess import PHANTOM_MODEL
from bts.inference.prediction import Prediction, UnfusedHeads
from bts.inference.predictor import Predictor
from bts.inference.volume import VolumeEvidence, VolumeFindings, VolumeRule, apply_findings
from bts.inference.write import write_volume

SHAPE = (26, 28, 12)
BLOCK = (slice(6, 12), slice(15, 24), slice(3, 8))
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.25, 0, -20], [0, 0, 3, -10], [0, 0, 0, 1.0]])


@pytest.fixture
def predict_volume(seg, cls):
    """Predict a volume and write its result, without drawing the slices unless that is asked for."""

    def predict(image, folder, *, axis=None, runtimes=None, writers=("nifti", "json"), pictures="key"):
        nibabel.save(image, folder / "v.nii.gz")
        scan = read_scan(folder / "v.nii.gz", axis=axis)
        predictor = Predictor(runtimes or (seg, cls))
        predictions = predictor.predict_many(scan.slices, batch_size=4)
        return scan, write_volume(scan, predictions, folder / "out", writers=writers, pictures=pictures)

    return predict


def block_volume(orientation, *, codes=(1, 1), affine=AFFINE, blank=(), noise=100):
    """Return an image in an orientation in which one block, the same in the world whatever the orientation, is bright."""
    array = np.random.default_rng(0).uniform(0, noise, SHAPE).astype(np.float32)
    array[BLOCK] = 1000
    array[:, :, list(blank)] = 0
    change = ornt_transform(io_orientation(affine), axcodes2ornt(orientation))
    turned = nibabel.apply_orientation(array, change)
    image = nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(change, SHAPE))
    image.set_qform(image.affine, codes[0])
    image.set_sform(image.affine, codes[1])
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Mrs Smith"
    return image


def world_of(image):
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    return nibabel.affines.apply_affine(image.affine, voxels)


@pytest.mark.parametrize(
    ("orientation", "axis"),
    [("LPS", 2), ("RAS", 2), ("RAS", 0), ("RAS", 1), ("LAS", 2), ("PIR", 0), ("SAL", 1), ("ASR", 2), ("IPR", None)],
)
def test_a_block_known_in_the_world_comes_back_at_the_same_place(tmp_path, orientation, axis, predict_volume):
    image = block_volume(orientation, noise=0)  # slices beside the block are blank
    _, folder = predict_volume(image, tmp_path, axis=axis)
    mask = nibabel.load(folder / "mask.nii.gz")
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}
    corners = nibabel.affines.apply_affine(AFFINE, [[span.start for span in BLOCK], [span.stop - 1 for span in BLOCK]])
    found = world_of(mask)
    # slices go through a square of 32 pixels and back, which moves an edge by at most two voxels
    tolerance = 2 * np.abs(np.diag(AFFINE)[:3])
    assert (np.abs(found.min(0) - corners.min(0)) <= tolerance).all()
    assert (np.abs(found.max(0) - corners.max(0)) <= tolerance).all()
    assert (np.abs(found.mean(0) - corners.mean(0)) <= tolerance / 2).all()


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2), (1, 4)])
def test_the_mask_claims_as_much_of_its_orientation_as_the_input_and_no_more(tmp_path, codes, predict_volume):
    image = block_volume("LPS", codes=codes)
    path = tmp_path / "v.nii.gz"
    nibabel.save(image, path)
    stored = nibabel.load(path)
    _, folder = predict_volume(image, tmp_path)
    mask = nibabel.load(folder / "mask.nii.gz")
    assert np.allclose(mask.affine, stored.affine)
    assert np.allclose(mask.header.get_zooms(), stored.header.get_zooms())
    assert (mask.header["sform_code"] == 0 and mask.header["qform_code"] == 0) == (codes == (0, 0))


def test_a_sheared_affine_comes_back_and_no_rigid_one_is_claimed_beside_it(tmp_path, predict_volume):
    affine = AFFINE.copy()
    affine[0, 1] = 0.4
    image = nibabel.Nifti1Image(np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32), affine)
    _, folder = predict_volume(image, tmp_path)
    mask = nibabel.load(folder / "mask.nii.gz")
    assert np.allclose(mask.affine, affine)
    assert mask.header["qform_code"] == 0


def test_all_slices_are_listed_and_blank_ones_have_an_empty_mask(tmp_path, predict_volume, check_result):
    scan, folder = predict_volume(block_volume("LPS", blank=(0, 9)), tmp_path, axis=2)
    result = check_result(folder)
    assert [row["index"] for row in result["slices"]] == list(range(12))
    blank = [row for row in result["slices"] if row["blank"]]
    assert tuple(row["index"] for row in blank) == scan.blank
    assert len(blank) == 2
    for row in blank:
        assert row["mask_area_px"] == 0
        assert row["class"] is None
        assert "blank slice" in row["warnings"][0]
    mask = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)
    assert result["mask_voxels"] == mask.sum() == sum(row["lesion_area_px"] for row in result["slices"])
    assert result["mask_voxels"] == sum(lesion["voxels"] for lesion in result["lesions"]) > 0
    assert result["mask_volume_mm3"] == pytest.approx(mask.sum() * 1.5 * 1.25 * 3)


@pytest.mark.parametrize("pictures", ["key", "all", "none"])
def test_the_slices_that_are_asked_for_are_drawn(tmp_path, predict_volume, pictures):
    image = block_volume("LPS", blank=(3,), noise=0)
    image.dataobj[0, 0, :3] = image.dataobj[0, 0, 8:] = 1  # not blank
    _, folder = predict_volume(image, tmp_path, axis=2, writers=("json", "overlay"), pictures=pictures)
    (lesion,) = json.loads((folder / "result.json").read_text())["lesions"]
    indices = {"key": [lesion["largest_slice"]], "all": [index for index in range(12) if index != 3], "none": []}[pictures]
    assert sorted(path.name for path in folder.glob("slices/*")) == [f"{index:02d}.png" for index in indices]
    for path in folder.glob("slices/*"):
        with Image.open(path) as picture:
            assert picture.mode == "RGB"


def test_the_lesions_of_a_volume_are_listed_and_the_mask_is_theirs(tmp_path, predict_volume, check_result):
    _, folder = predict_volume(block_volume("LPS", noise=0), tmp_path, axis=2)
    result = check_result(folder)
    assert (result["tumour"], result["class"]) == (True, "glioma")
    assert result["tumour_score"] >= result["tumour_threshold"]
    (lesion,) = result["lesions"]
    assert lesion["slices"] == [3, 7]
    assert lesion["extent_mm"] == pytest.approx(15)
    assert lesion["volume_ml"] == pytest.approx(result["mask_volume_mm3"] / 1000, abs=1e-3)
    corners = nibabel.affines.apply_affine(AFFINE, [[span.start for span in BLOCK], [span.stop - 1 for span in BLOCK]])
    assert lesion["centroid_mm"] == pytest.approx(corners.mean(0), abs=1)


def test_a_volume_without_a_tumour_has_an_empty_mask_whatever_a_slice_shows(tmp_path, predict_volume, check_result):
    array = np.zeros(SHAPE, np.float32)
    array[10:14, 10:14, 5] = 1  # 0.1 ml
    _, folder = predict_volume(nibabel.Nifti1Image(array, AFFINE), tmp_path, axis=2, writers=None, pictures="all")
    result = check_result(folder)
    assert result["slices"][5]["mask_area_px"] > 0  # by itself
    assert (result["tumour"], result["lesions"], result["mask_voxels"]) == (False, [], 0)
    assert not np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj).any()


def test_a_picture_of_a_slice_agrees_with_the_volume():
    scan = make_slice(index=1)
    alone = Prediction(
        slice=scan,
        mask=np.ones(scan.image.shape, bool),
        classes=("glioma", NO_TUMOUR),
        class_prob=np.array([0.2, 0.8]),
        refer=True,
        warnings=("mask and class contradict each other", PHANTOM_MODEL),
    )
    labels = np.zeros((3, *scan.image.shape), np.uint8)
    labels[0, :5] = 1
    for index, label, agreement in ((0, "glioma", "agree"), (1, None, None)):
        findings = VolumeFindings(labels, (), 0.9, 0.5, {"glioma": 1.0, NO_TUMOUR: 0.0}, "glioma", ("about the volume",))
        shown = apply_findings(replace(alone, slice=replace(scan, index=index)), findings)
        assert (shown.label, shown.agreement, shown.refer) == (label, agreement, False)
        assert shown.warnings == (PHANTOM_MODEL, "about the volume")
        assert shown.mask_area_px == np.count_nonzero(labels[index])


def joint_prediction(index, *, ood, mask=0.9):
    item = make_slice(index=index, spacing_mm=(1.0, 1.0))
    shape = item.image.shape
    heads = UnfusedHeads("glioma", np.array([0.8, 0.1, 0.1]), 1, mask, mask_prob=np.full(shape, mask, np.float32))
    return Prediction(
        slice=item,
        mask_prob=np.zeros(shape, np.float32),
        classes=("glioma", "pituitary", NO_TUMOUR),
        class_prob=np.array([0.1, 0.1, 0.8]),
        unfused=heads,
        ood=OodScore(2.0 if ood else 1.0, 1.5),
    )


@pytest.mark.parametrize("ood", [True, False])
def test_a_volume_takes_the_mask_head_s_own_probabilities_and_says_where_it_is_out_of_distribution(ood):
    geometry = VolumeGeometry(np.diag([-1.0, -1.0, 4.0, 1.0]), (30, 40, 5), 2, np.array([[0, 1], [1, 1], [2, 1]]))
    evidence = VolumeEvidence(Scan("v.nii", [joint_prediction(index, ood=ood).slice for index in range(5)], geometry))
    for index in range(5):
        evidence.add(joint_prediction(index, ood=ood and index < 3))
    found = evidence.findings()
    assert found is evidence.findings()
    assert found.tumour
    assert found.label == "glioma"
    if ood:
        assert "out of distribution: 3 of the 5 slices that show the tumour" in found.warnings[0]
        assert found.class_prob["glioma"] == pytest.approx(0.6)
    else:
        assert found.warnings == ()
        assert found.class_prob["glioma"] == pytest.approx(0.8 / 0.9)


@pytest.mark.parametrize(("own", "tumour"), [(None, True), (0.5, True), (0.97, False)])
def test_a_model_s_own_threshold_decides_whether_a_lesion_is_reported(own, tumour):
    geometry = VolumeGeometry(np.diag([-1.0, -1.0, 4.0, 1.0]), (30, 40, 5), 2, np.array([[0, 1], [1, 1], [2, 1]]))
    evidence = VolumeEvidence(Scan("v.nii", [joint_prediction(index, ood=False).slice for index in range(5)], geometry))
    for index in range(5):
        evidence.add(replace(joint_prediction(index, ood=False), volume_threshold=own))
    found = evidence.findings()
    assert found.threshold == (own or VolumeRule().tumour_threshold)
    assert 0.85 < found.tumour_score < 0.97
    assert found.tumour is tumour


@pytest.mark.parametrize(("referred", "says"), [(3, True), (2, False)])
def test_a_volume_is_referred_where_most_slices_that_show_the_tumour_are(referred, says):
    geometry = VolumeGeometry(np.diag([-1.0, -1.0, 4.0, 1.0]), (30, 40, 5), 2, np.array([[0, 1], [1, 1], [2, 1]]))
    evidence = VolumeEvidence(Scan("v.nii", [joint_prediction(index, ood=False).slice for index in range(5)], geometry))
    for index in range(5):
        evidence.add(replace(joint_prediction(index, ood=False), refer=index < referred))
    assert (
        "refer to an expert: 3 of the 5 slices that show the tumour are referred by themselves" in evidence.findings().warnings
    ) == says


@pytest.mark.parametrize(("explained", "kept"), [("glioma", True), (NO_TUMOUR, False)])
def test_a_picture_shows_no_map_of_another_class_than_the_volume_s(explained, kept):
    item = make_slice(index=0)
    cam = np.ones(item.image.shape, np.float32)
    alone = Prediction(
        slice=item,
        classes=("glioma", NO_TUMOUR),
        class_prob=np.array([0.2, 0.8]),
        cam=cam,
        cam_class=explained,
        cam_strength=0.2,
    )
    labels = np.ones((1, *item.image.shape), np.uint8)
    shown = apply_findings(alone, VolumeFindings(labels, (), 0.9, 0.5, {"glioma": 1.0, NO_TUMOUR: 0.0}, "glioma"))
    assert (shown.cam is not None, shown.cam_class) == (kept, "glioma" if kept else None)
    assert (shown.cam_strength is not None) == kept


def test_nothing_of_the_input_s_description_reaches_the_mask(tmp_path, predict_volume):
    _, folder = predict_volume(block_volume("LPS"), tmp_path)
    assert b"Smith" not in nibabel.load(folder / "mask.nii.gz").header.binaryblock


def test_a_classifier_alone_writes_no_mask(tmp_path, predict_volume, check_result, cls):
    _, folder = predict_volume(block_volume("LPS"), tmp_path, runtimes=(cls,))
    assert not (folder / "mask.nii.gz").exists()
    result = check_result(folder)
    assert result["mask_voxels"] is None
    assert {row["mask_area_px"] for row in result["slices"]} == {None}


def test_a_warning_that_holds_for_all_slices_stands_at_the_top(tmp_path, predict_volume, check_result):
    phantom = BrightRuntime(make_card("seg", synthetic=True))
    _, folder = predict_volume(block_volume("LPS"), tmp_path, runtimes=(phantom,))
    assert any("synthetic phantoms" in text for text in check_result(folder)["warnings"])


def test_a_slice_without_prediction_or_a_picture_is_refused(tmp_path, predict_volume, seg):
    scan, _ = predict_volume(block_volume("LPS"), tmp_path, axis=2)
    with pytest.raises(InputError, match="1 of 12 slices have no prediction"):
        write_volume(scan, Predictor([seg]).predict_many(scan.slices[1:]), tmp_path / "out")
    Image.fromarray((200 * make_slice().image).astype(np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match="a picture where a volume is expected"):
        write_volume(read_scan(tmp_path / "x.png"), [], tmp_path / "out")
