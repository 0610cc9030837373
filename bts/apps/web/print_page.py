"""Printable page with the whole answer, in one file without external resources."""

from __future__ import annotations

from bts.apps.web.layers import Layers, layers_of
from bts.apps.web.result import Result
from bts.apps.web.words import bars, fact_list, facts_of, named, text, warning_list
from bts.glossary import DISCLAIMER
from bts.inference.picture import CONTOUR, STRENGTH
from bts.inference.prediction import Prediction

MOST = 6
"""Slices of a volume that are printed: those with the largest masks."""
STYLE = """
body { margin: 24px auto; max-width: 900px; padding: 0 20px; color: #14181c; background: #fff;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 20px; margin: 0; } h2 { font-size: 18px; margin: 0 0 8px; text-transform: capitalize; }
.soft { color: #5b6570; font-size: 12.5px; margin: 2px 0 16px; }
.slice { break-inside: avoid; border-top: 1px solid #d9dee3; padding: 16px 0; display: flex; gap: 20px; flex-wrap: wrap; }
.pictures { display: flex; gap: 10px; } .stack { position: relative; width: 270px; background: #000; align-self: flex-start; }
.stack img { position: absolute; inset: 0; width: 100%; height: 100%; } .heat { opacity: STRENGTH; } .words { flex: 1 1 240px; }
ul.bts-bars { list-style: none; margin: 0 0 12px; padding: 0; }
.bts-bars li { display: grid; grid-template-columns: 1fr auto; margin-bottom: 6px; }
.bts-bars b { font-weight: 400; font-variant-numeric: tabular-nums; }
.bts-bars .best span, .bts-bars .best b { font-weight: 600; }
.bts-bars i { grid-column: 1 / 3; height: 5px; background: #e6eaee; }
.bts-bars u { display: block; height: 5px; background: #7d8894; }
.bts-bars .best u { background: #1f5fa8; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; } dt { color: #5b6570; } dd { margin: 0; }
.bts-note { border-left: 3px solid #a86400; padding: 2px 10px; margin: 0 0 8px; } .bts-note.refer { font-weight: 600; }
.key { display: inline-block; width: 18px; height: 3px; vertical-align: middle; margin-right: 5px; }
footer { border-top: 1px solid #d9dee3; padding-top: 10px; font-size: 12px; color: #5b6570; overflow-wrap: anywhere; }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
""".replace("STRENGTH", str(STRENGTH))


def print_page(result: Result, cam_class: str | None = None) -> str:
    """Return the whole page as HTML."""
    by_area = sorted(result.answers, key=lambda index: (-(result.answers[index].mask_area_px or 0), index))
    chosen = sorted(by_area[:MOST]) if result.is_volume else by_area
    slices = [answer for index in chosen if (answer := result.shown(index, cam_class)) is not None]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{text(result.scan.path)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{text(result.scan.path)}</h1><p class='soft'>{text(_about(result, len(slices)))}</p>"
        + "".join(_slice(answer) for answer in slices)
        + _foot(slices[0])
        + "</body></html>"
    )


def _about(result: Result, printed: int) -> str:
    if not result.is_volume:
        return DISCLAIMER
    volume = result.summary.get("mask_volume_mm3")
    size = "" if volume is None else f", tumour volume {volume / 1000:,.1f} cm³"
    return (
        f"Volume of {result.n_slices} slices, {len(result.marked)} with a mask{size}. "
        f"The {printed} slices with the largest masks. {DISCLAIMER}"
    )


def _slice(prediction: Prediction) -> str:
    layers = layers_of(prediction)
    pictures = _stack(layers, heat=False) + (_stack(layers, heat=True) if layers.heat else "")
    title = "Mask" if prediction.label is None else named(prediction.label)
    index = "" if prediction.slice.index is None else f"Slice {prediction.slice.index}: "
    told = (
        f'<p class="soft"><span class="key" style="background:rgb{CONTOUR}"></span>contour of the mask'
        if layers.contour
        else '<p class="soft">'
    )
    told += (
        f"; heat: {text(prediction.cam_name)} of {text(named(prediction.cam_class))}</p>" if prediction.cam_class else "</p>"
    )
    return (
        f'<section class="slice"><div><div class="pictures">{pictures}</div>{told}</div><div class="words">'
        f"<h2>{text(index + title)}</h2>{warning_list(prediction.warnings, refer=prediction.refer)}{bars(prediction)}"
        f"{fact_list(facts_of(prediction))}</div></section>"
    )


def _stack(layers: Layers, *, heat: bool) -> str:
    pictures = f'<img src="{layers.scan}" alt="">'
    pictures += f'<img class="heat" src="{layers.heat}" alt="">' if heat and layers.heat else ""
    pictures += f'<img src="{layers.contour}" alt="">' if layers.contour else ""
    return f'<div class="stack" style="aspect-ratio:{layers.size[0]}/{layers.size[1]}">{pictures}</div>'


def _foot(prediction: Prediction) -> str:
    models = "; ".join(f"{mark.name} ({mark.fingerprint}), trained on {mark.trained_on}" for mark in prediction.models)
    versions = ", ".join(f"{name} {version}" for name, version in prediction.versions.items())
    return f"<footer>{text(models)}. {text(prediction.runtime)}; {text(versions)}. {text(DISCLAIMER)}</footer>"
