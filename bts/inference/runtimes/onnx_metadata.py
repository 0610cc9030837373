"""What does an ONNX file say of itself? Its metadata, read without any library and without reading its weights.

An ONNX file is one protobuf message, `ModelProto` of onnx.proto3: a row of fields, each a key (number and wire type) and a
value. Only `metadata_props` is looked at; the graph with the weights is stepped over, whatever its size.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from bts.errors import RequestError

GRAPH, METADATA = 7, 14
"""Numbers of the fields `graph` and `metadata_props` in `ModelProto`."""
KEY, VALUE = 1, 2
"""Numbers of the fields of one entry, `StringStringEntryProto`."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file by name.

    Raises:
        RequestError: the file can't be read, or is no whole ONNX file.
    """
    try:
        with path.open("rb") as file:
            entries, numbers = _fields(file, os.fstat(file.fileno()).st_size, wanted=METADATA)
            pairs = [dict(_strings(entry)) for entry in entries]
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise RequestError(f"{path}: no ONNX file, or only a part of one ({error}): export or copy it anew") from error
    if GRAPH not in numbers:
        raise RequestError(f"{path}: no ONNX file: there is no graph in it")
    return {pair.get(KEY, ""): pair.get(VALUE, "") for pair in pairs}


def _fields(file: BinaryIO, size: int, *, wanted: int) -> tuple[list[bytes], set[int]]:
    """Return the contents of the fields of one number, and the numbers of all; the others are stepped over."""
    found, numbers = [], set()
    while file.tell() < size:
        key = _varint(file)
        number, wire = key >> 3, key & 7
        numbers.add(number)
        if wire == VARINT:
            _varint(file)
            continue
        if wire not in (FIXED64, BYTES, FIXED32):
            raise ValueError(f"a field of wire type {wire}")
        length = {FIXED64: 8, FIXED32: 4}.get(wire) or _varint(file)
        if file.tell() + length > size:
            raise EOFError(f"a field of {length:,} bytes where {size - file.tell():,} are left")
        if number == wanted and wire == BYTES:
            found.append(file.read(length))
        else:
            file.seek(length, os.SEEK_CUR)
    return found, numbers


def _strings(entry: bytes) -> list[tuple[int, str]]:
    """Return the fields of a `StringStringEntryProto`, number and text."""
    return [
        (number, text.decode("utf-8"))
        for number in (KEY, VALUE)
        for text in _fields(BytesIO(entry), len(entry), wanted=number)[0]
    ]


def _varint(file: BinaryIO) -> int:
    """Read a number in groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")
