"""Charts of a run: its split by class and patient, and its losses and scores by epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bts.csv_files import read_frame
from bts.data.patient_ids import patient_of
from bts.data.split import Split
from bts.glossary import PARTS
from bts.report.figures import COLOURS, FAINT, chart, colour_of


def split_table(split: Split) -> pd.DataFrame:
    """Count slices and patients of each part and class: columns part, label, slices, patients."""
    rows = [(row.part, row.label or "unknown", patient_of(row.patient, split.group)) for row in split.rows]
    table = pd.DataFrame(rows, columns=["part", "label", "patient"])
    grouped = table.groupby(["part", "label"])["patient"]
    counts = pd.DataFrame({"slices": grouped.size(), "patients": grouped.nunique()})
    whole = pd.MultiIndex.from_product([PARTS, sorted(table["label"].unique())], names=["part", "label"])
    return counts.reindex(whole, fill_value=0).reset_index()


def draw_split(split: Split, path: Path) -> str:
    """Draw slices and patients of each class in each part; return the SVG."""
    table = split_table(split)
    labels = list(dict.fromkeys(table["label"]))
    colours = colour_of(labels)
    with chart(path, columns=2) as drawn:
        for axes, what in zip(drawn.axes[0], ("slices", "patients"), strict=True):
            counts = table.pivot(index="part", columns="label", values=what).reindex(list(PARTS))
            bottom = np.zeros(len(PARTS))
            for label in labels:
                heights = counts[label].to_numpy()
                bars = axes.bar(PARTS, heights, bottom=bottom, color=colours[label], label=label, width=0.7)
                tall = counts.to_numpy().sum(axis=1).max() / 25
                names = [str(n) if n > tall else "" for n in heights]
                axes.bar_label(bars, label_type="center", fontsize=8, color="white", labels=names)
                bottom += heights
            axes.set(title=f"{what} by part and class", ylabel=what)
        drawn.axes[0, 0].legend()
        drawn.axes[0, 1].annotate(
            f"split {split.fingerprint}", (1, 1), xycoords="axes fraction", ha="right", fontsize=7, color=FAINT
        )
    return drawn.svg


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of `curves.csv` by chart."""
    numbers = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    skipped = {
        "epoch",
        "stage",
        "lr",
        *(name for name in numbers if name.endswith(("_s", "_share"))),
    }  # no durations
    whole = [name for name in numbers if name.endswith("loss")]
    parts = [name for name in numbers if "_loss_" in name]
    scores = [name for name in numbers if name not in {*whole, *parts, *skipped}]
    groups = {"loss": whole, "scores on validation": scores, "learning rate": [name for name in numbers if name == "lr"]}
    return {title: names for title, names in groups.items() if names}


def draw_curves(curves: Path, path: Path) -> str | None:
    """Draw losses, scores and learning rate by epoch from a run's `curves.csv`; return the SVG, or None without data."""
    table = read_frame(curves) if curves.is_file() and curves.stat().st_size else pd.DataFrame()
    groups = _groups(table)
    if table.empty or not groups or "epoch" not in table:
        return None
    with chart(path, columns=len(groups), width=4.0) as drawn:
        for axes, (title, names) in zip(drawn.axes[0], groups.items(), strict=True):
            for number, name in enumerate(names):
                colour = COLOURS[number % len(COLOURS)]
                axes.plot(table["epoch"], table[name], color=colour, label=name, marker=".", linewidth=1.4, markersize=4)
            for epoch in _stage_starts(table):
                axes.axvline(epoch - 0.5, color=FAINT, linestyle=":", linewidth=1)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
            axes.set(title=title, xlabel="epoch")
    return drawn.svg


def _stage_starts(table: pd.DataFrame) -> list[int]:
    if "stage" not in table:
        return []
    changed = table["stage"].ne(table["stage"].shift()).to_numpy()
    return [int(epoch) for epoch in table["epoch"].to_numpy()[changed][1:]]
