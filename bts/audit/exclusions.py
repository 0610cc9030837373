"""Known mislabelled slices of public sets: published as healthy T1-weighted MRI, identified by their content.

`excluded_slices.csv` names no image: a slice is known by the signs of its low cosine frequencies, which survive another file
format, another size and another contrast. The slices were judged by eye on contact sheets, by people without medical training.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bts.audit.descriptor import FINE, VIEW_SIDE, describe
from bts.csv_files import dict_reader

TABLE = Path(__file__).with_name("excluded_slices.csv")
REASONS = {
    "ct": "computed tomography",
    "t2": "T2-weighted",
    "diffusion": "diffusion- or susceptibility-weighted",
    "mass": "shows a mass, a cyst or a large lesion",
}
"""Reason in the table -> its meaning."""
TOLERANCE = 15
"""Differing signs, of 120, up to which two slices are one. In 300 slices stored again as JPEG (quality 75 to 90, scaled by 0.8
to 2) at most 15 changed. Of 2,162 healthy slices of BRISC and Kaggle, none outside the table is within 16 of one in it."""


def slice_key(thumb: np.ndarray) -> str:
    """Return the key of a slice as 30 hexadecimal digits, given its thumbnail (S, S) uint8 of `bts.audit.views`."""
    return np.packbits(_signs(thumb)).tobytes().hex()


def exclusion_reason(thumb: np.ndarray, *, table: Path = TABLE) -> str | None:
    """Return why the slice with this thumbnail is excluded, a key of `REASONS`, or None where it is not."""
    signs, reasons = read_exclusions(table)
    differing = (signs != _signs(thumb)).sum(axis=1)
    nearest = int(differing.argmin())
    return reasons[nearest] if differing[nearest] <= TOLERANCE else None


@cache
def read_exclusions(table: Path) -> tuple[np.ndarray, list[str]]:
    """Return the signs (N, 120) bool and the reasons of the slices in a table of exclusions."""
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(dict_reader(handle))
    keys = np.array([list(bytes.fromhex(row["key"])) for row in rows], dtype=np.uint8)
    return np.unpackbits(keys, axis=1).astype(bool), [row["reason"] for row in rows]


def _signs(thumb: np.ndarray) -> np.ndarray:
    view = Image.fromarray(np.asarray(thumb, dtype=np.uint8)).resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BOX)
    return describe(np.asarray(view, dtype=np.float32)[None], frequencies=FINE)[0] > 0
