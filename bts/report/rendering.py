"""Rendering of report pages and model cards: Jinja templates with filters for scores, and Markdown tables."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment
from PIL import Image

from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import COLUMNS
from bts.markup import escape, make_environment


def span(score: Interval, digits: int = 3) -> str:
    """Return the range of an interval, or why there is none."""
    if score.low is None or score.high is None:
        return "one patient" if score.n_patients == 1 else "no interval"
    return f"{score.low:.{digits}f} to {score.high:.{digits}f}"


def digits_of(name: str) -> int:
    """Return the number of decimals of a score by its name: one for pixels, otherwise three."""
    return 1 if name.endswith("_px") else 3


def first_defined(scores: dict[str, Interval | None]) -> Interval | None:
    """Return the first defined score of a table row, whose counts are shown."""
    return next((score for score in scores.values() if score is not None), None)


@functools.cache
def environment() -> Environment:
    """Return the environment of the report's templates."""
    made = make_environment("bts.report")
    made.filters |= {
        "fixed": lambda value, digits=3: f"{value:.{digits}f}",
        "percent": lambda value, digits=1: f"{value:.{digits}%}",
        "span": span,
        "digits_of": digits_of,
        "first_defined": first_defined,
        "heads": lambda names: [COLUMNS[name] for name in names],
    }
    return made


def render(template: str, **context: Any) -> str:
    """Return a filled template."""
    return environment().get_template(template).render(**context)


_NUMBERS = re.compile(r"\d[\d.,% a-z]*")
"""Numbers with plain words, which need no escaping: `0.341`, `1 of 4`, `0.307 to 0.396`."""


class Raw(str):
    """Trusted Markdown."""


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Interval):
        return value.text()
    return str(value) if isinstance(value, Raw) or _NUMBERS.fullmatch(str(value)) else escape(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; an interval is shown as value and range, None as an empty cell.

    >>> print(table(["a", "b"], [("x|y", None)]))
    | a | b |
    |---|---|
    | x&#124;y |  |
    """
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)])


def data_uri(picture: Image.Image) -> str:
    """Return an image as the data URI of a JPEG."""
    written = io.BytesIO()
    picture.save(written, format="JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
