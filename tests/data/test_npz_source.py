"""Arrays in .npz files: what is accepted, and that nothing in them is ever run."""

from __future__ import annotations

import numpy as np
import pytest
from source_files import npz_root, picture

from bts.data.sources.catalogue import open_source
from bts.errors import InputError, RequestError

IMAGES = np.stack([picture(i) for i in range(3)])
LABELS = np.array(["glioma", "notumor", "glioma"])


class Trap:
    """Says when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung = True


def test_parts_come_from_the_file_names_and_classes_from_the_names_given(tmp_path):
    source = open_source("npz", npz_root(tmp_path))
    assert source.classes == ("glioma", "no_tumour")
    assert [(record.path, record.label, record.patient, record.part) for record in source.records()] == [
        ("test.npz#0", "glioma", None, "test"),
        ("test.npz#1", "no_tumour", None, "test"),
        ("train.npz#0", "glioma", "a", "train"),
        ("train.npz#1", "no_tumour", "a", "train"),
        ("train.npz#2", "glioma", "b", "train"),
        ("train.npz#3", "glioma", "c", "train"),
    ]


def test_pixels_and_masks_are_those_stored(tmp_path):
    source = open_source("npz", npz_root(tmp_path))
    by_path = {record.path: record for record in source.records()}
    found = source.read(by_path["train.npz#2"])
    np.testing.assert_array_equal(found.image, picture(2))
    assert np.argwhere(found.mask).min(0).tolist() == [3, 5]
    assert int(found.mask.sum()) == 12
    colour = source.read(by_path["test.npz#1"])
    np.testing.assert_array_equal(colour.image, picture(1) // 2)
    assert colour.mask is None


def test_one_file_may_be_named(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES / 255, labels=LABELS)
    source = open_source("npz", tmp_path / "mine.npz")
    assert [record.part for record in source.records()] == [None] * 3
    assert source.read(source.records()[0]).image.max() <= 1


def test_pickled_objects_are_refused_before_they_run(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=np.array([Trap(), 1, 2], dtype=object))
    with pytest.raises(RequestError, match=r"train\.npz: 'labels' holds pickled objects, .*: store plain arrays"):
        open_source("npz", tmp_path)
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": LABELS[:2]}, r"arrays of unequal length \(3 images, 2 labels\)"),
        ({"images": IMAGES, "labels": LABELS, "patients": np.array(["a"])}, r"\(3 images, 3 labels, 1 patients\)"),
        ({"images": IMAGES, "labels": LABELS, "masks": np.zeros((3, 8, 8))}, r"masks of shape \(3, 8, 8\) on images of shape"),
        ({"images": IMAGES}, r"no array 'labels' in it \(there is images\)"),
        ({"x": IMAGES, "y": LABELS}, r"no array 'images' in it \(there is x, y\)"),
        ({"images": IMAGES[0], "labels": LABELS}, r"unequal length"),
        ({"images": IMAGES[0, 0, :3], "labels": LABELS}, r"images of shape \(3,\): expected \(N, rows, columns\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no slices in it"),
        ({"images": IMAGES, "labels": np.array([0, 1, 0])}, "labels are numbers and no array 'classes' names them"),
        ({"images": IMAGES, "labels": np.array([0, 1, 2]), "classes": LABELS[:2]}, r"labels from 0 to 2 with 2 classes"),
        ({"images": IMAGES, "labels": np.eye(3)}, r"labels of kind float64 and shape \(3, 3\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(RequestError, match=message) as caught:
        open_source("npz", tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "train.npz"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "train.npz").write_bytes(b"no archive")
    with pytest.raises(RequestError, match=r"train\.npz: no \.npz file"):
        open_source("npz", tmp_path)


def test_a_coloured_picture_is_an_input_error_with_its_place(tmp_path):
    colour = np.zeros((1, 32, 32, 3), np.uint8)
    colour[0, :16, :, 0] = 200
    np.savez(tmp_path / "test.npz", images=colour, labels=LABELS[:1])
    source = open_source("npz", tmp_path)
    with pytest.raises(InputError, match=r"test\.npz#0: a coloured picture"):
        source.read(source.records()[0])
    np.savez(tmp_path / "test.npz", images=colour / 255, labels=LABELS[:1])
    again = open_source("npz", tmp_path)
    with pytest.raises(InputError, match=r"test\.npz#0: a coloured picture"):
        again.read(again.records()[0])


def test_an_array_that_is_not_there_is_an_input_error(tmp_path):
    source = open_source("npz", npz_root(tmp_path))
    record = source.records()[0]
    with pytest.raises(InputError, match=r"test\.npz#9: no such array"):
        source.read(type(record)(path="test.npz#9", label="glioma"))
