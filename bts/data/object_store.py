"""Scans in an object store, by address (`s3://bucket/folder/scan.png`): found by fsspec, and fetched while they are read."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts.data.readers.catalogue import suffix
from bts.errors import InputError, RequestError

SCHEMES = ("s3", "memory")
"""What addresses begin with; `memory` is fsspec's store within this process, for tests."""
ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://", re.IGNORECASE)
CONNECT_S, ANSWER_S, ATTEMPTS = 5, 30, 3
"""Seconds without a connection or data, and attempts, after which a request to S3 fails."""

if TYPE_CHECKING:
    _OfThisSystem = Path
else:
    _OfThisSystem = type(Path())


class Address(_OfThisSystem):
    """Path of an object, whose text is its address. Nothing lies under that path on the disk."""

    def __str__(self) -> str:
        """Return the address, with the two slashes that a path has one of."""
        return super().__str__().replace("\\", "/").replace(":/", "://", 1)


def is_address(path: object) -> bool:
    """Return whether a path or text is the address of an object store.

    >>> is_address("s3://bucket/scan.png"), is_address("s3/scan.png")
    (True, False)
    """
    return ADDRESS.match(str(path)) is not None


def find_objects(address: Address) -> list[Address]:
    """Return all objects below the address of a folder, without hidden ones.

    Raises:
        RequestError: the store does not answer, denies access, or has no such folder; or as `open_store`.
    """
    store = open_store(address)
    try:
        found = store.find(_key(address), on_error="raise")
    except Exception as error:  # each store has errors of its own
        raise RequestError(f"{address}: can't be listed ({_reason(error)})") from error
    scheme, start = str(address).partition("://")[0], len(Path(_key(address)).parts)
    objects = [Address(f"{scheme}://{key.lstrip('/')}") for key in found]
    return [each for each in objects if not any(part.startswith(".") for part in each.parts[1 + start :])]


@contextmanager
def fetched(address: Path) -> Iterator[Path]:
    """Yield a copy of an object on the disk, under a name with the same suffix, as long as the context lasts.

    Raises:
        InputError: it can't be fetched.
        RequestError: as `open_store`.
    """
    store = open_store(address)
    with tempfile.TemporaryDirectory(prefix="bts-object-") as folder:
        file = Path(folder, f"scan{suffix(address)}")
        try:
            store.get_file(_key(address), str(file))
        except Exception as error:  # each store has errors of its own
            raise InputError(f"{address}: can't be fetched ({_reason(error)})") from error
        yield file


def open_store(address: Path) -> Any:
    """Return fsspec's file system of an address; connections are made later.

    Raises:
        RequestError: an address without a bucket, or pyarrow is not installed.
    """
    scheme = str(address).partition(":")[0].lower()
    if not _key(address):
        raise RequestError(f"{address}: expected {scheme}://BUCKET/FOLDER")
    if scheme == "s3" and find_spec("pyarrow") is None:
        raise RequestError(f"{address}: S3 is read by pyarrow, which is not installed: pip install 'bts[s3]'")
    return _store(scheme, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache
def _store(scheme: str, endpoint: str | None) -> Any:
    import fsspec

    if scheme != "s3":
        return fsspec.filesystem(scheme)
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    return ArrowFSWrapper(
        fs.S3FileSystem(
            endpoint_override=endpoint,
            connect_timeout=CONNECT_S,
            request_timeout=ANSWER_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        )
    )


def _key(address: Path) -> str:
    return str(address).partition("://")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such object"
    return " ".join(str(error).split())[:300] or type(error).__name__
