"""Cache of preprocessed slices on disk, one small file each.

Concurrent runs may share it: a file is written under another name and then renamed, so a reader sees all of it or nothing.
The cache is optional: any failure costs time and one line in the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bts import __version__
from bts.atomic import PREFIX, write_bytes
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError

LAYOUT = 4
"""Increase it when reading or preprocessing changes its results: older entries are then ignored."""
SUFFIX = ".slice"
_HEADER = struct.Struct("<4sHBI")  # mark, side S, has a mask, checksum of what follows
_MARK = b"BTS1"

log = logging.getLogger(__name__)

Entry = tuple[np.ndarray, "np.ndarray | None"]
"""Picture (S, S) uint8 and mask (S, S) uint8 of 0 and 1, or None; an image from the disk is read-only."""


class SliceCache:
    """Preprocessed slices by their file (path, size, modification time) and the preprocessing.

    Args:
        folder: created at the first write.
        cache_gib: size above which the least recently used entries are removed. Entries used by this run are kept: once they
            fill the cache, nothing more is stored, and the next run still finds them.
    """

    def __init__(self, folder: Path | str, cache_gib: float) -> None:
        if not cache_gib >= 0:
            raise RequestError(f"a cache of {cache_gib:g} GiB: expected 0 or more; an empty --data.cache turns it off")
        self.folder = Path(folder)
        self.max_bytes = int(cache_gib * 2**30)
        self.hits = 0
        self.misses = 0
        self._used: set[str] = set()
        self._bytes: int | None = None  # on disk, counted at the first write
        self._storing = True
        self._lock = threading.Lock()

    def key(self, files: Sequence[Path | str], preprocessing: Preprocessing, *, reader: str = "") -> str | None:
        """Return the key of the slice read from `files` by `reader`, or None if a file can't be accessed."""
        try:
            stats = [(str(Path(file).absolute()), os.stat(file)) for file in files]
        except OSError:
            return None
        seen = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        text = json.dumps([LAYOUT, __version__, reader, seen, preprocessing.to_dict()])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None; a damaged entry is treated as missing and overwritten by the next `put`."""
        path = self._path(key)
        try:
            entry = _unpack(path.read_bytes())
        except OSError:
            entry = None
        with self._lock:
            self.hits += entry is not None
            self.misses += entry is None
            if entry is not None:
                self._used.add(path.name)
        if entry is not None:
            self._touch(path)
        return entry

    def put(self, key: str, image: np.ndarray, mask: np.ndarray | None) -> None:
        """Store an image (S, S) uint8 and its mask; after a write error, logged once, nothing more is stored."""
        if not self._storing:
            return
        data = _pack(image, mask)
        try:
            with self._lock:
                if not self._make_room(len(data)):
                    return
            self._write(self._path(key), data)
        except OSError as error:
            self._stop(f"{self.folder}: the cache can't be written ({error.strerror}), slices are decoded each time")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / (key + SUFFIX)

    def _touch(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # a read-only cache of another user can still be read
            os.utime(path)  # time of last use; many disks do not record access times

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        with self._lock:
            self._used.add(path.name)

    def _make_room(self, size: int) -> bool:
        """Reserve `size` bytes, removing old entries if needed; return False if they do not fit."""
        if self._bytes is None:
            self._bytes = sum(entry[1] for entry in self._entries())
        if self._bytes + size > self.max_bytes:
            self._bytes = self._drop(self.max_bytes * 9 // 10 - size)
        if self._bytes + size > self.max_bytes:
            self._stop(f"{self.folder}: the cache is full at {self.max_bytes / 2**30:.3g} GiB: raise --data.cache_gib")
            return False
        self._bytes += size
        return True

    def _drop(self, limit: int) -> int:
        """Remove the least recently used entries until at most `limit` bytes are left; return the bytes left."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for used, size, path in entries:
            is_abandoned = path.name.startswith(PREFIX) and time.time() - used > 3600
            if total <= limit and not is_abandoned:
                continue
            if path.name in self._used or (path.name.startswith(PREFIX) and not is_abandoned):
                continue
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return (time of last use, bytes, path) of all files of the cache."""
        found = []
        for path in self.folder.glob("??/*"):
            try:
                stat = path.stat()
            except OSError:
                continue  # removed by another run
            found.append((stat.st_mtime, stat.st_size, path))
        return found

    def _stop(self, line: str) -> None:
        if self._storing:
            self._storing = False
            log.warning(line)


def _pack(image: np.ndarray, mask: np.ndarray | None) -> bytes:
    body = np.ascontiguousarray(image, dtype=np.uint8).tobytes()
    if mask is not None:
        body += np.packbits(mask.astype(bool)).tobytes()
    return _HEADER.pack(_MARK, image.shape[0], mask is not None, zlib.crc32(body)) + body


def _unpack(data: bytes) -> Entry | None:
    """Return the entry in `data`, or None if it is invalid (truncated, overwritten, another layout)."""
    if len(data) < _HEADER.size:
        return None
    mark, side, has_mask, checksum = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    pixels = side * side
    if mark != _MARK or len(body) != pixels + has_mask * ((pixels + 7) // 8) or zlib.crc32(body) != checksum:
        return None
    bits = np.frombuffer(body, dtype=np.uint8)
    image = bits[:pixels].reshape(side, side)
    return image, np.unpackbits(bits[pixels:], count=pixels).reshape(side, side) if has_mask else None
