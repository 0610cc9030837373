"""Zip archives of scans: unpacked into a temporary folder, under generated names, within limits.

No name of an archive becomes a path on the disk, so nothing can be written outside of the temporary folder.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType

from bts.data.readers.archive import DAMAGE, SUFFIX, member_pieces, no_scan, open_archive, visible_members
from bts.data.readers.bounds import MAX_ZIP_BYTES, MIB
from bts.data.readers.catalogue import is_scan, skipped_line, suffix
from bts.errors import InputError


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
            if path.suffix.lower() != SUFFIX or not os.path.isfile(path):
                found[path] = None
                continue
            try:
                found |= dict.fromkeys(self._unpack(path))
            except InputError as error:
                self.failed[path] = f"{path}: {error}"
        return list(found)

    def _unpack(self, archive: Path) -> list[Path]:
        with open_archive(archive) as opened:
            members, found, others = visible_members(opened), [], []
            for member in members:
                called = archive / PurePosixPath(member.filename)
                try:
                    file = self._extract(opened, member)
                except (InputError, *DAMAGE) as error:
                    self.failed[called] = f"{called}: {' '.join(str(error).split())[:200]}"
                    continue
                if not is_scan(file):
                    file.unlink()
                    others.append(member.filename)
                    continue
                self.files[called] = file
                found.append(called)
        if others:
            self.notes.append(f"{archive}: {skipped_line(others)}")
        if not found and not any(archive in path.parents for path in self.failed):
            raise no_scan(members)
        return found

    def _extract(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Path:
        """Return the file that a member was unpacked to."""
        if member.file_size > self._left:
            raise InputError(f"over {MAX_ZIP_BYTES // MIB} MiB in archives: name the others in a second call, or unpack them")
        self._left -= member.file_size
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="bts-zip-")
        file = Path(self._folder.name) / f"{self._count}{suffix(member.filename)}"
        self._count += 1
        with file.open("wb") as unpacked:
            for piece in member_pieces(archive, member):
                unpacked.write(piece)
        return file
