"""Members of a zip archive, checked against limits before any of them is unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bts.data.readers.bounds import MAX_VOLUME_BYTES, MAX_ZIP_MEMBERS, MIB, refuse_claim
from bts.data.readers.catalogue import suffix
from bts.data.readers.dicom import HEAD_BYTES, is_dicom_head
from bts.errors import InputError

SUFFIX = ".zip"
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing whose inflation is bounded."""
ENCRYPTED = 1
"""Flag of an encrypted member."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError)
"""What `zipfile` raises for an archive or a member that it can't unpack."""


@contextmanager
def open_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Yield an archive; raises `InputError` for a damaged one, also within the block."""
    try:
        with zipfile.ZipFile(path) as opened:
            yield opened
    except (OSError, *DAMAGE) as error:
        raise InputError(f"not a readable zip archive ({' '.join(str(error).split())[:80]})") from error


def visible_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files in an archive but for hidden ones.

    Raises:
        InputError: too many members, a path that leads out of the archive, or two members of one name.
    """
    members = archive.infolist()
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
    return [member for member in members if not member.is_dir() and not _is_hidden(member.filename)]


def member_pieces(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member, never more than it claims.

    Raises:
        InputError: a link, an archive, encrypted, packed without a bound, or a claim that can't be meant.
    """
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError("a link in an archive is not followed: pack the file itself")
    if member.filename.lower().endswith(SUFFIX):
        raise InputError("an archive in an archive is not opened: unpack it first")
    if member.flag_bits & ENCRYPTED:
        raise InputError("it is encrypted: unpack the archive with its password first")
    if member.compress_type not in PACKINGS:
        raise InputError("packed in a way that can inflate without limit: pack the archive with the usual deflate")
    refuse_claim("the member", claimed=member.file_size, stored=member.compress_size, most=MAX_VOLUME_BYTES)
    with archive.open(member) as packed:
        left = member.file_size
        while left and (piece := packed.read(min(left, MIB))):
            yield piece
            left -= len(piece)


def unpack_scans(path: str | Path, *, most_bytes: int) -> list[tuple[str, bytes]]:
    """Return name and bytes of each scan in an archive, in its order; other files are left out.

    Args:
        path: the archive.
        most_bytes: of all members together, after unpacking.

    Raises:
        InputError: no scan, a member that is refused or damaged, or more bytes than `most_bytes`.
    """
    with open_archive(path) as archive:
        members = visible_members(archive)
        total = sum(member.file_size for member in members)
        if total > most_bytes:
            raise InputError(
                f"it unpacks to {total / MIB:.0f} MiB: at most {most_bytes / MIB:g} MiB are accepted, pack one series"
            )
        found = []
        for member in members:
            try:
                data = b"".join(member_pieces(archive, member))
            except InputError as error:
                raise error.at(member.filename) from error
            if suffix(member.filename) or is_dicom_head(data[:HEAD_BYTES]):
                found.append((member.filename, data))
        if not found:
            raise no_scan(members)
        return found


def no_scan(members: Sequence[zipfile.ZipInfo]) -> InputError:
    """Return the error for an archive without a scan."""
    return InputError(f"no scan in it, of {len(members)} files: name an archive of scans")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.replace("\\", "/").split("/"))
