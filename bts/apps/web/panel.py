"""Panels beside and above the picture: answer, warnings, files, and models with their limits."""

from __future__ import annotations

from pathlib import Path

from bts.apps.web.result import Result
from bts.apps.web.words import bars, begun, fact_list, facts_of, named, text, warning_list
from bts.glossary import DISCLAIMER
from bts.inference.model_selection import PART
from bts.inference.panel import percent
from bts.inference.predictor import Predictor
from bts.inference.writers.json_result import BLANK

WAITING = (
    '<div class="bts-panel"><p class="bts-soft">Drop a scan: PNG, JPEG, TIFF, BMP, GIF, WebP, MAT, DICOM or NIfTI, '
    "a slice or a volume. "
    "It stays on this server and is removed when you close the page.</p></div>"
)
FILES = {
    "mask.png": "Mask (PNG)",
    "mask.nii.gz": "Mask (NIfTI)",
    "overlay.png": "Overlay (PNG)",
    "result.json": "Numbers (JSON)",
    "print.html": "Page for printing",
    "all.zip": "Everything (ZIP)",
}
"""What can be fetched -> what it is called on the page."""


def head(predictor: Predictor, *, upload_mib: float) -> str:
    """Return the top of the page: which models answer, what they were trained on, and that this is no medical device.

    It also tells the browser how large a file may be.
    """
    rows = "".join(
        f"<li><b>{text(PART[runtime.card.task].capitalize())}</b> {text(runtime.card.name)}"
        f"<span>trained on {text(runtime.card.trained_on or 'unknown data')}</span></li>"
        for runtime in predictor.runtimes
    )
    return (
        f'<header class="bts-head" data-mib="{upload_mib:g}"><div><h1>bts</h1>'
        f"<p>{_gives(predictor)} of brain MRI slices</p></div>"
        f'<p class="bts-badge">{text(DISCLAIMER)}</p><ul aria-label="Models that answer">{rows}</ul></header>'
    )


def _gives(predictor: Predictor) -> str:
    """Return what is answered, in words."""
    cards = [runtime.card for runtime in predictor.runtimes]
    found = ["tumour mask"] if any(card.task != "cls" for card in cards) else []
    for card in (card for card in cards if card.task != "seg"):
        found += ["class", card.cam_name]
    return begun(" and ".join([", ".join(found[:-1]), found[-1]]) if found[1:] else found[0])


def panel(result: Result, index: int, cam_class: str | None = None, *, secret: str = "") -> str:
    """Return the answer for one slice, with the volume's own numbers where it is one, and the files."""
    prediction = result.shown(index, cam_class)
    if prediction is None:
        blank = f'<h2>Slice {index}</h2><p class="bts-note">{text(begun(BLANK))}</p>'
        return f'<div class="bts-panel" role="status">{blank}{_files(result, secret)}</div>'
    highest = "" if prediction.class_prob is None else f"<span>{text(percent(prediction.class_prob.max(), digits=0))}</span>"
    title = "Mask" if prediction.label is None else named(prediction.label)
    volume = fact_list(_volume(result)) if result.is_volume else ""
    heading = f"Slice {index}" if result.is_volume else "Answer"
    return (
        f'<div class="bts-panel" role="status"><p class="bts-kicker">{heading}</p><h2><b>{text(title)}</b>{highest}</h2>'
        f"{warning_list(prediction.warnings, refer=prediction.refer)}{bars(prediction)}{fact_list(facts_of(prediction))}"
        + (f'<p class="bts-kicker">Volume</p>{volume}' if volume else "")
        + f"{_files(result, secret)}</div>"
    )


def problem(line: str) -> str:
    """Return the one line that says what went wrong."""
    return f'<div class="bts-panel"><p class="bts-note error" role="alert">{text(line)}</p></div>'


def _volume(result: Result) -> list[tuple[str, str]]:
    summary, rows = result.summary, [("Slices with a mask", f"{len(result.marked)} of {result.n_slices}")]
    if summary.get("mask_volume_mm3") is not None:
        rows.append(("Tumour volume", f"{summary['mask_volume_mm3'] / 1000:,.1f} cm³"))
    elif summary.get("mask_voxels") is not None:
        rows.append(("Tumour voxels", f"{summary['mask_voxels']:,}"))
    if result.scan.blank:
        rows.append(("Blank slices", str(len(result.scan.blank))))
    return rows


def offered(folder: Path) -> list[str]:
    """Return the names of the files that can be fetched."""
    made_later = ("print.html", "all.zip")
    return [name for name in FILES if name in made_later or (folder / name).is_file()]


def _files(result: Result, secret: str) -> str:
    links = "".join(
        f'<a href="results/{secret}/{name}"'
        + (' target="_blank"' if name == "print.html" else " download")
        + f">{FILES[name]}</a>"
        for name in offered(result.folder)
    )
    return f'<nav class="bts-files" aria-label="Files of this result">{links}</nav>'
