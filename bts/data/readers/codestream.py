"""What a JPEG or JPEG 2000 stream claims, found without a decoder.

A decoder allocates what the stream itself claims, which may be more than the file around it (DICOM, TIFF) says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bts.data.readers.bounds import MAX_JPEG_SCANS
from bts.errors import InputError

SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""JPEG markers that begin a frame, lossless, arithmetic and JPEG-LS ones too."""
ALONE = {0x01, *range(0xD0, 0xDA)}
"""JPEG markers without a length."""
SCAN = b"\xff\xda"
J2K_SIZE = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream, and its size marker, which must follow."""


def claimed_size(stream: bytes) -> tuple[int, int, int] | None:
    """Return (rows, columns, components) that a stream claims, the largest of several; None where it claims none."""
    found = [*_jpeg_sizes(stream), *_jpeg_2000_sizes(stream)]
    return max(found, key=lambda size: size[0] * size[1] * size[2], default=None)


def refuse_scans(stream: bytes) -> None:
    """Refuse a progressive JPEG of so many scans that decoding it would take minutes."""
    count = stream.count(SCAN)
    if count > MAX_JPEG_SCANS:
        raise InputError(f"a JPEG of {count} scans: at most {MAX_JPEG_SCANS} are accepted, export it as PNG")


def _jpeg_sizes(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (rows, columns, components) of each frame header before the first scan."""
    at = 2 if stream.startswith(b"\xff\xd8") else len(stream)
    while at + 9 < len(stream):
        marker = stream[at + 1]
        if stream[at] != 0xFF or marker == 0xFF:  # fill bytes, or what decoders skip
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker == SCAN[1]:
            return
        else:
            (length,) = struct.unpack_from(">H", stream, at + 2)
            if marker in SIZES:
                yield struct.unpack_from(">HHB", stream, at + 5)
            at += 2 + length


def _jpeg_2000_sizes(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (rows, columns, components) of each JPEG 2000 codestream, in a JP2 file too."""
    at = stream.find(J2K_SIZE)
    while at >= 0 and at + 42 <= len(stream):
        right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
        (components,) = struct.unpack_from(">H", stream, at + 40)
        yield max(bottom - top, 0), max(right - left, 0), components
        at = stream.find(J2K_SIZE, at + 4)
