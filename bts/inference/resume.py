"""Result folders: a name for each input, and whether its result is complete, so that an interrupted job can be resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePath
from typing import Any

from bts.data.readers.catalogue import suffix
from bts.errors import RequestError
from bts.inference.writers.base import RESULT
from bts.inference.writers.json_result import read_result, source_id

LONGEST_NAME = 100


class ResultFolders:
    """A folder for each input under one output folder.

    The name is the file's without its suffix, with `-2`, `-3` where several inputs share it, in the order they are asked for;
    characters that are not safe in a file name become `_`. An input whose result is there keeps its folder, and no input gets
    the folder of another input's result, also one of an earlier job.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self._names = _names_by_source(self.out)
        self._taken = {name.casefold() for name in self._names.values()}  # some file systems do not tell A from a
        self._numbers: dict[str, int] = {}

    def folder(self, path: str | Path) -> Path:
        """Return the folder for the result of an input."""
        return self.out / (self._names.get(source_id(path)) or self._free(safe_name(path)))

    def _free(self, stem: str) -> str:
        name, number = stem, self._numbers.get(stem.casefold(), 1)
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._numbers[stem.casefold()] = number  # all numbers below are taken: a million files of one name take linear time
        self._taken.add(name.casefold())
        return name


def _names_by_source(out: Path) -> dict[str, str]:
    """Return the name of each folder with a result in an output folder by the input that it is of."""
    found: dict[str, str] = {}
    if not out.is_dir():
        return found
    for folder in sorted(out.iterdir()):
        if not (folder / RESULT).is_file():
            continue
        try:
            values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # half a result is of no input
        known = values.get("source_id") if isinstance(values, dict) else None
        found.setdefault(str(known or f"unknown input of {folder.name}"), folder.name)
    return found


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
    pictures: str = "none",
) -> bool:
    """Return whether a folder holds the complete result that would be written now.

    `result.json` is written last, so where it is the other files are too. It must be of the same schema version, file,
    weights, runtime and package versions, and the class maps must explain the class that is asked for, with
    the scale and the method that are asked for.

    Args:
        folder: folder of the result.
        source: the input.
        origin: `models`, `runtime` and `versions` as they would stand in `result.json`.
        cam_class: class that the maps explain; None for the predicted one.
        cam_scale: `slice` or `model`; a model without a scale of its own always gives `slice`.
        cam_method: `gradcam` or `hirescam`; None for any.
        axis: along which a volume is cut; None for any.
        pictures: slices of a volume that are to be drawn: `key`, `all` or `none`; a lone picture unless it is `none`.
    """
    try:
        result = read_result(folder)
    except RequestError:
        return False
    if any(result.get(key) != value for key, value in origin.items()) or result.get("source") != str(source):
        return False
    if result.get("source_id") != source_id(source):
        return False
    if axis is not None and result.get("axis", axis) != axis:
        return False
    if not _drawn(result, folder, pictures):
        return False
    rows = result.get("slices", [result])
    return all(
        row.get("cam_class") in (None, cam_class or row.get("class"))
        and (row.get("cam_scale") in (None, cam_scale) or row.get("cam_strength") is None)
        and (cam_method is None or row.get("cam_method") in (None, cam_method))
        for row in rows
    )


def _drawn(result: dict[str, Any], folder: Path, pictures: str) -> bool:
    """Return whether what is to be drawn is; False for a volume's result of before volumes were decided."""
    if "slices" not in result:
        return pictures == "none" or (folder / "overlay.png").is_file()
    lesions = result.get("lesions", ())
    wanted = [row["index"] for row in result["slices"] if not row["blank"]]
    if pictures == "key" and lesions is not None:
        wanted = [lesion["largest_slice"] for lesion in lesions]
    there = {int(path.stem) for path in (folder / "slices").glob("*.png") if path.stem.isdecimal()}
    return "tumour" in result and (pictures == "none" or there >= set(wanted))
