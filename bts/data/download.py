"""Download of the figshare set: checked, resumable, and safe to run again.

Cheng, J. (2017): brain tumor dataset, figshare, doi 10.6084/m9.figshare.1512427, CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from bts.atomic import replacing, write_text
from bts.data.readers.mat import read_mat_variable
from bts.data.remote_file import Progress, RemoteFile, UnreachableError, fetch, size_of
from bts.errors import BtsError, InputError, RequestError

SERVER = "https://ndownloader.figshare.com/files"
ARCHIVES = (
    RemoteFile(
        "brainTumorDataPublic_1-766.zip",
        3381290,
        214401279,
        "74b949ad33f042e6e103523091cd1428",
        "cdac0a7f4152cb34dd79b13543da96c37a6928ad8cb823e2662150b1a73ade54",
    ),
    RemoteFile(
        "brainTumorDataPublic_767-1532.zip",
        3381296,
        217848429,
        "7e8a875500d2c8a346f270538e29890e",
        "d18e896d14f7af791cdd3d9b9342f9f974742a06132effde5a5219209862b4ce",
    ),
    RemoteFile(
        "brainTumorDataPublic_1533-2298.zip",
        3381293,
        215563856,
        "8227bf6080cb71f15a88be8d25c79ae7",
        "612d9f506c55c54db5f2f38b6d50741ef97a6d7c32b3e1be76e789674a97aefb",
    ),
    RemoteFile(
        "brainTumorDataPublic_2299-3064.zip",
        3381302,
        231679762,
        "b378a80d6174e5317d59eb28430c6652",
        "9a673c55d139133cfbc57097bf155b5ac9f33684ee97f40bf2afba332d416a3a",
    ),
)
FOLDS = RemoteFile("cvind.mat", 7005344, 5736)
"""The author's five folds. The publisher gives no sum for this file, and its published bytes were not at hand when this was
written, so no SHA-256 of them is known. Its size and its values are checked instead (`folds_problem`)."""
FOLD_SLICES = (570, 655, 562, 613, 664)
"""Slices in each fold, 3,064 together."""
FOLD_VALUES_SHA256 = "060829586697328578e934eefb3c6f9a5078ea5b51ba06472b4937edf06c48a9"
"""Of the folds of slices 1 to 3064, a byte each: whatever the file's bytes are, these are its values."""
FILES = (*ARCHIVES, FOLDS)

UNPACKED = "unpacked.json"
"""Slices of each archive with their sizes: makes a second run cheap."""
SLICE_NAME = re.compile(r"[1-9][0-9]*\.mat")


@dataclass
class Report:
    """What a download did, by file name."""

    fetched: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    slices: int = 0


def download(
    out: Path,
    *,
    files: Sequence[RemoteFile] = FILES,
    server: str = SERVER,
    keep_archives: bool = False,
    progress: Progress = lambda name, done, total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Download the figshare set to `out`, skipping what is already there.

    Args:
        out: folder for the `N.mat` files and `cvind.mat`, created if missing.
        files: files to download.
        server: base address; each file is below it by its number.
        keep_archives: whether archives are kept after unpacking.
        progress: called with the bytes received.
        sleep: waits between attempts.

    Returns:
        Report of fetched, present and failed files.

    Raises:
        RequestError: the folder can't be created, or too little disk space.
        UnreachableError: the server can't be reached.
    """
    make_folder(out)
    record = read_record(out)
    missing = [file for file in files if not is_done(file, out, record)]
    check_room(out, missing)
    report = Report(present=[file.name for file in files if file not in missing])
    for file in missing:
        try:
            settle(file, out, record, server=server, keep_archive=keep_archives, progress=progress, sleep=sleep)
            report.fetched.append(file.name)
        except UnreachableError:
            raise
        except BtsError as error:
            report.failed[file.name] = str(error)
    report.slices = sum(len(record.get(file.name, {})) for file in files)
    return report


def settle(
    file: RemoteFile,
    out: Path,
    record: dict[str, dict[str, int]],
    *,
    server: str,
    keep_archive: bool,
    progress: Progress,
    sleep: Callable[[float], None],
) -> None:
    """Fetch one file if it is missing or damaged, and unpack it if it is an archive."""
    path = out / file.name
    if not path.exists() or file.flaw(path) or (file == FOLDS and folds_problem(path)):
        path.unlink(missing_ok=True)
        fetch(file, f"{server.rstrip('/')}/{file.identity}", path, progress=progress, sleep=sleep)
    if file == FOLDS and (flaw := folds_problem(path)):
        path.unlink()
        raise InputError(f"{file.name}: {flaw}: it is not the author's, try again later or continue without the folds")
    if path.suffix != ".zip":
        return
    record[file.name] = unpack(path, out)
    write_record(out, record)
    if not keep_archive:
        path.unlink()


def is_done(file: RemoteFile, out: Path, record: dict[str, dict[str, int]]) -> bool:
    """Return whether a file is complete: every slice of it exists with its size."""
    if not file.name.endswith(".zip"):
        return size_of(out / file.name) == file.size and not (file == FOLDS and folds_problem(out / file.name))
    if file.name not in record and (slices := unpacked_by_user(file, out)):
        record[file.name] = slices
    known = record.get(file.name)
    return bool(known) and all(size_of(out / name) == size for name, size in (known or {}).items())


def folds_problem(path: Path) -> str | None:
    """Return how the values of `cvind.mat` differ from the author's five folds, or None."""
    try:
        values = np.ravel(read_mat_variable(path, "cvind")).astype(float)
    except InputError as error:
        return str(error)
    if values.size != sum(FOLD_SLICES) or not np.isin(values, (1, 2, 3, 4, 5)).all():
        return f"expected {sum(FOLD_SLICES)} folds from 1 to 5, received {values.size} values"
    folds = values.astype(np.uint8)
    counts = tuple(int((folds == number).sum()) for number in range(1, 6))
    if counts != FOLD_SLICES:
        return f"expected {FOLD_SLICES} slices in the folds, received {counts}"
    return None if hashlib.sha256(folds.tobytes()).hexdigest() == FOLD_VALUES_SHA256 else "slices are in other folds"


def unpacked_by_user(file: RemoteFile, out: Path) -> dict[str, int]:
    """Return the slices in an archive's name (`_1-766.zip`) with their sizes, if all of them exist already."""
    promised = re.search(r"_(\d+)-(\d+)\.zip", file.name)
    names = [f"{number}.mat" for number in range(int(promised[1]), int(promised[2]) + 1)] if promised else []
    sizes = {name: size_of(out / name) for name in names}
    return sizes if all(sizes.values()) else {}


def unpack(archive: Path, out: Path) -> dict[str, int]:
    """Write an archive's `N.mat` members flat into `out`, and return their sizes by name.

    Raises InputError if a member's path leads out of the folder, two members have one name, or the archive is damaged; only
    complete slices are written then.
    """
    try:
        with zipfile.ZipFile(archive) as pack:
            members = slice_members(pack, archive.name)
            require_space(out, sum(each.file_size for each in members.values()), f"to unpack {archive.name}")
            for name, member in members.items():
                with pack.open(member) as source, replacing(out / name) as part, part.open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive.name}: damaged archive ({error}): delete it and run again") from None
    return {name: member.file_size for name, member in members.items()}


def slice_members(pack: zipfile.ZipFile, archive: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are slices by their flat name; other harmless files are ignored."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in pack.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise InputError(f"{archive}: the member '{member.filename}' leads out of the folder: nothing is unpacked")
        if member.is_dir() or not SLICE_NAME.fullmatch(path.name):
            continue
        if path.name in found:
            raise InputError(f"{archive}: two members are named '{path.name}': nothing is unpacked")
        found[path.name] = member
    if not found:
        raise InputError(f"{archive}: no slice `N.mat` in it: it is not figshare's archive")
    return found


def make_folder(out: Path) -> None:
    """Create the folder; raises `RequestError` if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{out}: the folder can't be made ({error.strerror}): choose another with --out") from None


def check_room(out: Path, missing: Sequence[RemoteFile]) -> None:
    """Check the disk space for the archives and, about as much again, the slices in them."""
    needed = sum(2 * file.size - size_of(out / f"{file.name}.part") for file in missing)
    require_space(out, needed, "for the download")


def require_space(out: Path, needed: int, what: str) -> None:
    """Raise RequestError if fewer than `needed` bytes are free."""
    free = shutil.disk_usage(out).free
    if needed > free:
        short = f"{needed / 1e9:.1f} GB are needed {what}, {free / 1e9:.1f} GB are free"
        raise RequestError(f"{out}: {short}: free disk space or choose another folder with --out")


def read_record(out: Path) -> dict[str, dict[str, int]]:
    """Return the slices of each archive; empty if unknown."""
    try:
        found = json.loads((out / UNPACKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(out: Path, record: dict[str, dict[str, int]]) -> None:
    """Write the slices of each archive."""
    write_text(out / UNPACKED, json.dumps(record, indent=0) + "\n")
