"""How does a prediction land on disk? Whole files only, in a folder of its own; `result.json` comes last: it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from bts.atomic import write_bytes, write_text
from bts.data.readers.catalogue import suffix
from bts.errors import RequestError
from bts.inference.drawing import overlay
from bts.inference.picture import as_bytes
from bts.inference.png import png_bytes
from bts.inference.prediction import Prediction

RESULT = "result.json"
"""A folder that holds this is a complete result."""
FILES = ("mask.png", "cam.png", "overlay.png", "mask.nii.gz")
LONGEST_NAME = 100


class ResultFolders:
    """Gives every input a folder of its own under one output folder.

    The name is the file's without its suffix, with `-2`, `-3` where several inputs share it, in the order they are asked for;
    signs that are not safe in a file name become `_`.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self._taken: set[str] = set()

    def folder(self, path: str | Path) -> Path:
        """Return the folder for the results of an input."""
        stem = safe_name(path)
        name, number = stem, 1
        while name.casefold() in self._taken:  # also on disks that hold A and a for the same
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return self.out / name


def safe_name(path: str | Path) -> str:
    """Return a file's name without folders and suffix, safe as the name of a folder.

    >>> safe_name("patients/../brain 1.nii.gz")
    'brain_1'
    """
    name = PurePath(str(path).replace("\\", "/")).name
    name = name[: len(name) - len(suffix(name))]
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:LONGEST_NAME] or "scan"


def write_prediction(prediction: Prediction, folder: str | Path) -> Path:
    """Write `mask.png`, `cam.png`, `overlay.png` and `result.json` of a slice; what is not answered is left out.

    Args:
        prediction: of one slice.
        folder: created where it is missing; files of an earlier result are replaced.

    Returns:
        the folder.

    Raises:
        RequestError: the folder can't be written to, or the disk is full.
    """
    folder = Path(folder)
    with writing(folder):
        empty_folder(folder)
        if prediction.mask is not None:
            write_picture(prediction.mask.view(np.uint8) * np.uint8(255), folder / "mask.png")
        if prediction.cam is not None:
            write_picture(as_bytes(prediction.cam), folder / "cam.png")
        write_picture(np.asarray(overlay(prediction)), folder / "overlay.png")
        write_result(prediction.to_dict(), folder)
    return folder


def empty_folder(folder: Path) -> None:
    """Make the folder; what an earlier result left in it goes, `result.json` first, as it stands for a complete one."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / RESULT, *(folder / name for name in FILES), *folder.glob("slices/*.png")):
        path.unlink(missing_ok=True)


def write_picture(picture: np.ndarray, path: Path) -> None:
    """Write a picture (H, W) or (H, W, 3) uint8 as PNG, at once or not at all."""
    write_bytes(path, png_bytes(picture))


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Write `result.json`, which stands for a complete result."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(folder / RESULT, text)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell in one line where and why a result can't be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: results can't be written there ({reason}): free space or name another --out") from error
