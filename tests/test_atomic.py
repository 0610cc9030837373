"""Atomic writes leave the new file or the old one, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bts.atomic import PREFIX, replacing, replacing_folder, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "été")
    assert (tmp_path / "a.json").read_bytes() == "été".encode()
    write_bytes(tmp_path / "a.json", b"\x00")
    assert (tmp_path / "a.json").read_bytes() == b"\x00"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write_half() -> None:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("half of the ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_file_is_not_there_before_it_is_whole_and_its_temporary_name_has_the_same_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "mask.nii.gz") as part:
        assert part.name.startswith(PREFIX)
        assert part.name.endswith("mask.nii.gz")
        part.write_bytes(b"1")
        assert not (tmp_path / "mask.nii.gz").exists()
    assert names(tmp_path) == ["mask.nii.gz"]


def test_threads_that_write_one_file_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    texts = [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "one", text), texts))
    assert (tmp_path / "one").read_text() in texts
    assert names(tmp_path) == ["one"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with replacing_folder(tmp_path / "model") as new:
            assert not list(new.iterdir())
            (new / content).write_text(content)
        assert names(tmp_path / "model") == [content]
    assert names(tmp_path) == ["model"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")

    def write_half() -> None:
        with replacing_folder(tmp_path / "model") as new:
            (new / "weights").write_text("new")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    from bts.atomic import remove_leftovers

    (tmp_path / "slices").mkdir()
    left = [tmp_path / ".writing-12-34-mask.png", tmp_path / "slices" / ".writing-12-34-cam.png"]
    kept = [tmp_path / "mask.png", tmp_path / "slices" / "cam.png", tmp_path / ".hidden"]
    for path in left + kept:
        path.write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
