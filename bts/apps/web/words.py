"""Numbers and warnings of a prediction as words, for the page and its printout."""

from __future__ import annotations

from collections.abc import Sequence

from bts.apps.web.result import Result
from bts.inference.prediction import Prediction
from bts.inference.statements import AGREEMENT, REFER


def named(label: str) -> str:
    """Return a class name as words.

    >>> named("no_tumour")
    'no tumour'
    """
    return label.replace("_", " ")


def facts_of(prediction: Prediction) -> list[tuple[str, str]]:
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


def volume_facts(result: Result) -> list[tuple[str, str]]:
    """Return the numbers of a volume as pairs of name and value."""
    summary, rows = result.summary, [("Slices with a mask", f"{len(result.marked)} of {result.n_slices}")]
    if summary.get("mask_volume_mm3") is not None:
        rows.append(("Tumour volume", f"{summary['mask_volume_mm3'] / 1000:,.1f} cm³"))
    elif summary.get("mask_voxels") is not None:
        rows.append(("Tumour voxels", f"{summary['mask_voxels']:,}"))
    if result.scan.blank:
        rows.append(("Blank slices", str(len(result.scan.blank))))
    return rows


def ordered_warnings(prediction: Prediction) -> list[tuple[str, bool]]:
    """Return each warning and whether it is the referral, which comes first."""
    lines = [(begun(line), line.startswith(REFER)) for line in prediction.warnings]
    first = [(line, True) for line, is_referral in lines if is_referral and prediction.refer]
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


def begun(line: str) -> str:
    """Return a line with a capital first letter."""
    return line[:1].upper() + line[1:]
