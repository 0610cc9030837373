"""Which models come with the package, and are they as they were packed? Folders in `bts/bundled/`, each a model folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bts
from bts.errors import RequestError

BUNDLED = Path(bts.__file__).parent / "bundled"
"""Folder of the models in the package."""
SUMS = "SHA256SUMS"
"""File with a line for every other file of a boxed model, as `sha256sum` writes and checks it."""
AGAIN = "install bts again, or name another model with --joint, --seg or --cls"


def bundled_models(box: Path | None = None) -> list[Path]:
    """Return the model folders in the package, by name; none where it has none."""
    box = BUNDLED if box is None else box
    return sorted(folder for folder in box.iterdir() if (folder / "model.json").is_file()) if box.is_dir() else []


def find_bundled(name: str, box: Path | None = None) -> Path | None:
    """Return the folder of the model in the package with that name, None where there is none."""
    return next((folder for folder in bundled_models(box) if folder.name == name), None)


def is_bundled(folder: Path, box: Path | None = None) -> bool:
    """Return whether a model folder is one of the package's."""
    return folder.resolve().parent == (BUNDLED if box is None else box).resolve()


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file of a boxed model."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SUMS)
    (folder / SUMS).write_text("".join(f"{_sum(file)}  {file.name}\n" for file in files), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Compare every file with its SHA-256; some 20 MB take a few hundredths of a second.

    Raises:
        RequestError: a file is missing or not as it was packed.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{folder}: no readable {SUMS} in it: the package is incomplete, {AGAIN}") from error
    for line in lines:
        expected, _, name = line.partition("  ")
        file = folder / name
        if not name or not file.is_file():
            raise RequestError(f"{file}: no such file, though {SUMS} names it: the package is incomplete, {AGAIN}")
        if _sum(file) != expected:
            raise RequestError(f"{file}: {file.stat().st_size:,} bytes that are not those that were packed: {AGAIN}")


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
