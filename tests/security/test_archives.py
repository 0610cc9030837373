"""Hostile zip archives of scans: nothing leaves the temporary folder, and nothing unpacks beyond its limits."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from bts.data.readers import archive as module
from bts.inference import archives
from bts.inference.archives import Archives


def pack(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system = 3
    made.external_attr = 0o120777 << 16
    return made


def test_members_are_unpacked_under_names_of_our_own_and_removed_with_the_context(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.zip", ("x/1.PNG", b"one"), ("__MACOSX/._1.PNG", b"x"), (".hidden.png", b"x"), ("2.nii.gz", b"two")
    )
    with Archives() as opened:
        paths = opened.expand([path, tmp_path / "other.png"])
        assert paths == [path / "x/1.PNG", path / "2.nii.gz", tmp_path / "other.png"]
        files = [opened.files[each] for each in paths[:2]]
        assert [file.read_bytes() for file in files] == [b"one", b"two"]
        assert [file.name for file in files] == ["0.png", "1.nii.gz"]
    assert not any(file.exists() for file in files)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "..\\out.png", "C:\\out.png"])
def test_a_member_that_leads_out_refuses_the_archive(name: str, tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", (name, b"x"), ("good.png", b"x"))
    with Archives() as opened:
        assert opened.expand([path]) == []
        assert "leads out of the archive" in opened.failed[path]
        assert opened.files == {}


@pytest.mark.parametrize(
    ("name", "data", "packing", "message"),
    [
        ("inner.zip", b"PK", zipfile.ZIP_DEFLATED, "an archive in an archive"),
        (link("link.png"), b"/etc/passwd", zipfile.ZIP_STORED, "a link in an archive"),
        ("bomb.png", bytes(2**25), zipfile.ZIP_BZIP2, "packed in a way that can inflate without limit"),
    ],
)
def test_members_that_are_refused_are_named_and_the_others_done(
    name: Any, data: bytes, packing: int, message: str, tmp_path: Path
) -> None:
    path = pack(tmp_path / "a.zip", (name, data), packing=packing)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("good.png", b"x")
    with Archives() as opened:
        assert opened.expand([path]) == [path / "good.png"]
        ((failed, reason),) = opened.failed.items()
        assert reason.startswith(f"{failed}: ")
        assert message in reason


def test_a_member_that_claims_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "a.zip", ("1.png", bytes(1000)), ("2.png", bytes(1000)), ("3.png", bytes(10)))
    monkeypatch.setattr(module, "MAX_VOLUME_BYTES", 999)
    with Archives() as opened:
        assert opened.expand([path]) == [path / "3.png"]
        assert "claims 1000 bytes" in opened.failed[path / "1.png"]
    monkeypatch.setattr(module, "MAX_VOLUME_BYTES", 2**31)
    monkeypatch.setattr(archives, "MAX_ZIP_BYTES", 1500)
    with Archives() as opened:
        assert opened.expand([path]) == [path / "1.png", path / "3.png"]
        assert "in archives: name the others in a second call" in opened.failed[path / "2.png"]


def test_a_member_with_a_false_size_or_checksum_fails_alone(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", ("1.png", b"first" * 100), ("2.png", b"second"), packing=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"firstfirst", b"FIRSTfirst", 1))
    with Archives() as opened:
        assert opened.expand([path]) == [path / "2.png"]
        assert "Bad CRC-32" in opened.failed[path / "1.png"]


def test_too_many_members_two_of_one_name_and_none_refuse_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = pack(tmp_path / "twice.zip", ("1.png", b"x"), ("1.png", b"y"))
    none = pack(tmp_path / "none.zip", ("notes.txt", b"x"))
    many = pack(tmp_path / "many.zip", *((f"{number}.png", b"x") for number in range(5)))
    monkeypatch.setattr(module, "MAX_ZIP_MEMBERS", 4)
    with Archives() as opened:
        assert opened.expand([twice, none, many]) == []
        assert "two members called '1.png'" in opened.failed[twice]
        assert "no scan in it, of 1 files" in opened.failed[none]
        assert "5 files in one archive: at most 4" in opened.failed[many]
