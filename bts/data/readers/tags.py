"""Tags of TIFF files and of EXIF, checked before Pillow copies the bytes of each.

A tag names a place and a length, and thousands of tags may name the same bytes: 4 MiB then become gigabytes. A TIFF is
checked and left to Pillow. EXIF in JPEG and PNG is not left to Pillow: its orientation is all that is read of it, here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from bts.data.readers.bounds import MAX_PAGES, MAX_TAG_VALUES, MAX_TAGS
from bts.errors import InputError

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by the type of a tag."""
WHOLE = (3, 4, 13, 16, 18)
"""Types of unsigned whole numbers."""
AS_BYTES = (1, 2, 7)
"""Types whose values stay bytes or text; those of all others become a Python object each."""
INSIDE = (34665, 34853, 40965)
"""Tags that lead to further tags, which Pillow reads with a picture: EXIF, GPS and interoperability."""
ORIENTATION, NUMBER_OF_PICTURES = 274, 0xB001
TIFF = (b"MM\x00\x2a", b"II\x2a\x00", b"MM\x2a\x00", b"II\x00\x2a", b"II\x2b\x00")
BIG_ENDIAN_BIGTIFF = b"MM\x00\x2b"
JPEG = b"\xff\xd8\xff"
EXIF, PICTURES = re.compile(rb"\xff\xe1(..)Exif\0", re.DOTALL), re.compile(rb"\xff\xe2(..)MPF\0", re.DOTALL)
"""Segments of a JPEG whose tags Pillow would read; 0xFF and such a letter never stand in its packed pixels."""


class Tag(NamedTuple):
    """One entry: its number, type, number of values, and the bytes that hold or lead to them."""

    number: int
    kind: int
    values: int
    field: bytes


def refuse_tags(file: BinaryIO, *, size: int) -> None:
    """Refuse a TIFF whose tags claim more bytes than the file has; any other file passes.

    Args:
        file: opened, at any place.
        size: of the file in bytes.

    Raises:
        InputError: tags that claim too much, or too many of them.
    """
    head = read_at(file, 0, 16, size)
    if head[:4] == BIG_ENDIAN_BIGTIFF:
        raise InputError("a big-endian BigTIFF: export it as PNG")
    if head[:4] not in TIFF:
        return
    order, big = ("<" if head[:2] == b"II" else ">"), head[2] == 43
    head = head.ljust(16, b"\0")
    (page,) = struct.unpack_from(f"{order}Q", head, 8) if big else struct.unpack_from(f"{order}L", head, 4)
    pages: set[int] = set()
    claimed = tags = 0
    while page and page not in pages and len(pages) < MAX_PAGES:
        pages.add(page)
        todo, page = [page], 0
        seen: set[int] = set()
        while todo:
            place = todo.pop()
            found, following = read_directory(file, place, order=order, big=big, size=size)
            page = page if seen else following
            seen.add(place)
            for tag in found:
                tags += 1
                claimed += _claim(tag, big=big)
                _refuse(claimed, tags, size=size)
                inner = _number(tag, order)
                if tag.number in INSIDE and inner not in seen:
                    todo.append(inner)


def orientation(exif: bytes) -> int:
    """Return how a picture is to be turned by its EXIF, 1 to 8 as Exif 2.3 counts; 1 where it is not stated."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    found = _first(exif, ORIENTATION)
    return found if 1 <= found <= 8 else 1


def strip_jpeg(data: bytes) -> tuple[bytes, bytes, int]:
    """Return a JPEG without the tags that Pillow would read, its EXIF, and the number of pictures in the file."""
    exif, pictures = _segment(EXIF, data), _segment(PICTURES, data)
    data = EXIF.sub(b"\xff\xe1\\1----\0", data)
    data = PICTURES.sub(b"\xff\xe2\\1---\0", data)
    return data, exif[1:], max(_first(pictures, NUMBER_OF_PICTURES), 1)


def _segment(kind: re.Pattern[bytes], data: bytes) -> bytes:
    """Return what the first segment of a kind holds behind its name."""
    found = kind.search(data)
    return b"" if found is None else data[found.end() : found.start() + 2 + int.from_bytes(found[1], "big")]


def _first(data: bytes, number: int) -> int:
    """Return the whole number of a tag in the first directory of EXIF, 0 where there is none."""
    if len(data) < 10 or data[:2] not in (b"II", b"MM"):
        return 0
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}L", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, place) if place + 2 <= len(data) else (0,)
    table = data[place + 2 : place + 2 + 12 * count]
    return next((_number(tag, order) for tag in _tags(table, order=order, big=False) if tag.number == number), 0)


def read_directory(file: BinaryIO, place: int, *, order: str, big: bool, size: int) -> tuple[Iterator[Tag], int]:
    """Return the tags at a place, and where the next page lies."""
    width, entry = (8, 20) if big else (2, 12)
    packed = read_at(file, place, width, size)
    if len(packed) < width:
        return iter(()), 0
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", packed)
    table = read_at(file, place + width, min(count, MAX_TAGS + 1) * entry, size)
    packed = read_at(file, place + width + count * entry, 8 if big else 4, size)
    following = int.from_bytes(packed, "little" if order == "<" else "big") if len(packed) == (8 if big else 4) else 0
    return _tags(table, order=order, big=big), following


def _tags(table: bytes, *, order: str, big: bool) -> Iterator[Tag]:
    form = struct.Struct(f"{order}{'HHQ8s' if big else 'HHL4s'}")
    whole = len(table) - len(table) % form.size  # Pillow takes what is whole of a table that is cut off
    return (Tag(*fields) for fields in form.iter_unpack(table[:whole]))


def _claim(tag: Tag, *, big: bool) -> int:
    """Return the bytes that Pillow copies for a tag."""
    if tag.kind not in AS_BYTES and tag.kind in SIZES and tag.values > MAX_TAG_VALUES:
        raise InputError(f"tag {tag.number} of the picture has {tag.values} values: at most {MAX_TAG_VALUES} are accepted")
    claimed = tag.values * SIZES.get(tag.kind, 0)
    return claimed if claimed > (8 if big else 4) else 0


def _refuse(claimed: int, tags: int, *, size: int) -> None:
    if tags > MAX_TAGS:
        raise InputError(f"a picture of more than {MAX_TAGS} tags: the file is damaged, export it again")
    if claimed > size:
        raise InputError(
            f"the tags of the picture claim {claimed} bytes and the file has {size}: it is damaged or made to exhaust the "
            "memory, export it again"
        )


def _number(tag: Tag, order: str) -> int:
    """Return the one whole number that a tag holds, or 0."""
    if tag.kind not in WHOLE or tag.values != 1 or SIZES[tag.kind] > len(tag.field):
        return 0
    return int.from_bytes(tag.field[: SIZES[tag.kind]], "little" if order == "<" else "big")


def read_at(file: BinaryIO, place: int, count: int, size: int) -> bytes:
    """Return up to `count` bytes at a place of a file of that size, none behind its end."""
    if place >= size:
        return b""
    file.seek(place)
    return file.read(min(count, size - place))
