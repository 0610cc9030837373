"""Chart files (PNG for a folder, SVG for a page, one style), and the charts of a run: its split and its curves."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bts.atomic import replacing
from bts.csv_files import make_frame, read_frame
from bts.data.patient_ids import patient_of
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR, PARTS

COLOURS = ("#3b76c4", "#d1782c", "#3f9a57", "#9a62b5", "#c24f4b", "#7d7d7d")
"""Blue, orange, green, violet, red, grey: distinct in grey print, for most colour-blind readers, and on white and black."""
INK = "#222223"
"""Colour of text and axes; on a page it becomes the page's own text colour."""
FAINT = "#8a8a8a"
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "bts",
}


@dataclass
class Chart:
    """A figure while it is drawn, and its SVG afterwards.

    Attributes:
        path: path of the PNG.
        figure: matplotlib's figure.
        axes: (rows, columns) array of matplotlib axes.
    """

    path: Path
    figure: Figure
    axes: np.ndarray

    @property
    def axis(self) -> Axes:
        """The first axes."""
        return self.axes[0, 0]

    @functools.cached_property
    def svg(self) -> str:
        """The `<svg>` element of the finished chart, with text in the page's own colour."""
        with plt.rc_context(STYLE):
            return _to_svg(self.figure)


@contextmanager
def chart(path: Path, *, columns: int = 1, rows: int = 1, width: float = 4.4, height: float = 3.4) -> Iterator[Chart]:
    """Yield a chart to draw on, then write its PNG to `path` atomically."""
    with plt.rc_context(STYLE):
        made, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained")
        try:
            drawn = Chart(path, made, axes)
            yield drawn
            layout = made.get_layout_engine()
            assert layout is not None
            layout.execute(made)  # for both files, computed once: half of the time
            made.set_layout_engine("none")
            _write_png(made, path)
        finally:
            plt.close(made)


def _write_png(made: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            made.savefig(part, format="png", dpi=110, facecolor="white")
    except OSError as error:
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another folder or free some space") from error


def _to_svg(made: Figure) -> str:
    text = io.StringIO()
    made.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui")


def plot_interval(
    axes: Axes, score: Interval, height: float, *, colour: str = COLOURS[0], marker: str = "o", label: str | None = None
) -> None:
    """Plot a score as a marker and its interval as a horizontal line."""
    axes.plot(score.value, height, marker, color=colour, label=label)
    if score.low is not None and score.high is not None:
        axes.plot([score.low, score.high], [height, height], color=colour)


def colour_of(labels: Iterable[str]) -> dict[str, str]:
    """Return a colour per class, the same in every chart; classes of other sets get the remaining ones in order.

    >>> colour_of(["pituitary"])["pituitary"] == colour_of(["glioma", "pituitary"])["pituitary"]
    True
    """
    named, labels = dict(zip((*FIGSHARE_CLASSES, NO_TUMOUR), (*COLOURS[:3], COLOURS[5]), strict=True)), list(labels)
    others = sorted(set(labels) - set(named))
    named |= {label: COLOURS[3 + number % 2] for number, label in enumerate(others)}
    return {label: named[label] for label in labels}


def split_table(split: Split) -> pd.DataFrame:
    """Count slices and patients of each part and class: columns part, label, slices, patients."""
    table = make_frame(
        [
            {"part": row.part, "label": row.label or "unknown", "patient": patient_of(row.patient, split.same_patient)}
            for row in split.rows
        ]
    )
    grouped = table.groupby(["part", "label"])["patient"]
    counts = pd.DataFrame({"slices": grouped.size(), "patients": grouped.nunique()})
    whole = pd.MultiIndex.from_product([PARTS, sorted(table["label"].unique())], names=["part", "label"])
    return counts.reindex(whole, fill_value=0).reset_index()


def draw_split(split: Split, path: Path) -> Chart:
    """Draw slices and patients of each class in each part."""
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
    return drawn


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


def draw_curves(curves: Path, path: Path) -> Chart | None:
    """Draw losses, scores and learning rate by epoch from a run's `curves.csv`; return None without data."""
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
    return drawn


def _stage_starts(table: pd.DataFrame) -> list[int]:
    if "stage" not in table:
        return []
    changed = table["stage"].ne(table["stage"].shift()).to_numpy()
    return [int(epoch) for epoch in table["epoch"].to_numpy()[changed][1:]]
