from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bts.data.split import Split, SplitRow
from bts.errors import RequestError

ROWS = (
    SplitRow("1.mat", "100360", "meningioma", "train"),
    SplitRow("2.mat", "MR040240", "glioma", "val"),
    SplitRow("sub, folder/3.mat", 'MR"7"', "glioma", "test"),
    SplitRow("4.mat", "Müller", "", "train"),
)


def _write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_a_patient_on_two_sides_is_refused_by_name() -> None:
    rows = (SplitRow("1.mat", "100360", "glioma", "train"), SplitRow("2.mat", "100360", "glioma", "test"))
    with pytest.raises(RequestError, match=r"patient 100360 is in train \(slice 1\.mat\) and in test \(slice 2\.mat\)"):
        Split(rows=rows, same_patient="exact")


def test_a_patient_of_two_ids_on_two_sides_is_refused_with_both_names_and_the_way_out() -> None:
    rows = (SplitRow("1.mat", "MR040240", "glioma", "train"), SplitRow("2.mat", "MR040240B", "glioma", "test"))
    with pytest.raises(RequestError, match=r"MR040240 \(train\) and MR040240B \(test\).*--split\.same_patient exact"):
        Split(rows=rows)
    assert len(Split(rows=rows, same_patient="exact").rows) == 2


@pytest.mark.parametrize("patient", ["", "  "])
def test_a_slice_without_patient_is_refused(patient: str) -> None:
    with pytest.raises(RequestError, match=r"slice 1\.mat has no patient"):
        Split(rows=(SplitRow("1.mat", patient, "glioma", "train"),))


def test_a_slice_named_twice_is_refused() -> None:
    with pytest.raises(RequestError, match=r"slice 1\.mat is named twice"):
        Split(rows=(ROWS[0], ROWS[0]))


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"part 'tain' \(did you mean 'train'\?\): choose one of train, val, test"):
        Split(rows=(SplitRow("1.mat", "1", "glioma", "tain"),))  # type: ignore[arg-type]


def test_part_returns_its_rows_in_order() -> None:
    assert Split(rows=ROWS).part("train") == [ROWS[0], ROWS[3]]


def test_the_csv_gives_the_split_back(tmp_path: Path) -> None:
    split = Split(rows=ROWS, same_patient="exact")
    split.write(tmp_path / "new" / "split.csv")
    again = Split.read(tmp_path / "new" / "split.csv", same_patient="exact")
    assert again == split
    assert again.fingerprint == split.fingerprint
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["split.csv"]


def test_the_header_is_path_patient_label_part(tmp_path: Path) -> None:
    Split(rows=ROWS).write(tmp_path / "split.csv")
    lines = (tmp_path / "split.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["path,patient,label,part", "1.mat,100360,meningioma,train"]


def test_the_fingerprint_does_not_depend_on_the_order_of_rows() -> None:
    rows = list(ROWS)
    random.Random(0).shuffle(rows)
    assert tuple(rows) != ROWS
    assert Split(rows=tuple(rows)).fingerprint == Split(rows=ROWS).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        SplitRow("5.mat", "100360", "meningioma", "train"),
        SplitRow("1.mat", "100361", "meningioma", "train"),
        SplitRow("1.mat", "100360", "glioma", "train"),
        SplitRow("1.mat", "100360", "meningioma", "test"),
    ],
)
def test_the_fingerprint_changes_with_every_field(other: SplitRow) -> None:
    fingerprint = Split(rows=(other, *ROWS[1:])).fingerprint
    assert fingerprint != Split(rows=ROWS).fingerprint
    assert len(fingerprint) == 16
    assert set(fingerprint) <= set("0123456789abcdef")


def test_a_spreadsheet_s_csv_with_more_columns_in_another_order_is_read(tmp_path: Path) -> None:
    text = "part,note,label,patient,path\r\ntrain,x,glioma, 7 ,1.mat\r\n"
    path = _write(tmp_path / "split.csv", text, encoding="utf-8-sig")
    assert Split.read(path).rows == (SplitRow("1.mat", "7", "glioma", "train"),)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "split.csv", "path,label,part\n1.mat,glioma,train\n")
    with pytest.raises(RequestError, match=r"split\.csv: a split needs the columns .*; patient is missing"):
        Split.read(path)


def test_an_empty_file_lacks_all_columns(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"path, patient, label, part is missing"):
        Split.read(_write(tmp_path / "split.csv", ""))


def test_a_short_line_is_named_by_number(tmp_path: Path) -> None:
    path = _write(tmp_path / "split.csv", "path,patient,label,part\n1.mat,1,glioma,train\n2.mat,2\n")
    with pytest.raises(RequestError, match=r"split\.csv: line 3 has too few cells"):
        Split.read(path)


def test_a_missing_file_is_one_line_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere\.csv: the split can't be read \(No such file") as caught:
        Split.read(tmp_path / "nowhere.csv")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"split\.csv: a split needs the columns path"):
        Split.read(tmp_path / "split.csv")


def test_a_patient_on_two_sides_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "split.csv", "path,patient,label,part\n1.mat,9,glioma,train\n2.mat,9,glioma,val\n")
    with pytest.raises(RequestError, match=r"split\.csv: patient 9 is in train .* and in val"):
        Split.read(path)


def test_a_folder_that_can_t_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match=r"split\.csv: the split can't be written"):
        Split(rows=ROWS).write(tmp_path / "file" / "split.csv")


def test_a_full_disk_leaves_the_old_split_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "split.csv"
    Split(rows=ROWS[:1]).write(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RequestError, match=r"No space left on device"):
        Split(rows=ROWS).write(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["split.csv"]
