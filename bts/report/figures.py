"""Chart files: matplotlib without a display, one style, PNG for a folder and SVG for a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bts.atomic import replacing
from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR

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
        path: of the PNG.
        axes: (rows, columns) array of matplotlib axes.
        svg: `<svg>` element with text in the page's own colour; empty until the chart is written.
    """

    path: Path
    axes: np.ndarray
    svg: str = field(default="")

    @property
    def axis(self) -> Axes:
        """The first axes."""
        return self.axes[0, 0]


@contextmanager
def chart(path: Path, *, columns: int = 1, rows: int = 1, width: float = 4.4, height: float = 3.4) -> Iterator[Chart]:
    """Yield a chart to draw on, then write its PNG to `path` atomically and fill `svg`."""
    with plt.rc_context(STYLE):
        made, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained")
        try:
            drawn = Chart(path, axes)
            yield drawn
            made.draw_without_rendering()  # the layout of both files, computed once: half of the time
            made.set_layout_engine("none")
            _write_png(made, path)
            drawn.svg = _to_svg(made)
        finally:
            plt.close(made)


def _write_png(made: matplotlib.figure.Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            made.savefig(part, format="png", dpi=110, facecolor="white")
    except OSError as error:
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another folder or free some space") from error


def _to_svg(made: matplotlib.figure.Figure) -> str:
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
