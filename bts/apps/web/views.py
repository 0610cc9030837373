"""HTML of the page and its print version, rendered from the templates beside this module."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from bts.apps.web.limits import Limits
from bts.apps.web.planes import view_position
from bts.apps.web.result import BATCH_ZIP, FILES, PRINT, REPORT, VIEW, Result, Row, available_files, make_layers
from bts.data.readers.scan import PLANES, Scan
from bts.glossary import DISCLAIMER, NO_TUMOUR
from bts.inference.model_selection import PART
from bts.inference.panel import percent
from bts.inference.picture import CONTOUR, HEAT, STRENGTH
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.statements import REFER, describe_agreement
from bts.inference.volume import VolumeFindings
from bts.inference.writers.html_report import SIDES
from bts.inference.writers.json_result import BLANK
from bts.markup import make_environment

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
"""System fonts: none is downloaded."""
SET_HEAT_STRENGTH = "(share) => { document.documentElement.style.setProperty('--bts-share', share); }"
"""JavaScript that applies the heat strength."""
SHOW_CONTOUR = "(shown) => { document.documentElement.style.setProperty('--bts-line', shown ? 1 : 0); }"
"""JavaScript that shows or hides the contour."""
WAITING = (
    '<div class="bts-panel"><p class="bts-soft">Drop a scan: PNG, JPEG, TIFF, BMP, GIF, WebP, MAT, DICOM or NIfTI, '
    "a slice or a volume; or a DICOM series, all its files at once or as a zip. "
    "It stays on this server and is removed when you close the page.</p></div>"
)
CHOOSE = '<div class="bts-panel" role="status"><p class="bts-soft">Several series: choose the one to be analysed.</p></div>'
"""Stands where the answer will be, as the series are listed above."""
EMPTY = (
    '<div class="bts-stage empty"><p>The scan appears here, with the contour of the mask '
    "and the heat map of the class.</p></div>"
)
TABLE_COLUMNS = (("File", ""), ("Class", ""), ("Probability", "n"), ("Mask, px", "n"), ("Agree", ""), ("Notes", ""))
MAX_PRINTED = 6
"""Maximum number of slices in the print version of a volume: those with the largest masks."""


@functools.cache
def environment() -> Environment:
    """Return the environment of the page's templates."""
    made = make_environment("bts.apps.web")
    made.filters |= {"words": display_name, "capital": capitalise, "percent": _percent}
    made.globals |= {
        "BATCH_ZIP": BATCH_ZIP, "BLANK": BLANK, "CONTOUR": CONTOUR, "FILES": FILES, "HEAT": HEAT, "PART": PART, "PRINT": PRINT,
        "REPORT": REPORT, "VIEW": VIEW, "tumour_classes": tumour_classes, "volume_warnings": volume_warnings,
        "STRENGTH": STRENGTH, "TABLE_COLUMNS": TABLE_COLUMNS, "disclaimer": DISCLAIMER, "emphasised": _emphasised,
        "slice_facts": slice_facts, "number": _number, "ordered_warnings": ordered_warnings, "probabilities": _probabilities,
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
    """Return the additional content of `<head>`: the scripts, and `noindex`."""
    return f'<meta name="robots" content="noindex">\n<script>\n{render("page.js")}\n{render("planes.js")}\n</script>'


def head(predictor: Predictor, limits: Limits) -> str:
    """Return the top of the page: loaded models, their training data, the disclaimer and the upload limits."""
    cards = [runtime.card for runtime in predictor.runtimes]
    outputs = ["tumour mask"] if any(card.task != "cls" for card in cards) else []
    for card in (card for card in cards if card.task != "seg"):
        outputs += ["class", card.cam_name]
    listed = " and ".join([", ".join(outputs[:-1]), outputs[-1]]) if outputs[1:] else outputs[0]
    return render("head.html", cards=cards, outputs=capitalise(listed), upload_mib=limits.upload_mib, files=limits.files)


def stage(result: Result, index: int, cam_class: str | None = None) -> str:
    """Return one slice as image layers, with zoom buttons, legend and, for a volume, an overview of all slices."""
    prediction = result.prediction(index, cam_class)
    areas = {number: prediction.mask_area_px or 0 for number, prediction in result.predictions.items()}
    largest = max(areas.values(), default=0) or 1
    return render(
        "stage.html",
        result=result,
        index=index,
        prediction=prediction,
        layers=None if prediction is None else make_layers(prediction),
        sides=sides_of(result.scan),
        alt="" if prediction is None else _alt_text(prediction),
        columns=[(number, 4 + 18 * area / largest) for number, area in areas.items() if area],
        with_mask=f"slices {ranges(result.slices_with_mask)}" if result.slices_with_mask else "no slice",
    )


def panel(result: Result, index: int, cam_class: str | None = None, *, secret: str = "") -> str:
    """Return the decision for a volume, the prediction of one slice, and links to the files."""
    prediction = result.prediction(index, cam_class)
    files = available_files(result.folder)
    return render("panel.html", result=result, index=index, prediction=prediction, files=files, secret=secret)


def volume_section(result: Result, *, secret: str) -> str:
    """Return the lesions of a volume, and what the viewer of three planes needs; it begins at the largest lesion."""
    findings, geometry = result.findings, result.scan.volume
    assert geometry is not None
    at = view_position(findings, geometry) if findings is not None and findings.lesions else ()
    return render(
        "volume.html",
        findings=findings,
        geometry=geometry,
        spacing_mm=result.scan.slices[0].spacing_mm,
        at=",".join(f"{share:.4f}" for share in at),
        secret=secret,
    )


def sides_of(scan: Scan) -> tuple[str, str] | None:
    """Return the sides of the patient at the left and right edge of the slices; None where they are not known."""
    geometry = scan.volume
    return SIDES[PLANES[geometry.axis]] if geometry is not None and geometry.oriented else None


def error_panel(line: str) -> str:
    """Return an error message."""
    return Markup('<div class="bts-panel"><p class="bts-note error" role="alert">{}</p></div>').format(line)


def table(rows: list[Row], *, total: int, secret: str = "", stopped: bool = False) -> str:
    """Return the table of a batch, with its progress or, given the session's secret, a link to the archive."""
    failed = sum(row.failed for row in rows)
    return render("table.html", rows=rows, total=total, failed=failed, secret=secret, stopped=stopped)


def print_page(result: Result, cam_class: str | None = None) -> str:
    """Return a printable page of the result: one HTML file without external resources."""
    by_area = sorted(result.predictions, key=lambda index: (-(result.predictions[index].mask_area_px or 0), index))
    selected = sorted(by_area[:MAX_PRINTED]) if result.is_volume else by_area
    slices = [item for index in selected if (item := result.prediction(index, cam_class)) is not None]
    return render("print.html", result=result, slices=[(item, make_layers(item)) for item in slices])


def _percent(value: float, digits: int = 1) -> str:
    return percent(value, digits=digits)


def _probabilities(prediction: Prediction) -> Sequence[tuple[str, float]]:
    return [] if prediction.class_prob is None else list(zip(prediction.classes, prediction.class_prob.tolist(), strict=True))


def tumour_classes(findings: VolumeFindings) -> Sequence[tuple[str, float]]:
    """Return the probabilities of the classes of tumour of a volume."""
    return [(name, value) for name, value in findings.class_prob.items() if name != NO_TUMOUR]


def volume_warnings(result: Result) -> list[tuple[str, bool]]:
    """Return the warnings of a volume in `result.json`, and whether each is a referral."""
    return ordered_warnings(result.summary["warnings"], refer=True)


def _alt_text(prediction: Prediction) -> str:
    """Return the alternative text of the image."""
    parts = ["Grey scan"]
    if prediction.mask is not None and prediction.box is None:
        parts.append("no tumour outlined")
    elif prediction.mask is not None and prediction.box is not None:
        (top, bottom), (left, right) = prediction.box["row"], prediction.box["column"]
        parts.append(f"tumour outlined in rows {top} to {bottom} and columns {left} to {right}")
    if prediction.cam_class:
        parts.append(f"{prediction.cam_name} of {display_name(prediction.cam_class)}")
    return ", ".join(parts)


def _number(value: float | None, shown: str) -> Markup:
    return Markup('<td class="n" data-v="{}">{}</td>').format(-1 if value is None else value, shown)


def _emphasised(row: Row) -> Markup:
    """Return the note of a row, the referral in bold."""
    note = escape(row.note)
    return Markup(note.replace(REFER, Markup("<b>{}</b>").format(capitalise(REFER)), 1)) if row.refer else note


def display_name(label: str) -> str:
    """Return a class name without underscores.

    >>> display_name("no_tumour")
    'no tumour'
    """
    return label.replace("_", " ")


def slice_facts(prediction: Prediction) -> list[tuple[str, str]]:
    """Return the numbers of a slice as pairs of name and value."""
    rows = []
    if prediction.mask is not None:
        rows.append(("Tumour area", _area(prediction)))
    if prediction.box is not None:
        (top, bottom), (left, right) = prediction.box["row"], prediction.box["column"]
        rows += [("Rows", f"{top} to {bottom}"), ("Columns", f"{left} to {right}")]
        if prediction.slice.spacing_mm is not None:
            down, across = prediction.slice.spacing_mm
            rows.append(("Extent", f"{(bottom - top + 1) * down:.0f} × {(right - left + 1) * across:.0f} mm"))
    if prediction.mask_confidence is not None:
        uncertain = ", uncertain" if prediction.mask_uncertain else ""
        rows.append(("Confidence of the mask", f"{prediction.mask_confidence:.2f}{uncertain}"))
    if prediction.cam_energy_in_mask is not None:
        rows.append(("Heat inside the mask", f"{prediction.cam_energy_in_mask:.0%}"))
    agreement = describe_agreement(prediction)
    if agreement is not None:
        rows.append(("Mask and class", agreement))
    height, width = prediction.slice.image.shape
    rows.append(("Slice", f"{height} × {width} pixels"))
    return rows


def _area(prediction: Prediction) -> str:
    if not prediction.mask_area_px:
        return "none outlined"
    area = f"{prediction.mask_area_px:,} px"
    return area if prediction.mask_area_mm2 is None else f"{prediction.mask_area_mm2:,.0f} mm² ({area})"


def volume_facts(result: Result) -> list[tuple[str, str]]:
    """Return the numbers of a volume as pairs of name and value."""
    summary, rows = result.summary, [("Slices with a mask", f"{len(result.slices_with_mask)} of {result.n_slices}")]
    if summary.get("mask_volume_mm3") is not None:
        rows.append(("Tumour volume", f"{summary['mask_volume_mm3'] / 1000:,.1f} ml"))
    elif summary.get("mask_voxels") is not None:
        rows.append(("Tumour voxels", f"{summary['mask_voxels']:,}"))
    if result.scan.blank:
        rows.append(("Blank slices", str(len(result.scan.blank))))
    return rows


def ordered_warnings(warnings: Sequence[str], refer: bool) -> list[tuple[str, bool]]:
    """Return each warning and whether it is the referral, which comes first."""
    lines = [(capitalise(line), line.startswith(REFER)) for line in warnings]
    first = [(line, True) for line, is_referral in lines if is_referral and refer]
    return first + [(line, False) for line, is_referral in lines if not is_referral]


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, consecutive ones as a range.

    >>> ranges((1, 2, 3, 7))
    '1–3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in runs)


def capitalise(line: str) -> str:
    """Return a line with a capital first letter."""
    return line[:1].upper() + line[1:]
