"""Bundled models: the model folders in `bts/bundled/`, with checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bts
from bts.atomic import write_text
from bts.errors import RequestError

BUNDLED = Path(bts.__file__).parent / "bundled"
"""Folder of the bundled models."""
SUMS = "SHA256SUMS"
"""File with a line for every other file of a bundled model, in the format of `sha256sum`."""
REMEDY = "install bts again, or name another model with --joint, --seg or --cls"


def bundled_models(root: Path | None = None) -> list[Path]:
    """Return the folders of the bundled models, sorted by name."""
    root = BUNDLED if root is None else root
    return sorted(folder for folder in root.iterdir() if (folder / "model.json").is_file()) if root.is_dir() else []


def find_bundled(name: str, root: Path | None = None) -> Path | None:
    """Return the folder of the bundled model with that name, None where there is none."""
    return next((folder for folder in bundled_models(root) if folder.name == name), None)


def is_bundled(folder: Path, root: Path | None = None) -> bool:
    """Return whether a model folder is a bundled one."""
    return folder.resolve().parent == (BUNDLED if root is None else root).resolve()


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file of a bundled model."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SUMS)
    write_text(folder / SUMS, "".join(f"{_sum(file)}  {file.name}\n" for file in files))


def check_sums(folder: Path) -> None:
    """Compare every file of a bundled model with its SHA-256; 20 MB take some hundredths of a second.

    Raises:
        RequestError: a file is missing or differs.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{folder}: no readable {SUMS} in it: the package is incomplete, {REMEDY}") from error
    for line in lines:
        expected, _, name = line.partition("  ")
        file = folder / name
        if not name or not file.is_file():
            raise RequestError(f"{file}: no such file, though {SUMS} lists it: the package is incomplete, {REMEDY}")
        if _sum(file) != expected:
            raise RequestError(f"{file}: {file.stat().st_size:,} bytes with another SHA-256 than in {SUMS}: {REMEDY}")


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
