"""Atomic writes: a file or folder appears under its name whole, or what was there stays.

Everything is written under another name in the same folder, which begins with `PREFIX`, and renamed at the end. A process that
is killed can leave such a file behind; nothing reads it, and it may be deleted.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".writing-"
"""Begins the name of a file that is not whole yet."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the name to write a file under; without an error it then takes the place of `path`.

    The name ends as `path` does, for libraries that look at the suffix. Processes and threads that write the same file at once
    do not disturb each other: the last one wins.
    """
    path = Path(path)
    part = path.with_name(f"{PREFIX}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8; bytes of a file name that are no UTF-8 are escaped, which JSON reads back as they were."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a binary file."""
    with replacing(path) as part:
        part.write_bytes(data)


def remove_leftovers(folder: str | Path) -> None:
    """Remove what a killed process left in a folder that no other process writes to."""
    for part in Path(folder).rglob(f"{PREFIX}*"):
        if part.is_file():
            part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new, empty folder; without an error it then takes the place of `path`, whose folder must exist."""
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{PREFIX}{path.name}-") as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
