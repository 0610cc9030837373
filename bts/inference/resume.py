"""Result folders: a name for each input, and whether its result is complete, so that an interrupted job can be resumed."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

from bts.data.readers.catalogue import suffix
from bts.errors import RequestError
from bts.inference.writers.json_result import read_result

LONGEST_NAME = 100


class ResultFolders:
    """A folder for each input under one output folder.

    The name is the file's without its suffix, with `-2`, `-3` where several inputs share it, in the order they are asked for;
    characters that are not safe in a file name become `_`.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self._taken: set[str] = set()

    def folder(self, path: str | Path) -> Path:
        """Return the folder for the result of an input."""
        stem = safe_name(path)
        name, number = stem, 1
        while name.casefold() in self._taken:  # some file systems do not tell A from a
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


def is_finished(
    folder: Path,
    *,
    source: str | Path,
    origin: dict[str, Any],
    cam_class: str | None = None,
    cam_scale: str = "slice",
    cam_method: str | None = None,
    axis: int | None = None,
) -> bool:
    """Return whether a folder holds the complete result that would be written now.

    `result.json` is written last, so where it is the other files are too. It must be of the same schema version, file,
    weights, runtime and package versions, and the class maps must explain the class that is asked for, with
    the scale and the method that are asked for.

    Args:
        folder: of the result.
        source: the input.
        origin: `models`, `runtime` and `versions` as they would stand in `result.json`.
        cam_class: class that the maps explain; None for the predicted one.
        cam_scale: `slice` or `model`; a model without a scale of its own always gives `slice`.
        cam_method: `gradcam` or `hirescam`; None for any.
        axis: along which a volume is cut; None for any.
    """
    try:
        result = read_result(folder)
    except RequestError:
        return False
    if any(result.get(key) != value for key, value in origin.items()) or result.get("source") != str(source):
        return False
    if axis is not None and result.get("axis", axis) != axis:
        return False
    rows = result.get("slices", [result])
    return all(
        row.get("cam_class") in (None, cam_class or row.get("class"))
        and (row.get("cam_scale") in (None, cam_scale) or row.get("cam_strength") is None)
        and (cam_method is None or row.get("cam_method") in (None, cam_method))
        for row in rows
    )
