"""Write files as an attacker would: small ones that claim much, and ones that lead elsewhere."""

from __future__ import annotations

import functools
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

MIB = 2**20
SIDE = 64
PICTURE = np.random.default_rng(0).integers(1, 4000, (SIDE, SIDE)).astype(np.int16)
"""A picture whose rows and columns can't be mixed up unnoticed."""
MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[10:20, 30:50] = 1


def write_hdf(path: Path, *, without: str = "") -> h5py.File:
    """Return an open figshare file, complete but for one field, which the caller makes hostile."""
    file = h5py.File(path, "w", userblock_size=512)
    group = file.create_group("cjdata")
    fields = {
        "image": PICTURE.T,
        "tumorMask": MASK.T,
        "label": np.array([[1.0]]),
        "PID": np.array([[ord(letter)] for letter in "MR1"], np.uint16),
        "tumorBorder": np.array([[1.0, 2.0, 3.0, 4.0]]),
    }
    for name, array in fields.items():
        if name != without:
            group[name] = array
    return file


def write_stolen(path: Path, secret: Path, way: str, *, field: str = "image", dtype: str = "u1") -> Path:
    """Write a figshare file whose field is the bytes of another file, reached in one of several ways."""
    count = secret.stat().st_size // np.dtype(dtype).itemsize
    shape = (SIDE, count // SIDE) if field in ("image", "tumorMask") else (count,)
    beside = path.with_name(f"{path.stem}_beside.h5")
    with h5py.File(beside, "w") as file:  # what an attacker uploads first, or finds on the machine
        file.create_dataset("there", shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    with write_hdf(path, without=field) as file:
        group = file["cjdata"]
        if way == "external storage":
            group.create_dataset(field, shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        elif way == "external link":
            group[field] = h5py.ExternalLink(str(beside), "/there")
        elif way == "soft link to an external link":
            file["hidden"] = h5py.ExternalLink(str(beside), "/there")
            group[field] = h5py.SoftLink("/hidden")
        elif way == "virtual dataset":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(beside), "there", shape, dtype)
            group.create_virtual_dataset(field, layout)
        elif way == "external link to the struct":
            del file["cjdata"]
            with write_hdf(beside) as other:
                del other["cjdata"][field]
                other["cjdata"].create_dataset(field, shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
            file["cjdata"] = h5py.ExternalLink(str(beside), "/cjdata")
    return path


WAYS = (
    "external storage",
    "external link",
    "soft link to an external link",
    "virtual dataset",
    "external link to the struct",
)


# --- MATLAB 5 -------------------------------------------------------------------------------------------------------------


def element(kind: int, data: bytes) -> bytes:
    """One element of a MATLAB 5 file, padded to 8 bytes."""
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], name: str, content: bytes) -> bytes:
    """One array: 4 text, 6 double, 2 struct, 1 cell, 5 sparse."""
    head = element(6, struct.pack("<2I", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name.encode()) + content)


def five(fields: dict[str, bytes]) -> bytes:
    """A struct `cjdata` of fields that are matrices without a name."""
    names = b"".join(name.encode().ljust(32, b"\0") for name in fields)
    return matrix(2, (1, 1), "cjdata", element(5, struct.pack("<i", 32)) + element(1, names) + b"".join(fields.values()))


def five_fields(**hostile: bytes) -> dict[str, bytes]:
    """Fields of a whole figshare file, some of them replaced."""
    return {
        "label": matrix(6, (1, 1), "", element(9, struct.pack("<d", 1))),
        "PID": matrix(4, (1, 3), "", element(16, b"MR1")),
        "image": matrix(10, PICTURE.shape, "", element(3, PICTURE.tobytes(order="F"))),
        "tumorMask": matrix(9, MASK.shape, "", element(2, MASK.tobytes(order="F"))),
    } | hostile


def write_five(path: Path, *variables: bytes, compress: bool = False) -> Path:
    """A MATLAB 5 file of variables."""
    packed = [zlib.compress(each) for each in variables] if compress else variables
    body = b"".join(struct.pack("<2I", 15, len(each)) + each if compress else each for each in packed)
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body)
    return path


# --- pictures -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, colour: int = 0, pixels: bytes = b"", more: bytes = b"") -> bytes:
    """A PNG that claims a size, with any pixels and further chunks."""
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@functools.cache
def zeros(count: int, *, wbits: int = zlib.MAX_WBITS) -> bytes:
    """A deflate stream of that many zeros, a thousandth of their size: one compressed block again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = block * (count // MIB) + packer.compress(bytes(count % MIB)) + packer.flush()
    return stream if wbits < 0 else b"\x78\xda" + stream + struct.pack(">2H", count % 65521, 1)  # with its Adler-32


@contextmanager
def allocating_at_most(mib: float) -> Iterator[None]:
    """Fail where Python, NumPy or zlib hold more memory at once meanwhile than a picture of this size can need."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()
    assert peak < mib, f"{peak:.0f} MiB"
