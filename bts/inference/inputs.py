"""Input files of a job: files, folders, patterns and lists expanded into one list in a stable order."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bts.data.object_store import Address, find_objects, is_address, open_store
from bts.data.readers.catalogue import KINDS, SUFFIXES, is_scan, suffix
from bts.errors import RequestError
from bts.inference.lists import is_list, read_list
from bts.inference.writers.base import RESULT

NO_SLICES = ("cvind.mat",)
"""Files with a readable suffix that hold no slice: figshare's table of folds."""
DICOMDIR = "DICOMDIR"
"""Name of the list of files on a DICOM disc."""
ARCHIVE = ".zip"
"""Suffix of archives, which are taken where they are named, not where they lie in a folder."""
MAX_RESULT_BYTES = 2**26
"""Largest `result.json` that is looked at: a volume of thousands of slices has some megabytes."""


def expand(named: Sequence[str | Path], *, besides: Path | None = None) -> list[Path]:
    """Return the input files, each once, in the order of the names and in natural order within a folder.

    A file is taken as it is, but a DICOMDIR stands for its folder. A folder is searched for scans, also in its folders and
    links; hidden files and folders and folders of results are skipped. A name with `*`, `?` or `[` is a pattern, `**` for any
    depth. An address (`s3://...`) names an object or a folder of them. A `.txt` or `.csv` file is a list of files, folders and
    addresses; one of them that can't be read stays in the answer, as a million others need not wait for it.

    Args:
        named: files, folders, patterns, addresses and lists.
        besides: folder that is skipped in the search: the output folder.

    Raises:
        RequestError: a name that does not exist, a folder without a readable file, a pattern without a match, no list of paths,
            an object store that can't be read.
    """
    return find_inputs(named, besides=besides)[0]


class Found(NamedTuple):
    """Input files.

    Attributes:
        files: each once, in order.
        skipped: visible files of the searched folders that are no scans.
        together: those of `files` that were found in folders and lists.
    """

    files: list[Path]
    skipped: list[Path]
    together: set[Path]


def find_inputs(named: Sequence[str | Path], *, besides: Path | None = None) -> Found:
    """Return the input files as `expand`, and how they were found."""
    if not named:
        raise RequestError("no scan is named: name files, folders or patterns")
    found: dict[Path, None] = {}
    skipped: list[Path] = []
    together: set[Path] = set()
    for name in named:
        listed, folder = is_list(Path(name)), _folder(Path(name))
        if is_address(name):
            files = _stored(Address(name), skipped)
        elif listed:
            files = [file for entry in read_list(Path(name)) for file in _listed(entry, besides, skipped)]
        else:
            files = _meant(name, besides) if folder is None else _inside(folder, besides, skipped)
        together.update(files if listed or folder is not None else ())
        found |= dict.fromkeys(files)
    return Found(list(found), sorted(set(skipped), key=natural_key), together)


def _folder(path: Path) -> Path | None:
    """Return the folder that a name stands for: itself, or that of a DICOMDIR, below which all its files are."""
    if path.name.upper() == DICOMDIR and os.path.isfile(path):
        return path.parent
    return path if os.path.isdir(path) else None  # False for a name that is too long, where pathlib raises


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key in which slice 9 comes before slice 10.

    >>> sorted([Path("10.mat"), Path("9.mat")], key=natural_key)[0].name
    '9.mat'
    """
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def _meant(name: str | Path, besides: Path | None) -> list[Path]:
    path = Path(name)
    if path.exists():
        return [path]
    if not glob.has_magic(str(name)):
        raise RequestError(f"{name}: no such file or folder")
    matches = sorted((Path(match) for match in glob.glob(str(name), recursive=True)), key=natural_key)
    visible = [match for match in matches if not match.name.startswith(".")]
    files = [match for match in visible if _readable(match) or (match.suffix.lower() == ARCHIVE and match.is_file())]
    if not files:
        raise RequestError(
            f"{name}: no readable file matches this pattern ({len(matches)} matches; readable are {_suffixes()})"
        )
    return files


def _listed(path: Path, besides: Path | None, skipped: list[Path]) -> list[Path]:
    if isinstance(path, Address):
        return _stored(path, skipped)
    folder = _folder(path)
    found = [] if folder is None else sorted(_walk(folder, besides, skipped), key=natural_key)
    return found or [path]


def _stored(address: Address, skipped: list[Path]) -> list[Path]:
    """Return the scans below an address in an object store; what has the name of a scan is one, without a look."""
    if suffix(address):
        open_store(address)
        return [address]
    files: list[Path] = []
    for each in find_objects(address):
        (files if suffix(each) and each.name.lower() not in NO_SLICES else skipped).append(each)
    if not files:
        raise RequestError(f"{address}: no readable object below it (readable are {_suffixes()})")
    if dicom := [each for each in files if KINDS[suffix(each)] == "dicom"]:
        raise RequestError(f"{dicom[0]}: DICOM in an object store is not grouped by series: mount the store as a folder")
    return sorted(files, key=natural_key)


def _inside(folder: Path, besides: Path | None, skipped: list[Path]) -> list[Path]:
    files = sorted(_walk(folder, besides, skipped), key=natural_key)
    if not files:
        raise RequestError(f"{folder}: no readable file in this folder (readable are {_suffixes()})")
    return files


def _walk(folder: Path, besides: Path | None, skipped: list[Path]) -> Iterator[Path]:
    """Yield the scans of a folder and of those in it, linked ones too, each folder once."""
    seen = set() if besides is None else {os.path.realpath(besides)}
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen or (RESULT in names and is_result(Path(here, RESULT))):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(here, name) for name in names if not name.startswith(".")):
            if _readable(path):
                yield path
            elif path.name != RESULT:
                skipped.append(path)


def is_result(file: Path) -> bool:
    """Return whether a `result.json` is one of this package: other programs write files of this name too."""
    try:
        if file.stat().st_size > MAX_RESULT_BYTES:
            return False
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"schema_version", "source"} <= values.keys()


def _readable(path: Path) -> bool:
    return path.name.lower() not in NO_SLICES and is_scan(path)  # opening a named pipe would wait for a writer


def _suffixes() -> str:
    return ", ".join(SUFFIXES)
