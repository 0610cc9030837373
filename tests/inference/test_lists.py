"""Lists of inputs: what they name, in order, and one line for what is no list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts.csv_files import writer
from bts.errors import RequestError
from bts.inference import lists
from bts.inference.inputs import expand, find_inputs
from bts.inference.lists import MAX_BYTES, read_list


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Files that have the names of scans, in a folder beside that of the list."""
    for name in ("scans/10.png", "scans/9.png", "scans/deep/8.png", "lists/7.png", "scans/empty/notes.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "scans"


def listed(scans: Path, text: str | bytes, name: str = "list.txt") -> list[str]:
    """Inputs of a list, as seen from its folder."""
    path = scans.parent / "lists" / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return [os.path.relpath(found, path.parent).replace(os.sep, "/") for found in expand([path])]


@pytest.mark.parametrize(
    "text",
    [
        "../scans/10.png\n../scans/9.png\n7.png\n",
        "../scans/10.png\r\n\r\n  ../scans/9.png \r\n7.png",  # of Windows, with blanks
        "\ufeff../scans/10.png\n../scans/9.png\n7.png\n7.png\n",
    ],
)
def test_a_list_names_files_relative_to_its_folder_each_once_in_its_order(text: str, scans: Path) -> None:
    assert listed(scans, text) == ["../scans/10.png", "../scans/9.png", "7.png"]


def test_an_absolute_path_and_a_folder_in_a_list_are_taken(scans: Path) -> None:
    assert listed(scans, f"7.png\n{scans}\n") == ["7.png", "../scans/9.png", "../scans/10.png", "../scans/deep/8.png"]


def test_a_table_names_files_by_its_column(scans: Path) -> None:
    text = 'patient,path\n1,"../scans/10.png"\n2,7.png\n3\n'
    assert listed(scans, text, "table.CSV") == ["../scans/10.png", "7.png"]


def test_a_path_that_a_table_escapes_as_a_formula_is_the_original(scans: Path) -> None:
    with (scans / "table.csv").open("w", newline="") as file:
        writer(file).writerows([["path"], ["=1.png"]])
    assert expand([scans / "table.csv"]) == [scans / "=1.png"]


def test_dicom_under_the_name_of_a_list_is_a_scan(scans: Path) -> None:
    assert listed(scans, bytes(128) + b"DICM\0\0", "IM.txt") == ["IM.txt"]


def test_what_a_list_names_is_found_together_as_in_a_folder(scans: Path) -> None:
    (scans / "list.txt").write_text("9.png\ndeep\n")
    found = find_inputs([scans / "10.png", scans / "list.txt"])
    assert found.together == {scans / "9.png", scans / "deep" / "8.png"}


def test_what_is_missing_or_no_scan_stays_for_the_job_to_name(scans: Path) -> None:
    lines = ["gone.png", "list.txt", "../scans/empty", "x" * 300 + ".png", "y" * 300 + ".zip", "[.png", "7.png"]
    assert listed(scans, "\n".join(lines)) == lines


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b"", "list.txt: a list without a path: write one per line"),
        ("list.txt", b"\n \r\n", "list.txt: a list without a path"),
        ("list.txt", b"a.png\nb\0.png\n", "list.txt: line 2 holds a NUL byte, expected paths: save the list as UTF-8 text"),
        ("list.txt", "a.png\n".encode("utf-16"), "list.txt: line 1 holds a NUL byte"),
        ("list.csv", b"patient,file\n1,a.png\n", "list.csv: expected a column 'path', found patient, file"),
        ("list.csv", b"", "list.csv: expected a column 'path', found nothing"),
        ("list.csv", b"path\na\0.png\n", "list.csv: line 2 holds a NUL byte"),
        ("list.csv", b'path\n"' + b"a" * 200_000, "list.csv: not a readable table (field larger than field limit"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError) as caught:
        expand([tmp_path / name])
    assert str(caught.value).startswith(f"{tmp_path}{os.sep}{message}")
    assert "\n" not in str(caught.value)


def test_a_list_of_too_many_lines_is_refused(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_LINES", 3)
    assert listed(scans, "7.png\n\n\n") == ["7.png"]
    with pytest.raises(RequestError, match=r"list.txt: more than 3 lines: split the list"):
        listed(scans, "7.png\n\n\n\n")


def test_a_list_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no space
    with pytest.raises(RequestError, match=r"list.txt: 536,870,913 bytes, a list has at most 536,870,912: split it"):
        expand([tmp_path / "list.txt"])


def test_a_list_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"list.txt: can't be read \(No such file"):
        read_list(tmp_path / "list.txt")
