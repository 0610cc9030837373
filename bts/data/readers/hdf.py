"""Values of an HDF5 file that may be hostile.

HDF5 can take a dataset's values from any other file: through an external or soft link, external storage, or a virtual
dataset. It can also load a filter as a plugin. Only hard links, storage in the file itself and the filters of HDF5's own
core are followed here; everything else is refused before a value is read. Nothing else in the package opens HDF5 to read.
"""

from __future__ import annotations

import math
import os
import zlib
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5l, h5t, h5z

from bts.data.readers.bounds import FREE_BYTES, MAX_CHUNKS, MAX_INFLATION, MAX_PIXELS, MAX_TEXT, refuse_claim, refuse_inflation
from bts.data.slice import MAX_SIDE
from bts.errors import InputError

FILTERS = {h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_DEFLATE: "deflate", h5z.FILTER_FLETCHER32: "fletcher32"}
INSIDE = "store its values in the file itself, or export a PNG"
INFLATED_AT_ONCE = 4 * FREE_BYTES
"""Bytes that HDF5 may unpack one chunk to without a look at it first: the library has no limit of its own."""


def open_hdf(path: str | os.PathLike[str]) -> h5py.File:
    """Return an open file; raises what h5py raises on a damaged one."""
    return h5py.File(path, "r", locking="best-effort")


def is_hdf(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is HDF5.

    `h5py.is_hdf5` removes `..` from the path first, which names another file where a linked folder stands before it.
    """
    return bool(h5f.is_hdf5(os.fsencode(path)))


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return what stands under a name of a group, or None where there is no such name.

    Raises:
        InputError: a soft or external link, which may lead to another file.
    """
    links, key = group.id.links, name.encode()
    if not links.exists(key):
        return None
    if links.get_info(key).type != h5l.TYPE_HARD:
        raise InputError(f"'{name}' is a link to another place or file, which is not followed: {INSIDE}")
    return group[name]


def flag(item: h5py.Group | h5py.Dataset, name: str) -> bool:
    """Return whether an attribute of one whole number is there and not 0."""
    if name not in item.attrs:
        return False
    attribute = item.attrs.get_id(name)
    if attribute.dtype.kind not in "buif" or math.prod(attribute.shape) != 1:
        return False
    return bool(np.asarray(item.attrs[name]).item())


def claimed_values(item: Any) -> int:
    """Return how many values a dataset claims, 0 for what is none or not stored in the file itself; nothing is read."""
    if not isinstance(item, h5py.Dataset) or item.id.get_create_plist().get_layout() == h5d.VIRTUAL:
        return 0
    return math.prod(item.shape or (0,))


def values(item: Any, name: str) -> np.ndarray:
    """Return the values of a dataset, with HDF5's axes.

    Args:
        item: what `member` returned.
        name: of the field, for messages.

    Raises:
        InputError: no dataset, values outside the file or of another kind than numbers and text, an unknown filter, or more
            bytes than a slice can have.
    """
    if not isinstance(item, h5py.Dataset):
        raise InputError(f"'{name}' is not an array in this file: expected numbers")
    _refuse_storage(item, name)
    if item.id.get_type().get_class() == h5t.STRING and item.id.get_type().is_variable_str():
        return _text(item, name)
    dtype = _plain_dtype(item, name)
    if item.shape is None:
        raise InputError(f"'{name}' is empty: expected numbers")
    if math.prod(item.shape) > MAX_PIXELS:
        raise InputError(f"'{name}' claims {math.prod(item.shape)} values: at most {MAX_SIDE}x{MAX_SIDE} are accepted")
    size = math.prod(item.shape) * dtype.itemsize
    stored = item.id.get_storage_size() if item.chunks else min(item.id.get_storage_size(), _file_size(item))
    refuse_claim(f"field '{name}'", claimed=size, stored=stored)
    if item.chunks:
        _refuse_chunks(item, name, chunk_bytes=math.prod(item.chunks) * dtype.itemsize)
    return np.asarray(item[()])


def _refuse_storage(item: h5py.Dataset, name: str) -> None:
    """Refuse values that lie outside the file, and filters that HDF5 would have to look for."""
    plist = item.id.get_create_plist()
    if plist.get_layout() == h5d.VIRTUAL:
        raise InputError(f"'{name}' is a virtual dataset, put together from other files: {INSIDE}")
    if plist.get_external_count() > 0:
        raise InputError(f"'{name}' has its values in another file (external storage): {INSIDE}")
    found = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    unknown = [code for code in found if code not in FILTERS]
    if unknown or len(set(found)) < len(found):
        filters = ", ".join(FILTERS.get(code, f"number {code}") for code in found)
        raise InputError(
            f"'{name}' is packed with the filters {filters}: accepted are {', '.join(FILTERS.values())}, each once"
        )


def _text(item: h5py.Dataset, name: str) -> np.ndarray:
    """Return the one text of variable length in a dataset (1,), as h5py writes a `str`.

    HDF5 allocates what such a text claims before it looks for it, so the claim is read from the file first.
    """
    place = item.id.get_offset()  # of the length in 4 bytes, and of what points to the text
    if place is None or item.size != 1:
        raise InputError(f"'{name}' holds several or packed text values: expected real numbers or one text")
    with open(item.file.filename, "rb") as file:
        file.seek(place)
        length = int.from_bytes(file.read(4), "little")
    if length > MAX_TEXT:
        raise InputError(f"'{name}' claims a text of {length} bytes: at most {MAX_TEXT} are accepted")
    return np.array([item[()] if item.shape == () else item[(0,) * item.ndim]])


def _plain_dtype(item: h5py.Dataset, name: str) -> np.dtype:
    kind = item.id.get_type().get_class()
    if kind == h5t.REFERENCE:
        raise InputError(f"'{name}' holds references to other parts of the file (a cell array?): expected numbers")
    dtype = item.dtype
    if kind not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.STRING) or dtype.kind not in "buifS":
        raise InputError(f"'{name}' holds {dtype} values: expected real numbers")
    return dtype


def _file_size(item: h5py.Dataset) -> int:
    return int(item.file.id.get_filesize())


def _refuse_chunks(item: h5py.Dataset, name: str, *, chunk_bytes: int) -> None:
    """Refuse chunks that would unpack to more than they claim, or are too many to keep a list of."""
    count = math.prod(-(-side // chunk) for side, chunk in zip(item.shape, item.chunks, strict=True))
    if count > MAX_CHUNKS:
        raise InputError(f"'{name}' has {count} chunks: at most {MAX_CHUNKS} are accepted, store it with larger ones")
    stored = item.id.get_storage_size()
    refuse_claim(f"a chunk of field '{name}'", claimed=chunk_bytes, stored=stored)
    plist = item.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if h5z.FILTER_DEFLATE not in filters or stored * MAX_INFLATION <= INFLATED_AT_ONCE:
        return
    large: list[tuple[int, ...]] = []
    item.id.chunk_iter(
        lambda chunk: large.append(chunk.chunk_offset) if chunk.size * MAX_INFLATION > INFLATED_AT_ONCE else None
    )
    for offset in large:
        skipped, packed = item.id.read_direct_chunk(offset)
        if skipped & (1 << filters.index(h5z.FILTER_DEFLATE)):
            continue  # stored as it is
        try:
            refuse_inflation(packed, what=f"a chunk of field '{name}'", most=max(chunk_bytes + 4, FREE_BYTES))  # + a checksum
        except zlib.error:
            raise InputError(f"'{name}' is damaged: download or export the file again") from None
