"""Input files of a job: files, folders and patterns expanded into one list in a stable order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bts.data.readers.catalogue import SUFFIXES
from bts.data.readers.dicom import is_dicom
from bts.errors import RequestError
from bts.inference.writers.base import RESULT

NO_SLICES = ("cvind.mat",)
"""Files with a readable suffix that hold no slice: figshare's table of folds."""


def expand(named: Sequence[str | Path], *, besides: Path | None = None) -> list[Path]:
    """Return the input files, each once, in the order of the names and in natural order within a folder.

    A file is taken as it is. A folder is searched recursively for readable files; hidden files and folders, and folders of
    results, are skipped. A name with `*`, `?` or `[` is a pattern, `**` for any depth.

    Args:
        named: files, folders and patterns.
        besides: folder that is skipped in the search: the output folder.

    Raises:
        RequestError: a name that does not exist, a folder without a readable file, a pattern without a match.
    """
    if not named:
        raise RequestError("no scan is named: name files, folders or patterns")
    found: dict[Path, None] = {}
    for name in named:
        found |= dict.fromkeys(_meant(name, besides))
    return list(found)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key in which slice 9 comes before slice 10.

    >>> sorted([Path("10.mat"), Path("9.mat")], key=natural)[0].name
    '9.mat'
    """
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def _meant(name: str | Path, besides: Path | None) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return _inside(path, besides)
    if path.exists():
        return [path]
    if not glob.has_magic(str(name)):
        raise RequestError(f"{name}: no such file or folder")
    matches = sorted((Path(match) for match in glob.glob(str(name), recursive=True)), key=natural)
    files = [match for match in matches if match.is_file() and _readable(match)]
    if not files:
        raise RequestError(
            f"{name}: no readable file matches this pattern ({len(matches)} matches; readable are {_suffixes()})"
        )
    return files


def _inside(folder: Path, besides: Path | None) -> list[Path]:
    files = sorted(_walk(folder, besides), key=natural)
    if not files:
        raise RequestError(f"{folder}: no readable file in this folder (readable are {_suffixes()})")
    return files


def _walk(folder: Path, besides: Path | None) -> Iterator[Path]:
    left_out = None if besides is None else os.path.realpath(besides)
    for here, folders, names in os.walk(folder):
        searched = [name for name in folders if not name.startswith(".")]
        searched = [name for name in searched if os.path.realpath(os.path.join(here, name)) != left_out]
        folders[:] = [] if RESULT in names else searched
        if RESULT not in names:
            yield from (path for name in names if _readable(path := Path(here, name)))


def _readable(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name in NO_SLICES:
        return False
    try:
        return path.is_file() and (name.endswith(SUFFIXES) or is_dicom(path))  # opening a named pipe would wait for a writer
    except OSError:  # a file without permission is skipped
        return False


def _suffixes() -> str:
    return ", ".join(SUFFIXES)
