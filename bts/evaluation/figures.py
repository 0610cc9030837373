"""How do numbers become pictures? matplotlib without a display; every function takes data and a path, and writes one PNG."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bts.data.families import person
from bts.data.split import Split
from bts.errors import RequestError
from bts.glossary import PARTS

COLOURS = ("#3b6fb6", "#d1782c", "#3f9152", "#8f5aa8", "#b0413e", "#6b6b6b")
"""Blue, orange, green, violet, red, grey: told apart in grey print and by most colour-blind readers."""


@contextmanager
def figure(path: Path, *, columns: int = 1, rows: int = 1, width: float = 4.5, height: float = 3.4) -> Iterator[np.ndarray]:
    """Yield a (rows, columns) array of axes and write the figure to `path` afterwards, at once or not at all."""
    made, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained")
    try:
        yield axes
        save(made, path)
    finally:
        plt.close(made)


def save(made: Figure, path: Path) -> None:
    """Write a figure as PNG; raises RequestError where the place can't be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(part, format="png", dpi=110)
        os.replace(part, path)
    except OSError as error:
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another folder or free some room") from error


def _clean(axes: Axes, *, title: str, x: str = "", y: str = "") -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_split(split: Split, path: Path) -> None:
    """Draw slices and patients of each class in each part, so that a lopsided split is seen at once."""
    table = pd.DataFrame([(row.part, row.label or "unknown", person(row.patient, split.group)) for row in split.rows])
    table.columns = pd.Index(["part", "label", "person"])
    labels = sorted(table["label"].unique())
    with figure(path, columns=2) as axes:
        for cell, (what, title) in zip(axes[0], [("slices", "slices"), ("person", "patients")], strict=True):
            grouped = table.groupby(["part", "label"])["person"]
            counts = (grouped.size() if what == "slices" else grouped.nunique()).unstack(fill_value=0)
            counts = counts.reindex(index=list(PARTS), columns=labels, fill_value=0)
            bottom = np.zeros(len(PARTS))
            for colour, label in zip(COLOURS * 3, labels, strict=False):
                bars = cell.bar(PARTS, counts[label], bottom=bottom, color=colour, label=label, width=0.7)
                cell.bar_label(
                    bars, label_type="center", fontsize=8, color="white", labels=[str(n) if n else "" for n in counts[label]]
                )
                bottom += counts[label].to_numpy()
            _clean(cell, title=f"{title} by part and class", y=title)
        axes[0, 0].legend(fontsize=8, frameon=False)
        axes[0, 1].annotate(
            f"split {split.fingerprint}", (1, 1), xycoords="axes fraction", ha="right", fontsize=7, color="#777777"
        )


def _curve_groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return which columns of `curves.csv` share a chart: losses, scores, learning rate."""
    numbers = [name for name in table.columns if name not in ("epoch", "stage") and pd.api.types.is_numeric_dtype(table[name])]
    whole = [name for name in numbers if name.endswith("loss")]
    rate = [name for name in numbers if name == "lr"]
    parts = [name for name in numbers if "_loss_" in name]
    speed = [name for name in numbers if name in ("slices_per_s", "waiting_share")]
    scores = [name for name in numbers if name not in {*whole, *rate, *parts, *speed}]
    return {"loss": whole, "scores": scores, "learning rate": rate}


def draw_curves(curves: Path, path: Path) -> None:
    """Draw losses, scores and learning rate by epoch from a run's `curves.csv`; nothing where there is none."""
    if not curves.is_file():
        return
    table = pd.read_csv(curves)
    groups = {title: names for title, names in _curve_groups(table).items() if names}
    if table.empty or not groups:
        return
    with figure(path, columns=len(groups)) as axes:
        for cell, (title, names) in zip(axes[0], groups.items(), strict=True):
            for colour, name in zip(COLOURS * 3, names, strict=False):
                cell.plot(table["epoch"], table[name], color=colour, label=name, marker=".", linewidth=1.4, markersize=4)
            for epoch in _stage_starts(table):
                cell.axvline(epoch - 0.5, color="#999999", linestyle=":", linewidth=1)
            cell.xaxis.get_major_locator().set_params(integer=True)
            cell.legend(fontsize=8, frameon=False)
            _clean(cell, title=title, x="epoch")


def _stage_starts(table: pd.DataFrame) -> list[int]:
    if "stage" not in table:
        return []
    changed = table["stage"].ne(table["stage"].shift()).to_numpy()
    return [int(epoch) for epoch in table["epoch"].to_numpy()[changed][1:]]
