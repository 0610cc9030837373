"""BRISC's two tasks: parts, classes, dirty masks, and the empty mask of a healthy slice."""

from __future__ import annotations

import numpy as np
import pytest
from source_files import brisc_root, picture, save

from bts.data.sources.catalogue import open_source
from bts.errors import InputError, RequestError


def test_classification_has_all_classes_and_the_masks_of_the_other_task(tmp_path):
    source = open_source("brisc", brisc_root(tmp_path))
    assert source.classes == ("meningioma", "glioma", "pituitary", "no_tumour")
    assert [record.part for record in source.records()].count("train") == 4
    for record in source.records():
        assert (record.mask is None) == (record.label == "no_tumour")


def test_masks_are_binarised_between_their_dirty_levels(tmp_path):
    source = open_source("brisc", brisc_root(tmp_path))
    expected = np.zeros((32, 32), bool)
    expected[8:12, 20:24] = True
    for record in source.records():
        mask = source.read(record).mask
        np.testing.assert_array_equal(mask, expected if record.label != "no_tumour" else np.zeros((32, 32), bool))


def test_without_the_segmentation_task_no_slice_has_a_mask(tmp_path):
    save(tmp_path / "classification_task" / "train" / "no_tumor" / "1.jpg", picture(1))
    source = open_source("brisc", tmp_path)
    assert source.read(source.records()[0]).mask is None


def test_segmentation_has_the_tumours_with_classes_from_the_names(tmp_path):
    source = open_source("brisc_seg", brisc_root(tmp_path))
    assert source.classes == ("meningioma", "glioma", "pituitary")
    assert [(record.part, record.label) for record in source.records()] == [
        (part, label) for part in ("test", "train") for label in ("glioma", "meningioma", "pituitary")
    ]
    assert all(source.read(record).mask.sum() == 16 for record in source.records())


def test_a_picture_without_its_mask_is_refused(tmp_path):
    root = brisc_root(tmp_path)
    next((root / "segmentation_task" / "train" / "masks").iterdir()).unlink()
    with pytest.raises(RequestError, match=r"1 picture without a mask \(first: segmentation_task/train/images/"):
        open_source("brisc_seg", root)


def test_a_name_without_class_is_refused(tmp_path):
    root = brisc_root(tmp_path)
    save(root / "segmentation_task" / "test" / "images" / "scan.jpg", picture(1))
    with pytest.raises(RequestError, match=r"scan\.jpg: no class in the name: expected one of _gl_"):
        open_source("brisc_seg", root)


def test_another_layout_is_refused_with_what_is_missing(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(RequestError, match="no folder 'classification_task' in it"):
        open_source("brisc", tmp_path)
    (tmp_path / "segmentation_task" / "train").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"train/images: no pictures in it"):
        open_source("brisc_seg", tmp_path)


def test_a_mask_of_another_size_is_an_input_error(tmp_path):
    root = brisc_root(tmp_path)
    source = open_source("brisc_seg", root)
    record = source.records()[0]
    save(root / record.mask, np.zeros((16, 16), np.uint8))
    with pytest.raises(InputError, match=r"\.jpg: mask of shape \(16, 16\) on a picture of shape \(32, 32\)"):
        source.read(record)


def test_a_torn_mask_is_an_input_error_that_names_the_mask(tmp_path):
    root = brisc_root(tmp_path)
    source = open_source("brisc_seg", root)
    record = source.records()[0]
    (root / record.mask).write_bytes(b"torn")
    with pytest.raises(InputError, match=r"masks/.*\.png: not a readable mask picture"):
        source.read(record)


def test_the_plane_is_read_from_the_name_and_unknown_without_it(tmp_path):
    assert {record.plane for record in open_source("brisc_seg", brisc_root(tmp_path)).records()} == {"axial"}
    save(tmp_path / "other" / "classification_task" / "train" / "glioma" / "1.jpg", picture(1))
    assert [record.plane for record in open_source("brisc", tmp_path / "other").records()] == [None]
