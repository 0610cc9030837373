"""Stage of the page: one slice in its layers, zoom controls, and the strip of slices of a volume."""

from __future__ import annotations

from bts.apps.web.layers import layers_of
from bts.apps.web.result import Result
from bts.apps.web.words import named, text
from bts.inference.picture import CONTOUR, HEAT
from bts.inference.prediction import Prediction

EMPTY = (
    '<div class="bts-stage empty"><p>The scan appears here, with the contour of the mask '
    "and the heat that explains the class.</p></div>"
)
TOOLS = (
    '<div class="bts-tools" role="group" aria-label="Zoom">'
    '<button type="button" data-bts="out" aria-label="Zoom out">−</button>'
    '<button type="button" data-bts="reset" aria-label="Show the whole slice">1:1</button>'
    '<button type="button" data-bts="in" aria-label="Zoom in">+</button></div>'
)


def stage(result: Result, index: int, cam_class: str | None = None) -> str:
    """Return the stage with one slice of a result; a blank slice has no picture."""
    prediction = result.shown(index, cam_class)
    strip = _strip(result, index) if result.is_volume else ""
    if prediction is None:
        return f'<div class="bts-stage empty"><p>Slice {index} is blank: there is nothing to see in it.</p></div>{strip}'
    return (
        f'<figure class="bts-stage">{_view(prediction)}'
        f"<figcaption><span>{text(_caption(result, index))}</span>{TOOLS}</figcaption></figure>{_legend(prediction)}{strip}"
    )


def _view(prediction: Prediction) -> str:
    layers = layers_of(prediction)
    width, height = layers.size
    pictures = f'<img src="{layers.scan}" alt="{text(_described(prediction))}" draggable="false">'
    if layers.heat is not None:
        pictures += f'<img class="bts-heat" src="{layers.heat}" alt="" draggable="false">'
    if layers.contour is not None:
        pictures += f'<img class="bts-contour" src="{layers.contour}" alt="" draggable="false">'
    shape = f"aspect-ratio:{width}/{height};--bts-shape:{width / height:.4f}"
    return f'<div class="bts-view"><div class="bts-layers" style="{shape}">{pictures}</div></div>'


def _described(prediction: Prediction) -> str:
    """Return what the picture shows, for those who don't see it."""
    said = "Grey scan"
    if prediction.mask is not None:
        box = prediction.box
        said += ", no tumour outlined" if box is None else f", tumour outlined in rows {box['row'][0]} to {box['row'][1]}"
        said += "" if box is None else f" and columns {box['column'][0]} to {box['column'][1]}"
    return said + (f", {prediction.cam_name} of {named(prediction.cam_class)}" if prediction.cam_class else "")


def _caption(result: Result, index: int) -> str:
    return f"{result.scan.path}, slice {index}" if result.is_volume else result.scan.path


def _legend(prediction: Prediction) -> str:
    parts = []
    if prediction.mask is not None:
        drawn = bool(prediction.mask.any())
        key = f'<i class="line" style="background:rgb{CONTOUR}"></i>' if drawn else ""
        parts.append(f"<span>{key}{'contour of the mask' if drawn else 'no tumour outlined'}</span>")
    if prediction.cam_class:
        colours = ",".join(f"rgb{colour}" for colour in HEAT)
        key = f'<em><b>0</b><i class="heat" style="background:linear-gradient(90deg,{colours})"></i><b>1</b></em>'
        parts.append(f"<span>{text(prediction.cam_name)} of {text(named(prediction.cam_class))} {key}</span>")
    return f'<div class="bts-legend">{"".join(parts)}</div>' if parts else ""


def _strip(result: Result, index: int) -> str:
    """Return one column for each slice: tall where there is a mask, by its area, with the shown one marked."""
    areas = {number: answer.mask_area_px or 0 for number, answer in result.answers.items()}
    largest, count = max(areas.values(), default=0) or 1, result.n_slices
    bars = "".join(
        f'<rect x="{number + 0.1}" width="0.8" y="{24 - 4 - 18 * area / largest:.2f}" height="{4 + 18 * area / largest:.2f}"/>'
        for number, area in areas.items()
        if area
    )
    marked = result.marked
    where = f"slices {_runs(marked)}" if marked else "no slice"
    label = f"{len(marked)} of {count} slices have a mask: {where}. Shown is slice {index}."
    return (
        f'<div class="bts-strip" role="img" aria-label="{text(label)}" data-count="{count}">'
        f'<svg viewBox="0 0 {count} 24" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="now" x="{index}" y="0" width="1" height="24"/>{bars}</svg>'
        f"<p>Mask in {text(where)}</p></div>"
    )


def _runs(numbers: tuple[int, ...]) -> str:
    """Return numbers with runs drawn together.

    >>> _runs((1, 2, 3, 7))
    '1–3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in runs)
