"""What a folder holds is read, or counted and named in one line; unmistakable layouts are recognised."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from figshare_files import write_cvind5, write_mat5, write_mat7
from source_files import brisc_root, folders_root, manifest_root, npz_root, picture, save

from bts.apps.audit import open_sets
from bts.data.sources.catalogue import detect_source, open_source
from bts.data.sources.labels import class_name
from bts.errors import RequestError


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="bts")
    return caplog


@pytest.mark.parametrize(
    "name",
    ["no_tumor", "no_tumors", "No Tumours", "notumors", "non_tumor", "non-tumour", "NonTumor", "not_tumor", "without tumor",
     "no_brain_tumor", "tumor_free", "nontumorous", "Normal", "healthy_brain", "no"],
)  # fmt: skip
def test_publishers_names_of_healthy_slices_are_one_class(name: str) -> None:
    assert class_name(name) == "no_tumour"


@pytest.mark.parametrize("name", ["glioma", "Glioma_Tumor", "glioma tumors", "glioma-tumour"])
def test_names_with_tumour_behind_are_the_class_alone(name: str) -> None:
    assert class_name(name) == "glioma"


def test_a_numbered_file_is_a_figshare_slice_whatever_its_zeros_and_capitals(tmp_path: Path) -> None:
    write_mat7(tmp_path / "0001.mat", label=1.0)
    write_mat5(tmp_path / "2.MAT", label=2.0)
    write_cvind5(tmp_path / "CVIND.mat", [5, 3])
    records = open_source("figshare", tmp_path).records()
    assert [(record.path, record.label, record.fold) for record in records] == [
        ("0001.mat", "meningioma", 5),
        ("2.MAT", "glioma", 3),
    ]
    write_mat7(tmp_path / "1.mat")
    with pytest.raises(RequestError, match=r"slice 1 is there twice \((0001|1)\.mat, (0001|1)\.mat\)"):
        open_source("figshare", tmp_path)


def test_other_mat_files_of_a_figshare_folder_are_counted_and_named(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    write_mat7(tmp_path / "1.mat")
    write_mat7(tmp_path / "scan_2.mat")
    write_mat7(tmp_path / "scan_3.mat")
    assert len(open_source("figshare", tmp_path).records()) == 1
    assert f"{tmp_path}: 2 .mat files without a number as name are not used (first: scan_2.mat)" in log.text


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_linked_folders_are_read_once_and_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    write_mat7(tmp_path / "disk" / "1.mat")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "set", target_is_directory=True)
    assert [record.path for record in open_source("figshare", tmp_path / "set").records()] == ["part/1.mat"]
    save(tmp_path / "pictures" / "1.png", picture(1))
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "glioma").symlink_to(tmp_path / "pictures", target_is_directory=True)
    assert [record.path for record in open_source("folders", tmp_path / "classes").records()] == ["glioma/1.png"]


def test_what_is_no_scan_in_a_class_folder_is_counted_and_named(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "glioma" / "1.png", picture(1))
    for name in ("notes.txt", "table.xlsx"):
        (tmp_path / "glioma" / name).write_text("not a scan")
    (tmp_path / "glioma" / "IM0001").write_bytes(bytes(128) + b"DICM")
    paths = [record.path for record in open_source("folders", tmp_path).records()]
    assert paths == ["glioma/1.png", "glioma/IM0001"]
    assert f"{tmp_path / 'glioma'}: 2 files that are not scans are skipped (first: notes.txt)" in log.text


def test_a_folder_of_unlabelled_pictures_is_no_class(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """As in Br35H: `yes`, `no` and `pred`."""
    for name in ("yes", "no", "pred"):
        save(tmp_path / name / "1.png", picture(len(name)))
    source = open_source("folders", tmp_path)
    assert source.classes == ("yes", "no_tumour")
    assert len(source.records()) == 2
    assert f"{tmp_path / 'pred'}: 1 pictures without a label are not used" in log.text


@pytest.mark.parametrize("column", ["patient_id", "subject_id", "pid", "PatientID", "Patient ID", "participant_id", "Subject"])
def test_a_column_of_patients_is_recognised(column: str, tmp_path: Path) -> None:
    save(tmp_path / "1.png", picture(1))
    (tmp_path / "manifest.csv").write_text(f"path,label,{column}\n1.png,glioma,p7\n")
    assert [record.patient for record in open_source("manifest", tmp_path).records()] == ["p7"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("patient_id,subject_id", "the columns 'patient_id' and 'subject_id' all name patients: keep one as patient_id"),
        ("case_id,age", "the column 'case_id' may name the patients: rename it to patient_id if it does"),
    ],
)
def test_columns_that_may_name_patients_are_refused_by_name(columns: str, message: str, tmp_path: Path) -> None:
    save(tmp_path / "1.png", picture(1))
    (tmp_path / "manifest.csv").write_text(f"path,{columns}\n1.png,a,b\n")
    with pytest.raises(RequestError, match=message):
        open_source("manifest", tmp_path)


def test_unmistakable_layouts_are_recognised(tmp_path: Path) -> None:
    made = {name: tmp_path / name for name in ("brisc", "folders", "manifest", "npz", "figshare", "brisc_seg")}
    for folder in made.values():
        folder.mkdir()
    brisc_root(made["brisc"])
    folders_root(made["folders"])
    manifest_root(made["manifest"])
    npz_root(made["npz"])
    (made["figshare"] / "part1").mkdir()
    write_mat7(made["figshare"] / "part1" / "7.mat")
    (brisc_root(tmp_path / "whole") / "segmentation_task").rename(made["brisc_seg"] / "segmentation_task")
    assert {name: detect_source(folder) for name, folder in made.items()} == {name: name for name in made}
    assert detect_source(made["npz"] / "train.npz") == "npz"
    assert detect_source(made["manifest"] / "manifest.csv") == "manifest"


def test_two_layouts_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_mat7(tmp_path / "1.mat")
    np.savez(tmp_path / "train.npz", images=np.zeros((1, 4, 4)))
    with pytest.raises(RequestError, match=r"it has the layouts of npz and figshare: name one, as npz:"):
        detect_source(tmp_path)
    with pytest.raises(RequestError, match="nowhere: no such folder"):
        detect_source(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="these names are not possible there")
def test_a_colon_in_a_path_is_part_of_the_name(tmp_path: Path) -> None:
    """`:` separates several roots, and a set's name from its folder, but not in the path of a folder that exists."""
    folder = tmp_path / "12:30" / "set:1"
    folder.mkdir(parents=True)
    folders_root(folder)
    assert open_source("folders", folder).records()
    assert open_sets([str(folder)])[0].source.records()
    assert open_sets([f"folders:{folder}"])[0].source.records()
