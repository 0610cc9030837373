"""Zip archives of scans: unpacked into a temporary folder, under generated names, within limits.

No name of an archive becomes a path on the disk, so nothing can be written outside of the temporary folder.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType

from bts.data.readers.bounds import MAX_VOLUME_BYTES, MAX_ZIP_BYTES, MAX_ZIP_MEMBERS, MIB, refuse_claim
from bts.data.readers.catalogue import is_scan, suffix
from bts.errors import InputError

SUFFIX = ".zip"
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing whose inflation is bounded."""
ENCRYPTED = 1
"""Flag of an encrypted member."""


class Archives:
    """Scans in zip archives, which are there while the context lasts.

    Attributes:
        files: the unpacked file of each member, by the path that it is called, such as `scans.zip/a.png`.
        failed: why an archive or a member can't be used, by path.
        notes: one line for each archive with members that are no scans.
    """

    def __init__(self) -> None:
        self.files: dict[Path, Path] = {}
        self.failed: dict[Path, str] = {}
        self.notes: list[str] = []
        self._left = MAX_ZIP_BYTES
        self._count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def expand(self, paths: Sequence[Path]) -> list[Path]:
        """Return the inputs with the scans in each archive in its place; archives and members that fail are in `failed`."""
        found: dict[Path, None] = {}
        for path in paths:
            if path.suffix.lower() != SUFFIX or not path.is_file():
                found[path] = None
                continue
            try:
                found |= dict.fromkeys(self._unpack(path))
            except (InputError, OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
                reason = error if isinstance(error, InputError) else f"no readable zip archive ({str(error)[:80]})"
                self.failed[path] = f"{path}: {reason}"
        return list(found)

    def _unpack(self, archive: Path) -> list[Path]:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _refuse_members(opened.infolist())
            visible = [member for member in members if not _is_hidden(member.filename)]
            found, others = [], []
            for member in visible:
                called = archive / PurePosixPath(member.filename)
                try:
                    file = self._extract(opened, member)
                except (InputError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                    self.failed[called] = f"{called}: {' '.join(str(error).split())[:200]}"
                    continue
                if not is_scan(file):
                    file.unlink()
                    others.append(member.filename)
                    continue
                self.files[called] = file
                found.append(called)
        if others:
            self.notes.append(f"{archive}: {len(others)} files that are not scans are skipped (first: {others[0]})")
        if not found and not any(archive in path.parents for path in self.failed):
            raise InputError(f"no scan in it, of {len(members)} files: name an archive of scans")
        return found

    def _extract(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Path:
        """Return the file that a member was unpacked to."""
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError("a link in an archive is not followed: pack the file itself")
        if member.filename.lower().endswith(SUFFIX):
            raise InputError("an archive in an archive is not opened: unpack it first")
        if member.flag_bits & ENCRYPTED:
            raise InputError("it is encrypted: unpack the archive with its password first")
        if member.compress_type not in PACKINGS:
            raise InputError("packed in a way that can inflate without limit: pack the archive with the usual deflate")
        refuse_claim("the member", claimed=member.file_size, stored=member.compress_size, most=MAX_VOLUME_BYTES)
        if member.file_size > self._left:
            raise InputError(f"over {MAX_ZIP_BYTES // MIB} MiB in archives: name the others in a second call, or unpack them")
        self._left -= member.file_size
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="bts-zip-")
        file = Path(self._folder.name) / f"{self._count}{suffix(member.filename)}"
        self._count += 1
        with archive.open(member) as packed, file.open("wb") as unpacked:
            left = member.file_size
            while left and (piece := packed.read(min(left, MIB))):
                unpacked.write(piece)
                left -= len(piece)
        return file


def _refuse_members(members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive with too many members, with paths that lead out of it, or with two members of one name."""
    if len(members) > MAX_ZIP_MEMBERS:
        raise InputError(f"{len(members)} files in one archive: at most {MAX_ZIP_MEMBERS} are accepted, pack several")
    names: set[str] = set()
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise InputError(f"a member '{name[:80]}' that leads out of the archive: pack it again with relative paths")
        if name in names:
            raise InputError(f"two members called '{name[:80]}': pack it again with one of them")
        names.add(name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.replace("\\", "/").split("/"))
