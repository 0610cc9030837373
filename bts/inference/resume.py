"""Is an input's result there already, whole, and from the same models? Then it need not be made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bts.inference.write import RESULT


def is_finished(
    folder: Path, *, source: str | Path, origin: dict[str, Any], cam_class: str | None = None, axis: int | None = None
) -> bool:
    """Return whether a folder holds the whole result that would be written now.

    `result.json` is written last, so where it stands the other files do. It must be of the same file, weights, runtime and
    versions, and the maps must explain what is asked for now.

    Args:
        folder: of the result.
        source: the input.
        origin: who would answer: `models`, `runtime` and `versions` as they stand in `result.json`.
        cam_class: class that the maps explain; None for the predicted one.
        axis: along which a volume is cut; None for any.
    """
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(result, dict) or any(result.get(key) != value for key, value in origin.items()):
        return False
    if result.get("source") != str(source) or (axis is not None and result.get("axis", axis) != axis):
        return False
    rows = result.get("slices", [result])
    return all(row.get("cam_class") in (None, cam_class or row.get("class")) for row in rows)
