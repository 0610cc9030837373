"""Formatting of numbers and text for the page and its printout, with escaping."""

from __future__ import annotations

import html

from bts.inference.panel import percent
from bts.inference.prediction import Prediction
from bts.inference.statements import AGREEMENT, REFER


def text(value: object) -> str:
    """Return a value as escaped text."""
    return html.escape(str(value))


def named(label: str) -> str:
    """Return a class name as words.

    >>> named("no_tumour")
    'no tumour'
    """
    return label.replace("_", " ")


def facts_of(prediction: Prediction) -> list[tuple[str, str]]:
    """Return what is known of a slice besides its class, as pairs of name and value."""
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
    if prediction.agreement is not None:
        rows.append(("Mask and class", AGREEMENT[prediction.agreement]))
    height, width = prediction.slice.image.shape
    rows.append(("Slice", f"{height} × {width} pixels"))
    return rows


def _area(prediction: Prediction) -> str:
    if not prediction.mask_area_px:
        return "none outlined"
    area = f"{prediction.mask_area_px:,} px"
    return area if prediction.mask_area_mm2 is None else f"{prediction.mask_area_mm2:,.0f} mm² ({area})"


def bars(prediction: Prediction) -> str:
    """Return the calibrated probabilities as a list with bars."""
    if prediction.class_prob is None:
        return ""
    rows = []
    for name, probability in zip(prediction.classes, prediction.class_prob, strict=True):
        best = ' class="best"' if name == prediction.label else ""
        rows.append(
            f"<li{best}><span>{text(named(name))}</span><b>{text(percent(probability))}</b>"
            f'<i aria-hidden="true"><u style="width:{100 * probability:.1f}%"></u></i></li>'
        )
    return f'<ul class="bts-bars" aria-label="Calibrated probability of each class">{"".join(rows)}</ul>'


def fact_list(rows: list[tuple[str, str]]) -> str:
    """Return pairs as a description list."""
    return '<dl class="bts-facts">' + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows) + "</dl>"


def warning_list(warnings: tuple[str, ...] | list[str], *, refer: bool) -> str:
    """Return the warnings, a referral first and set apart."""
    notes = [line for line in warnings if not line.startswith(REFER)]
    first = [line for line in warnings if line.startswith(REFER)] if refer else []
    shown = [f'<p class="bts-note refer">{text(begun(line))}</p>' for line in first]
    shown += [f'<p class="bts-note">{text(begun(line))}</p>' for line in notes]
    return "".join(shown)


def begun(line: str) -> str:
    """Return a line with a capital letter in front."""
    return line[:1].upper() + line[1:]
