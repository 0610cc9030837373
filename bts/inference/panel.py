"""What is written beside the pictures? Class, probabilities as bars, sizes, and every warning."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath

from PIL import ImageDraw, ImageFont

from bts.glossary import DISCLAIMER
from bts.inference.prediction import Prediction

GROUND, INK, SOFT, RAIL, BAR, BEST = "#14171b", "#f2f4f5", "#9aa4ad", "#262b31", "#66717c", "#4aa8ff"
AMBER, AMBER_GROUND = "#ffc15e", "#33291a"
LINE = 20


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own scalable font, so that no font file is needed."""
    return ImageFont.load_default(size)


def clean(text: str) -> str:
    """Return the text with spaces for underscores and `?` for what Pillow's font has no sign for."""
    return text.replace("_", " ").encode("ascii", "replace").decode("ascii")


def draw_panel(
    draw: ImageDraw.ImageDraw, prediction: Prediction, *, at: tuple[int, int], width: int, bottom: int | None = None
) -> int:
    """Write the panel with its upper left corner at `at`; return the y under it.

    Args:
        draw: where to.
        prediction: what is said.
        at: x and y.
        width: in pixels.
        bottom: y under the last line, None right under the rest.
    """
    x, y = at
    y = _head(draw, prediction, (x, y), width=width)
    y = _bars(draw, prediction, (x, y), width=width)
    y = _facts(draw, prediction, (x, y), width=width)
    for warning in prediction.warnings:
        y = _warning(draw, warning, (x, y), width=width)
    under = y + LINE + 8
    last = under if bottom is None else max(bottom, under)
    draw.text((x, last), DISCLAIMER, fill=SOFT, font=font(13), anchor="ld")
    return last


def wrapped(text: str, *, size: int, width: int) -> list[str]:
    """Return the lines of a text that fit a width; a word that is too long is broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while font(size).getlength(word) > width:
            fits = next(n for n in range(len(word), 0, -1) if n == 1 or font(size).getlength(word[:n]) <= width)
            lines, line, word = [*lines, *([line] if line else []), word[:fits]], "", word[fits:]
        longer = f"{line} {word}".strip()
        if font(size).getlength(longer) > width:
            lines, line = [*lines, line], word
        else:
            line = longer
    return [*lines, line]


def _head(draw: ImageDraw.ImageDraw, prediction: Prediction, at: tuple[int, int], *, width: int) -> int:
    x, y = at
    item = prediction.slice
    name = clean(PurePath(item.path).name) + ("" if item.index is None else f", slice {item.index}")
    draw.text((x, y + 2), _shortened(name, size=14, width=width), fill=SOFT, font=font(14))
    if prediction.label is None:
        return y + 36
    draw.text((x, y + 32), clean(prediction.label), fill=INK, font=font(30))
    return y + 84


def _bars(draw: ImageDraw.ImageDraw, prediction: Prediction, at: tuple[int, int], *, width: int) -> int:
    x, y = at
    if prediction.probabilities is None:
        return y
    for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
        best = name == prediction.label
        draw.text((x, y), clean(name), fill=INK if best else SOFT, font=font(15))
        draw.text((x + width, y), f"{100 * probability:.1f}%", fill=INK if best else SOFT, font=font(15), anchor="ra")
        draw.rectangle((x, y + 21, x + width - 1, y + 27), fill=RAIL)
        if round(width * probability) > 0:
            draw.rectangle((x, y + 21, x + round(width * probability) - 1, y + 27), fill=BEST if best else BAR)
        y += 42
    return y + 8


def _facts(draw: ImageDraw.ImageDraw, prediction: Prediction, at: tuple[int, int], *, width: int) -> int:
    x, y = at
    for name, value in _table(prediction):
        draw.text((x, y), name, fill=SOFT, font=font(15))
        draw.text((x + width, y), value, fill=INK, font=font(15), anchor="ra")
        y += LINE + 5
    return y + 10


def _table(prediction: Prediction) -> list[tuple[str, str]]:
    rows = []
    if prediction.mask_area_px is not None:
        area = f"{prediction.mask_area_px:,} px"
        if prediction.mask_area_mm2 is not None:
            area += f" = {prediction.mask_area_mm2:,.0f} sq mm"
        rows.append(("tumour area", area if prediction.mask_area_px else "none outlined"))
    if prediction.cam_energy_in_mask is not None:
        rows.append(("heat inside the mask", f"{100 * prediction.cam_energy_in_mask:.0f}%"))
    if prediction.consistent is not None:
        rows.append(("mask and class", "agree" if prediction.consistent else "contradict each other"))
    return rows


def _warning(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], *, width: int) -> int:
    x, y = at
    lines = wrapped(clean(text), size=14, width=width - 26)
    bottom = y + LINE * len(lines) + 12
    draw.rectangle((x, y, x + width - 1, bottom), fill=AMBER_GROUND)
    draw.rectangle((x, y, x + 3, bottom), fill=AMBER)
    for number, line in enumerate(lines):
        draw.text((x + 14, y + 6 + LINE * number), line, fill=AMBER, font=font(14))
    return bottom + 9


def _shortened(text: str, *, size: int, width: int) -> str:
    """Return the text with its middle left out where it is too long."""
    kept = len(text)
    short = text
    while kept > 8 and font(size).getlength(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return short
