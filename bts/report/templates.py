"""Jinja environment of the report pages: HTML and Markdown templates of this package, with filters for scores."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import COLUMNS


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
    """Return the environment; text is escaped in HTML templates."""
    made = Environment(
        loader=PackageLoader("bts.report", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
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
