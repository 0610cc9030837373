"""HTML of the page and its printout, filled from the templates beside this module; all values are escaped."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bts.apps.web.result import BATCH_ZIP, FILES, Result, Row, layers_of, offered
from bts.apps.web.words import begun, facts_of, named, ordered_warnings, ranges, volume_facts
from bts.glossary import DISCLAIMER
from bts.inference.model_selection import PART
from bts.inference.panel import percent
from bts.inference.picture import CONTOUR, HEAT, STRENGTH
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.statements import REFER
from bts.inference.writers.json_result import BLANK

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
"""Fonts of the reader's own machine: no font is fetched."""
SHARE = "(share) => { document.documentElement.style.setProperty('--bts-share', share); }"
"""JavaScript that takes the strength of the heat."""
LINE = "(shown) => { document.documentElement.style.setProperty('--bts-line', shown ? 1 : 0); }"
"""JavaScript that takes whether the contour is shown."""
WAITING = (
    '<div class="bts-panel"><p class="bts-soft">Drop a scan: PNG, JPEG, TIFF, BMP, GIF, WebP, MAT, DICOM or NIfTI, '
    "a slice or a volume. "
    "It stays on this server and is removed when you close the page.</p></div>"
)
EMPTY = (
    '<div class="bts-stage empty"><p>The scan appears here, with the contour of the mask '
    "and the heat map of the class.</p></div>"
)
TABLE_COLUMNS = (("File", ""), ("Class", ""), ("Probability", "n"), ("Mask, px", "n"), ("Agree", ""), ("Notes", ""))
MAX_PRINTED = 6
"""Slices of a volume that are printed: those with the largest masks."""


@functools.cache
def environment() -> Environment:
    """Return the environment of the templates; HTML templates escape every value."""
    made = Environment(
        loader=PackageLoader("bts.apps.web", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"words": named, "capital": begun, "percent": _percent}
    made.globals |= {
        "BATCH_ZIP": BATCH_ZIP, "BLANK": BLANK, "CONTOUR": CONTOUR, "FILES": FILES, "HEAT": HEAT, "PART": PART,
        "STRENGTH": STRENGTH, "TABLE_COLUMNS": TABLE_COLUMNS, "disclaimer": DISCLAIMER, "emphasised": _emphasised,
        "facts_of": facts_of, "number": _number, "ordered_warnings": ordered_warnings, "probabilities": _probabilities,
        "volume_facts": volume_facts,
    }  # fmt: skip
    return made


def render(template: str, **context: Any) -> str:
    """Return a filled template."""
    return environment().get_template(template).render(**context).strip()


def style_sheet() -> str:
    """Return the style sheet of the page."""
    return render("page.css")


def page_head() -> str:
    """Return what the page has in its `<head>`: the script, and a request not to be indexed."""
    return f'<meta name="robots" content="noindex">\n<script>\n{render("page.js")}\n</script>'


def head(predictor: Predictor, *, upload_mib: float) -> str:
    """Return the top of the page: loaded models, their training data, the disclaimer and the upload limit."""
    cards = [runtime.card for runtime in predictor.runtimes]
    outputs = ["tumour mask"] if any(card.task != "cls" for card in cards) else []
    for card in (card for card in cards if card.task != "seg"):
        outputs += ["class", card.cam_name]
    listed = " and ".join([", ".join(outputs[:-1]), outputs[-1]]) if outputs[1:] else outputs[0]
    return render("head.html", cards=cards, outputs=begun(listed), upload_mib=upload_mib)


def stage(result: Result, index: int, cam_class: str | None = None) -> str:
    """Return one slice of a result in its layers, with zoom buttons, legend and, for a volume, the strip of slices."""
    prediction = result.shown(index, cam_class)
    areas = {number: answer.mask_area_px or 0 for number, answer in result.answers.items()}
    largest = max(areas.values(), default=0) or 1
    return render(
        "stage.html",
        result=result,
        index=index,
        prediction=prediction,
        layers=None if prediction is None else layers_of(prediction),
        alt="" if prediction is None else _alternative(prediction),
        columns=[(number, 4 + 18 * area / largest) for number, area in areas.items() if area],
        marked=f"slices {ranges(result.marked)}" if result.marked else "no slice",
    )


def panel(result: Result, index: int, cam_class: str | None = None, *, secret: str = "") -> str:
    """Return the prediction of one slice, the numbers of its volume if there is one, and links to the files."""
    prediction = result.shown(index, cam_class)
    files = offered(result.folder)
    return render("panel.html", result=result, index=index, prediction=prediction, files=files, secret=secret)


def problem(line: str) -> str:
    """Return an error line."""
    return Markup('<div class="bts-panel"><p class="bts-note error" role="alert">{}</p></div>').format(line)


def table(rows: list[Row], *, total: int, secret: str = "", stopped: bool = False) -> str:
    """Return the table of a batch, with its progress or, given the session's secret, a link to the archive."""
    failed = sum(row.failed for row in rows)
    return render("table.html", rows=rows, total=total, failed=failed, secret=secret, stopped=stopped)


def print_page(result: Result, cam_class: str | None = None) -> str:
    """Return a printable page of the result: one HTML file without external resources."""
    by_area = sorted(result.answers, key=lambda index: (-(result.answers[index].mask_area_px or 0), index))
    chosen = sorted(by_area[:MAX_PRINTED]) if result.is_volume else by_area
    slices = [answer for index in chosen if (answer := result.shown(index, cam_class)) is not None]
    return render("print.html", result=result, slices=[(answer, layers_of(answer)) for answer in slices])


def _percent(value: float, digits: int = 1) -> str:
    return percent(value, digits=digits)


def _probabilities(prediction: Prediction) -> Iterable[tuple[str, float]]:
    return [] if prediction.class_prob is None else zip(prediction.classes, prediction.class_prob.tolist(), strict=True)


def _alternative(prediction: Prediction) -> str:
    """Return the alternative text of the picture."""
    parts = ["Grey scan"]
    if prediction.mask is not None and prediction.box is None:
        parts.append("no tumour outlined")
    elif prediction.mask is not None and prediction.box is not None:
        (top, bottom), (left, right) = prediction.box["row"], prediction.box["column"]
        parts.append(f"tumour outlined in rows {top} to {bottom} and columns {left} to {right}")
    if prediction.cam_class:
        parts.append(f"{prediction.cam_name} of {named(prediction.cam_class)}")
    return ", ".join(parts)


def _number(value: float | None, shown: str) -> Markup:
    return Markup('<td class="n" data-v="{}">{}</td>').format(-1 if value is None else value, shown)


def _emphasised(row: Row) -> Markup:
    """Return the note of a row, the referral in bold."""
    note = escape(row.note)
    return Markup(note.replace(REFER, Markup("<b>{}</b>").format(begun(REFER)), 1)) if row.refer else note
