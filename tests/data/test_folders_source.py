"""Pictures in folders named by class: what is read, and what is refused in one line."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from source_files import folders_root, picture, save

from bts.apps.cli import main
from bts.data.sources.catalogue import open_source
from bts.errors import InputError, RequestError


def test_class_folders_without_parts_are_one_set(tmp_path):
    for name in ("Glioma_Tumor", "healthy", "abscess"):
        save(tmp_path / name / "1.png", picture(len(name)))
    source = open_source("folders", tmp_path)
    assert source.classes == ("glioma", "abscess", "no_tumour")
    assert {(record.path, record.label, record.part) for record in source.records()} == {
        ("Glioma_Tumor/1.png", "glioma", None),
        ("healthy/1.png", "no_tumour", None),
        ("abscess/1.png", "abscess", None),
    }


def test_published_parts_come_from_the_folders_around(tmp_path):
    records = open_source("folders", folders_root(tmp_path)).records()
    assert {record.part for record in records if record.path.startswith("Training/")} == {"train"}
    assert {record.part for record in records if record.path.startswith("Testing/")} == {"test"}
    assert len(records) == 16


def test_pictures_stand_in_natural_order(tmp_path):
    paths = [record.path for record in open_source("folders", folders_root(tmp_path)).records()]
    assert paths.index("Training/glioma/glioma_2.png") < paths.index("Training/glioma/glioma_10.png")


def test_several_roots_are_merged_and_named_from_their_common_folder(tmp_path):
    for root in ("one", "two"):
        save(tmp_path / root / "glioma" / "1.png", picture(3))
    source = open_source("folders", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert [record.path for record in source.records()] == ["one/glioma/1.png", "two/glioma/1.png"]
    assert source.read(source.records()[1]).label == "glioma"


@pytest.mark.parametrize("second", ["one", "one/glioma", "."])
def test_a_root_twice_or_within_another_is_refused(tmp_path, second):
    save(tmp_path / "one" / "glioma" / "1.png", picture(3))
    roots = os.pathsep.join([str(tmp_path / "one"), str(tmp_path / second)])
    with pytest.raises(RequestError, match="is inside another of the folders, or given twice"):
        open_source("folders", roots)


def test_hidden_files_and_notes_are_no_pictures(tmp_path):
    save(tmp_path / "glioma" / "1.png", picture(3))
    for name in (".DS_Store", "._1.png", "README.txt", "Thumbs.db"):
        (tmp_path / "glioma" / name).write_text("no picture")
    assert len(open_source("folders", tmp_path).records()) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_the_same_scan_in_every_mode_is_the_same_slice(tmp_path, mode):
    grey = picture(4)
    save(tmp_path / "glioma" / "grey.png", grey)
    stored = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    assert stored.mode == mode
    stored.save(tmp_path / "glioma" / "other.png")
    source = open_source("folders", tmp_path)
    one, other = (source.read(record).image for record in source.records())
    np.testing.assert_array_equal(other, one * (257 if mode == "I;16" else 1))


def test_an_empty_class_folder_is_named(tmp_path):
    root = folders_root(tmp_path)
    for file in (root / "Testing" / "notumor").iterdir():
        file.unlink()
    with pytest.raises(RequestError, match=r"Testing/notumor: the class folder holds no readable picture"):
        open_source("folders", root)


def test_pictures_one_folder_too_deep_are_told(tmp_path):
    save(tmp_path / "glioma" / "axial" / "1.png", picture(1))
    with pytest.raises(RequestError, match=r"glioma: .*but a folder 'axial': pictures must lie right in it"):
        open_source("folders", tmp_path)


def test_pictures_outside_of_class_folders_are_refused(tmp_path):
    root = folders_root(tmp_path)
    save(root / "Training" / "loose.png", picture(1))
    with pytest.raises(RequestError, match=r"Training: 1 picture outside of a class folder \(first: loose\.png\)"):
        open_source("folders", root)


def test_parts_and_classes_in_one_folder_are_refused(tmp_path):
    root = folders_root(tmp_path)
    save(root / "glioma" / "1.png", picture(1))
    with pytest.raises(RequestError, match=r"'Testing' is a part and 'glioma' a class"):
        open_source("folders", root)


def test_a_folder_with_pictures_only_is_refused(tmp_path):
    save(tmp_path / "1.png", picture(1))
    with pytest.raises(RequestError, match="no folders named by class in it"):
        open_source("folders", tmp_path)


def test_an_unreadable_picture_is_named_when_it_is_read(tmp_path):
    (tmp_path / "glioma").mkdir()
    (tmp_path / "glioma" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    source = open_source("folders", tmp_path)
    with pytest.raises(InputError, match=r"glioma/torn\.png: not a readable picture"):
        source.read(source.records()[0])


@pytest.mark.parametrize(("name", "what"), [("seg", "masks"), ("Masks", "masks"), ("img", "pictures of any class")])
def test_a_folder_of_masks_or_of_all_pictures_is_no_class(tmp_path, name, what):
    save(tmp_path / "glioma" / "1.png", picture(3))
    save(tmp_path / name / "1.png", picture(4))
    with pytest.raises(
        RequestError, match=rf"{name}: looks like a folder of {what}, not a class: .*`bts manifest .* --pattern"
    ):
        open_source("folders", tmp_path)


def test_a_class_that_no_public_set_has_is_named_with_the_nearest(tmp_path, capsys):
    for name in ("glioma", "gliom", "abscess"):
        save(tmp_path / name / "1.png", picture(3))
    assert main(["sources", f"folders:{tmp_path}", "--no-masks"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "no class of the public sets" not in lines["glioma"]
    assert "did you mean 'glioma'?" in lines["gliom"]
    assert "used as a class of its own" in lines["abscess"]
