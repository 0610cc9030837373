"""Text panel of the overlay page: class, probability bars, sizes and warnings."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bts.glossary import DISCLAIMER
from bts.inference.prediction import Prediction
from bts.inference.statements import describe_agreement

GROUND, INK, SOFT, RAIL, BAR, BEST = "#14171b", "#f2f4f5", "#9aa4ad", "#262b31", "#66717c", "#4aa8ff"
AMBER, AMBER_GROUND = "#ffc15e", "#33291a"
LINE = 20


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's built-in scalable font, so that no font file is needed."""
    return ImageFont.load_default(size)


def write_text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, fill: str, size: int, anchor: str = "la") -> None:
    """Draw a text; rendered texts are cached, as most of them are on every page."""
    mask, (left, top) = _inked(text, size, anchor)
    draw.bitmap((at[0] + left, at[1] + top), mask, fill=fill)


@lru_cache(maxsize=256)
def _inked(text: str, size: int, anchor: str) -> tuple[Image.Image, tuple[int, int]]:
    """Return the coverage mask of a text, and its offset from the anchor point."""
    left, top, right, bottom = font(size).getbbox(text, anchor=anchor)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(math.ceil(right) - left, 1), max(math.ceil(bottom) - top, 1)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font(size), anchor=anchor)
    return mask, (left, top)


def drawable(text: str) -> str:
    """Return the text with `?` for characters that Pillow's font lacks."""
    return text.encode("ascii", "replace").decode("ascii")


def clean(text: str) -> str:
    """Return a label or sentence that can be drawn, with spaces for underscores."""
    return drawable(text.replace("_", " "))


def percent(probability: float, *, digits: int = 1) -> str:
    """Return a probability in percent; values that would round to 0 or 100 are written as limits.

    >>> percent(0.0001), percent(0.5), percent(0.9999, digits=0)
    ('<0.1%', '50.0%', '>99%')
    """
    least = 10.0**-digits
    if probability * 100 < least / 2:
        return f"<{least:g}%"
    if (1 - probability) * 100 <= least / 2:
        return f">{100 - least:g}%"
    return f"{100 * probability:.{digits}f}%"


class Block(NamedTuple):
    """Part of the panel: its height, and a function that paints it with its upper left corner at x and y."""

    height: int
    paint: Callable[[ImageDraw.ImageDraw, int, int], None]


def panel_blocks(prediction: Prediction, *, width: int) -> list[Block]:
    """Return the blocks of the panel from top to bottom, each of that width in pixels."""
    warnings = [_warning(text, width=width) for text in prediction.warnings]
    return [_head(prediction, width=width), _bars(prediction, width=width), _facts(prediction, width=width), *warnings, END]


def paint_panel(draw: ImageDraw.ImageDraw, blocks: list[Block], *, at: tuple[int, int], bottom: int) -> None:
    """Paint blocks below one another from `at` on, the last one such that it ends at `bottom`."""
    x, y = at
    for block in blocks[:-1]:
        block.paint(draw, x, y)
        y += block.height
    blocks[-1].paint(draw, x, bottom - blocks[-1].height)


@lru_cache(maxsize=64)
def wrapped(text: str, *, size: int, width: int) -> tuple[str, ...]:
    """Return the lines of a text wrapped to a width; words that are too long are broken."""
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
    return (*lines, line)


def _head(prediction: Prediction, *, width: int) -> Block:
    item = prediction.slice
    name = drawable(PurePath(item.path).name) + ("" if item.index is None else f", slice {item.index}")
    label = prediction.label

    def paint(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        write_text(draw, (x, y + 2), _shortened(name, size=14, width=width), fill=SOFT, size=14)
        if label is not None:
            write_text(draw, (x, y + 32), clean(label), fill=INK, size=30)

    return Block(36 if label is None else 84, paint)


def _bars(prediction: Prediction, *, width: int) -> Block:
    probabilities = () if prediction.class_prob is None else prediction.class_prob
    rows = list(zip(prediction.classes, probabilities, strict=True)) if len(probabilities) else []

    def paint(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        for name, probability in rows:
            best = name == prediction.label
            write_text(draw, (x, y), clean(name), fill=INK if best else SOFT, size=15)
            write_text(draw, (x + width, y), percent(probability), fill=INK if best else SOFT, size=15, anchor="ra")
            draw.rectangle((x, y + 21, x + width - 1, y + 27), fill=RAIL)
            if round(width * probability) > 0:
                draw.rectangle((x, y + 21, x + round(width * probability) - 1, y + 27), fill=BEST if best else BAR)
            y += 42

    return Block(42 * len(rows) + (8 if rows else 0), paint)


def _facts(prediction: Prediction, *, width: int) -> Block:
    rows = table_rows(prediction)

    def paint(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        for number, (name, value) in enumerate(rows):
            write_text(draw, (x, y + (LINE + 5) * number), name, fill=SOFT, size=15)
            write_text(draw, (x + width, y + (LINE + 5) * number), value, fill=INK, size=15, anchor="ra")

    return Block((LINE + 5) * len(rows) + 10, paint)


def table_rows(prediction: Prediction) -> list[tuple[str, str]]:
    """Return the names and values below the pictures."""
    rows = []
    if prediction.mask_area_px is not None:
        area = f"{prediction.mask_area_px:,} px"
        if prediction.mask_area_mm2 is not None:
            area += f" = {prediction.mask_area_mm2:,.0f} sq mm"
        rows.append(("tumour area", area if prediction.mask_area_px else "none outlined"))
    if prediction.cam_energy_in_mask is not None:
        rows.append(("heat inside the mask", f"{100 * prediction.cam_energy_in_mask:.0f}%"))
    if prediction.cam_strength is not None:
        rows.append(("heat strength", f"{prediction.cam_strength:.0%} of the model's scale"))
    agreement = describe_agreement(prediction)
    if agreement is not None:
        rows.append(("mask and class", agreement))
    return rows


def _warning(text: str, *, width: int) -> Block:
    lines = wrapped(clean(text), size=14, width=width - 26)
    height = LINE * len(lines) + 12

    def paint(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        draw.rectangle((x, y, x + width - 1, y + height), fill=AMBER_GROUND)
        draw.rectangle((x, y, x + 3, y + height), fill=AMBER)
        for number, line in enumerate(lines):
            write_text(draw, (x + 14, y + 6 + LINE * number), line, fill=AMBER, size=14)

    return Block(height + 9, paint)


def _paint_end(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    write_text(draw, (x, y + LINE + 8), DISCLAIMER, fill=SOFT, size=13, anchor="ld")


END = Block(LINE + 8, _paint_end)
"""Last block of the panel: the disclaimer."""


def _shortened(text: str, *, size: int, width: int) -> str:
    """Return the text, its middle replaced by dots where it is too long."""
    kept = len(text)
    short = text
    while kept > 8 and font(size).getlength(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return short
