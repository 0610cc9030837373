"""MATLAB 5 files, checked before SciPy parses them.

A variable of such a file may be a deflate stream of any size, and its header may claim any shape, for which SciPy allocates.
Here the one variable that is wanted is unpacked within a limit, and its declared shapes are compared with the bytes that are
there. What is left of the format is what figshare's files need: arrays of real numbers, text, and one struct of these.
"""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts.data.readers.bounds import MAX_PICTURE_BYTES, MAX_PIXELS, MAX_TEXT, inflate
from bts.data.slice import MAX_SIDE
from bts.errors import InputError

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
STORED_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of one number by the type of the element that holds it."""
TEXT_TYPES = (1, 2, 4, 16, 17, 18)
"""Types of an element that holds text: 8 or 16 bits, UTF-8, UTF-16, UTF-32."""
CLASS_BYTES = {6: 8, 7: 4, 8: 1, 9: 1, 10: 2, 11: 2, 12: 4, 13: 4, 14: 8, 15: 8}
"""Bytes of one number by the class of its array."""
CLASS_NAMES = {1: "cell array", 2: "struct", 3: "object", 5: "sparse array", 16: "function", 17: "object"}
CHAR, STRUCT = 4, 2
MAX_NAME_BYTES = 2**12
"""Most bytes of the names of all fields of a struct."""


def load_five(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Return one variable of a file under its name, or nothing where it is not there or neither array nor struct.

    Raises:
        InputError: it claims too much, or one of its fields is neither numbers nor text.
        Exception: whatever zlib, struct and SciPy raise on a damaged file.
    """
    parts = _variable(Path(path), name)
    if parts is None:
        return {}
    whole = b"".join(parts)
    del parts  # or it would stay in memory twice
    from scipy.io import loadmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns of what it can't read, and of names that Python has not
        return loadmat(io.BytesIO(whole), struct_as_record=True, squeeze_me=False)


def _variable(path: Path, name: str) -> list[bytes | memoryview] | None:
    """Return the parts of a file of one variable, not compressed; of several with the name the last, as SciPy takes it."""
    found: list[bytes | memoryview] | None = None
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        order = "<" if header[126:] == b"IM" else ">"
        end = path.stat().st_size
        while file.tell() + 8 <= end:
            kind, size = struct.unpack(f"{order}2I", file.read(8))
            if file.tell() + size > end:
                raise InputError("truncated or damaged MATLAB file (a variable extends beyond the file): export it again")
            after = file.tell() + size
            if size > MAX_PICTURE_BYTES and kind == MATRIX:
                kind = 0  # no variable of ours: skipped unread
            if kind in (MATRIX, COMPRESSED):
                element = _element(file.read(size), kind, order, name)
                if element is not None:
                    found = [header, struct.pack(f"{order}2I", MATRIX, len(element)), element]
            file.seek(after)
    return found


def _element(packed: bytes, kind: int, order: str, name: str) -> memoryview | None:
    """Return the content of a matrix where it is the variable that is wanted and of a shape that can be read."""
    data = memoryview(packed)
    if kind == COMPRESSED:
        head = zlib.decompressobj().decompress(packed, 4 * MAX_NAME_BYTES)
        if _Matrix.parse(memoryview(head)[8:], order).name != name:
            return None
        data = memoryview(inflate(packed, what=f"variable '{name}'", most=MAX_PICTURE_BYTES))
        inner, size = struct.unpack_from(f"{order}2I", data)
        if inner != MATRIX or size > len(data) - 8:
            raise InputError("truncated or damaged MATLAB file (a variable extends beyond its data): export it again")
        data = data[8 : 8 + size]
    matrix = _Matrix.parse(data, order)
    if matrix.name != name:
        return None
    return data if _is_readable(data, matrix, order) else None


@dataclass(frozen=True)
class _Matrix:
    """The head of an array: class, whether it is complex, shape, name, and where its content begins."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: int

    @property
    def count(self) -> int:
        """Number of values that the shape claims."""
        return math.prod(self.shape)

    @classmethod
    def parse(cls, data: memoryview, order: str) -> _Matrix:
        flags, after = _part(data, 0, order)
        shape, after = _part(data, after, order)
        name, after = _part(data, after, order)
        if len(flags.content) != 8:
            raise InputError("truncated or damaged MATLAB file (flags of an array): export it again")
        word = struct.unpack_from(f"{order}I", flags.content)[0]
        sizes = struct.unpack(f"{order}{len(shape.content) // 4}i", shape.content)
        if not 2 <= len(sizes) <= 32 or min(sizes) < 0:
            raise InputError(f"truncated or damaged MATLAB file (an array of shape {sizes[:4]}): export it again")
        return cls(word & 0xFF, bool(word & 0x800), sizes, str(name.content, "latin1"), after)


@dataclass(frozen=True)
class _Part:
    """One element inside an array: its type and its bytes."""

    kind: int
    content: memoryview


def _part(data: memoryview, start: int, order: str) -> tuple[_Part, int]:
    """Return the element at a place, and the place of the next; small ones have type and size in one word."""
    (word,) = struct.unpack_from(f"{order}I", data, start)
    if word >> 16:
        kind, size, at, after = word & 0xFFFF, word >> 16, start + 4, start + 8
    else:
        kind, (size,), at = word, struct.unpack_from(f"{order}I", data, start + 4), start + 8
        after = at + size + (-size % 8 if kind != COMPRESSED else 0)
    if at + size > len(data) or (word >> 16 and size > 4):
        raise InputError("truncated or damaged MATLAB file (a part of an array ends behind it): export it again")
    return _Part(kind, data[at : at + size]), after


def _is_readable(data: memoryview, matrix: _Matrix, order: str) -> bool:
    """Return whether a variable is an array of numbers or text, or one struct of these, after its claims are checked."""
    if matrix.kind != STRUCT:
        if matrix.kind not in CLASS_BYTES and matrix.kind != CHAR:
            return False
        _refuse_array(data, matrix, order, matrix.name)
        return True
    if matrix.count != 1:
        return False
    width, after = _part(data, matrix.content, order)
    names, after = _part(data, after, order)
    length = struct.unpack(f"{order}i", width.content)[0]
    if not 0 < length <= 256 or len(names.content) > MAX_NAME_BYTES:
        raise InputError("truncated or damaged MATLAB file (names of fields): export it again")
    for number in range(len(names.content) // length):
        name = str(names.content[number * length : (number + 1) * length], "latin1").split("\0")[0]
        field, after = _part(data, after, order)
        if field.kind != MATRIX:
            raise InputError(f"truncated or damaged MATLAB file (field '{name}' is not an array): export it again")
        if field.content:  # an element of no bytes is an empty array
            _refuse_array(field.content, _Matrix.parse(field.content, order), order, name)
    return True


def _refuse_array(data: memoryview, matrix: _Matrix, order: str, name: str) -> None:
    """Refuse an array that is neither numbers nor text, or claims another number of values than it holds."""
    if matrix.kind == CHAR:
        if matrix.count > MAX_TEXT:
            raise InputError(f"'{name}' claims a text of {matrix.count} characters: at most {MAX_TEXT} are accepted")
        kind = _content(data, matrix, order, name).kind
        if kind not in TEXT_TYPES:  # SciPy looks it up behind the end of a table
            raise InputError(f"truncated or damaged MATLAB file ('{name}' is a text of type {kind}): export it again")
        return
    if matrix.kind not in CLASS_BYTES:
        raise InputError(f"'{name}' is a {CLASS_NAMES.get(matrix.kind, 'value of an unknown class')}: expected real numbers")
    if matrix.is_complex:
        raise InputError(f"'{name}' holds complex values: expected real numbers")
    if matrix.count > MAX_PIXELS or matrix.count * CLASS_BYTES[matrix.kind] > MAX_PICTURE_BYTES:
        raise InputError(f"'{name}' claims {matrix.count} values: at most {MAX_SIDE}x{MAX_SIDE} are accepted")
    numbers = _content(data, matrix, order, name)
    if numbers.kind not in STORED_BYTES or matrix.count * STORED_BYTES[numbers.kind] != len(numbers.content):
        claim = f"'{name}' claims {matrix.count} values and holds {len(numbers.content)} bytes"
        raise InputError(f"truncated or damaged MATLAB file ({claim}): export it again")


def _content(data: memoryview, matrix: _Matrix, order: str, name: str) -> _Part:
    """Return the one element that holds the values; SciPy would take what follows it for the next array, unchecked."""
    found, after = _part(data, matrix.content, order)
    if after < len(data):
        raise InputError(f"truncated or damaged MATLAB file ('{name}' has bytes behind its values): export it again")
    return found
