"""Cheng's set on disk: which files are slices, their labels, patients and folds, and what stops a start."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from figshare_files import MASK, write_cvind5, write_cvind7, write_mat5, write_mat7

from bts.data.sources.catalogue import open_source
from bts.data.sources.figshare import Figshare
from bts.errors import InputError, RequestError

FOLDS = pytest.mark.parametrize("write_cvind", [write_cvind5, write_cvind7], ids=["mat5", "mat73"])


@pytest.fixture
def root(tmp_path):
    """Slices 2, 10 and 1 of two patients, in two folders as the publisher's archives unpack."""
    (tmp_path / "brainTumorDataPublic_1-5").mkdir()
    write_mat7(tmp_path / "10.mat", label=3, patient="88510")
    write_mat7(tmp_path / "brainTumorDataPublic_1-5" / "2.mat", label=2, patient="MR040240B")
    write_mat5(tmp_path / "1.mat", label=1, patient="88510")
    return tmp_path


def test_records_come_in_the_order_of_the_numbers(root):
    found = [(record.path, record.label, record.patient) for record in Figshare(root).records()]
    assert found == [
        ("1.mat", "meningioma", "88510"),
        ("brainTumorDataPublic_1-5/2.mat", "glioma", "MR040240B"),
        ("10.mat", "pituitary", "88510"),
    ]


def test_other_matlab_files_are_no_slices(root):
    write_cvind5(root / "cvind.mat", [1] * 10)
    write_cvind5(root / "notes.mat", [1])
    assert len(Figshare(root).records()) == 3


@FOLDS
@pytest.mark.parametrize("column", [True, False], ids=["Nx1", "1xN"])
def test_folds_are_the_entries_at_the_slice_numbers(root, write_cvind, column):
    write_cvind(root / "cvind.mat", [3, 5, 9, 9, 9, 9, 9, 9, 9, 2, 9], column=column)
    assert [record.fold for record in Figshare(root).records()] == [3, 5, 2]


def test_folds_are_found_in_a_folder_below(root):
    write_cvind7(root / "brainTumorDataPublic_1-5" / "cvind.mat", list(range(1, 11)))
    assert [record.fold for record in Figshare(root).records()] == [1, 2, 10]


def test_without_fold_file_there_are_no_folds(root):
    assert {record.fold for record in Figshare(root).records()} == {None}


@FOLDS
def test_too_few_folds_are_refused(root, write_cvind):
    write_cvind(root / "cvind.mat", [1, 2, 3])
    with pytest.raises(InputError, match=r"cvind\.mat: 3 folds, but there is a slice 10\.mat: it belongs to another set"):
        Figshare(root).records()


@FOLDS
@pytest.mark.parametrize("wrong", [0, 1.5, float("nan"), -1])
def test_folds_that_are_no_whole_numbers_are_refused(root, write_cvind, wrong):
    write_cvind(root / "cvind.mat", [wrong] * 10)
    with pytest.raises(InputError, match=r"cvind\.mat: expected whole folds from 1 on"):
        Figshare(root).records()


def test_damaged_or_other_fold_file_is_refused(root):
    (root / "cvind.mat").write_bytes(b"")
    with pytest.raises(InputError, match=r"cvind\.mat: neither MATLAB 7\.3"):
        Figshare(root).records()
    write_mat7(root / "cvind.mat")
    with pytest.raises(InputError, match=r"cvind\.mat: variable 'cvind' is missing"):
        Figshare(root).records()


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch], ids=["missing", "empty", "a_file"])
def test_no_data_names_the_folder_and_the_two_ways(tmp_path, make):
    make(tmp_path / "data")
    with pytest.raises(RequestError, match=r"data: .*`bts download`, or make a synthetic set with `bts phantom`"):
        open_source("figshare", tmp_path / "data")


def test_a_folder_with_only_the_folds_has_no_data(tmp_path):
    write_cvind5(tmp_path / "cvind.mat", [1])
    with pytest.raises(RequestError, match="no figshare slices"):
        Figshare(tmp_path)


def test_a_slice_that_stands_twice_is_refused(root):
    write_mat7(root / "brainTumorDataPublic_1-5" / "10.mat")
    with pytest.raises(
        RequestError, match=r"slice 10 is there twice \(10\.mat, brainTumorDataPublic_1-5/10\.mat\): delete one"
    ):
        Figshare(root)


def test_unusable_files_are_named_and_counted(root):
    write_mat7(root / "3.mat", label=9)
    (root / "4.mat").write_bytes(b"junk")
    write_mat7(root / "5.mat", patient="")
    with pytest.raises(InputError, match=r"3\.mat: label is 9: .* \(and 2 more files that can't be used\)"):
        Figshare(root).records()


def test_reading_a_damaged_slice_names_it(root):
    source = Figshare(root)
    record = source.records()[0]
    (root / record.path).write_bytes(b"junk")
    with pytest.raises(InputError, match=rf"{record.path}: neither MATLAB"):
        source.read(record)
    (root / record.path).unlink()
    with pytest.raises(InputError, match=rf"{record.path}: can't be read \(No such file or directory\)"):
        source.read(record)


def test_a_real_set_has_three_classes_and_no_healthy_slices(root):
    source = Figshare(root)
    assert source.classes == ("meningioma", "glioma", "pituitary")
    assert not source.synthetic
    write_mat7(root / "3.mat", label=0, mask=MASK & False)
    with pytest.raises(InputError, match=r"3\.mat: label is 0: expected one of 1 meningioma"):
        Figshare(root).records()


def test_phantoms_among_real_slices_are_refused(root):
    write_mat7(root / "11.mat", synthetic=True)
    with pytest.raises(RequestError, match="phantoms and real slices in one folder: keep them apart"):
        Figshare(root).records()


def shared() -> Path:
    return Path(os.environ.get("BTS_SHARED", Path(__file__).parents[3] / "shared"))


def test_the_real_set_agrees_with_the_published_table():
    table, root = shared() / "data" / "figshare" / "patients.csv", os.environ.get("BTS_FIGSHARE", "data/figshare")
    if not table.exists() or not Path(root).is_dir():
        pytest.skip("needs the real slices (BTS_FIGSHARE or data/figshare) and BTS_SHARED with their table")
    with open(table, newline="") as file:
        rows = {f"{row['slice']}.mat": (row["label_name"], row["pid"], int(row["cv_fold"])) for row in csv.DictReader(file)}
    source = Figshare(Path(root))
    records = source.records()
    assert {Path(r.path).name: (r.label, r.patient, r.fold) for r in records} == rows
    assert Counter(r.label for r in records) == {"glioma": 1426, "pituitary": 930, "meningioma": 708}
    assert len({r.patient for r in records}) == 233


def test_unusable_files_are_skipped_by_name_where_that_is_asked_for(root, caplog):
    write_mat7(root / "0001.mat").rename(root / "3.mat")
    (root / "1.mat").write_bytes(b"junk")  # also the first file of the set
    write_mat7(root / "5.mat", patient="")
    records = open_source("figshare", root, skip_unreadable=True).records()
    assert [record.path for record in records] == ["brainTumorDataPublic_1-5/2.mat", "3.mat", "10.mat"]
    assert "1.mat: neither MATLAB 7.3" in caplog.text
    assert "5.mat: PID is empty" in caplog.text
    with pytest.raises(InputError, match=r"1\.mat: neither MATLAB .* \(and 1 more files that can't be used\)"):
        open_source("figshare", root).records()


def test_healthy_phantoms_are_a_class_whatever_stands_beside_them(root):
    for number, label in ((1, 1), (2, 0), (10, 2)):
        write_mat7(root / f"{number}.mat", label=label, synthetic=True, mask=MASK & (label > 0))
    (root / "brainTumorDataPublic_1-5" / "2.mat").unlink()
    (root / "4.mat").write_bytes(b"junk")
    source = open_source("figshare", root, skip_unreadable=True)
    assert source.classes[-1] == "no_tumour"
    assert len(source.records()) == 3
