"""A user's own table: what a row can say, and which mistakes are told in one line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from source_files import manifest_root, picture, save, write_manifest

from bts.data.sources.catalogue import open_source
from bts.errors import InputError, RequestError


def test_a_row_says_path_class_mask_patient_and_part(tmp_path):
    source = open_source("manifest", manifest_root(tmp_path))
    first, healthy, third, last = source.records()
    assert (first.path, first.label, first.mask, first.patient, first.part) == (
        "pictures/1.png",
        "glioma",
        "masks/1.png",
        "p1",
        "train",
    )
    assert (healthy.label, healthy.part) == ("no_tumour", "test")
    assert third.part == "val"
    assert (last.label, last.patient, last.part, last.mask) == (None, None, None, None)
    assert source.classes == ("glioma", "no_tumour")


def test_the_table_may_have_any_name_and_only_paths(tmp_path):
    save(tmp_path / "a.png", picture(1))
    file = write_manifest(tmp_path, [{"path": "./a.png"}], name="mine.csv")
    source = open_source("manifest", file)
    assert source.root == tmp_path
    assert [record.path for record in source.records()] == ["a.png"]
    assert source.read(source.records()[0]).mask is None


def test_where_there_are_masks_a_healthy_slice_has_an_empty_one(tmp_path):
    source = open_source("manifest", manifest_root(tmp_path))
    masks = [source.read(record).mask for record in source.records()]
    assert [None if mask is None else int(mask.sum()) for mask in masks] == [25, 0, None, None]


def test_masks_of_zeros_and_ones_palettes_and_16_bits_mean_the_same(tmp_path):
    outline = np.zeros((32, 32), np.uint8)
    outline[3:7, 3:9] = 1
    palette = Image.fromarray(outline).convert("P")
    palette.putpalette([0, 0, 0, 90, 0, 0])
    kinds = {
        "ones": Image.fromarray(outline),
        "full": Image.fromarray(outline * 255),
        "bits": Image.fromarray(outline.astype(bool)),
        "colour": Image.fromarray(outline * 255).convert("RGB"),
        "deep": Image.fromarray(outline.astype(np.uint16) * 65535),
        "palette": palette,
    }
    rows = []
    for name, mask in kinds.items():
        save(tmp_path / f"{name}.png", picture(2))
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / f"{name}.png")
        rows.append({"path": f"{name}.png", "mask": f"masks/{name}.png"})
    write_manifest(tmp_path, rows)
    source = open_source("manifest", tmp_path)
    for record in source.records():
        np.testing.assert_array_equal(source.read(record).mask, outline.astype(bool), err_msg=record.path)


def test_an_empty_mask_file_is_an_empty_mask(tmp_path):
    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "mask.png", np.zeros((32, 32), np.uint8))
    write_manifest(tmp_path, [{"path": "a.png", "mask": "mask.png"}])
    source = open_source("manifest", tmp_path)
    assert source.read(source.records()[0]).mask.sum() == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"path": "a.png"}, {"path": "./a.png"}], r"'a\.png' is in lines 2 and 3: name each picture once"),
        ([{"path": "b.png"}], r"1 file missing \(first: 'b\.png' in line 2\)"),
        ([{"path": "a.png", "mask": "b.png"}], r"1 file missing \(first: 'b\.png' in line 2\)"),
        ([{"path": ""}], "line 2 has no path"),
        ([{"path": "/a.png"}], "expected a path relative to the manifest"),
        ([{"path": "sub\\a.png"}], "with forward slashes"),
        (
            [{"path": "a.png", "split": "trian"}],
            r"line 2: split 'trian' \(did you mean 'train'\?\): expected train, val or test",
        ),
        ([{"path": "a.png", "pateint_id": "1"}], r"unknown column 'pateint_id' \(did you mean 'patient_id'\?\)"),
        ([{"paths": "a.png"}], r"no column 'path' \(did you mean 'paths'\?\)"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path, rows, message):
    save(tmp_path / "a.png", picture(1))
    write_manifest(tmp_path, rows)
    with pytest.raises(RequestError, match=message) as caught:
        open_source("manifest", tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "manifest.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\n", "no slices in it"),
        (b"path,label\na.png\n", "line 2 has not as many cells as the first line"),
        (b"path,label\na.png,glioma,50\n", "line 2 has not as many cells as the first line"),
        (b"path\n\xff\xfe.png\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        open_source("manifest", tmp_path)


def test_a_mask_that_went_missing_is_named(tmp_path):
    source = open_source("manifest", manifest_root(tmp_path))
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(InputError, match=r"masks/1\.png: no such mask file"):
        source.read(source.records()[0])


def test_a_path_behind_a_linked_folder_is_the_one_that_the_system_opens(tmp_path):
    """`link/../a.png` lies beside the folder that the link leads to; removing `link/..` would name another picture."""
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "far" / "deep")
    save(tmp_path / "far" / "a.png", picture(1))
    save(tmp_path / "set" / "a.png", picture(2))
    source = open_source("manifest", write_manifest(tmp_path / "set", [{"path": "link/../a.png"}]))
    np.testing.assert_array_equal(source.read(source.records()[0]).image, picture(1))
