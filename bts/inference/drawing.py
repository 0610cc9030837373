"""Overlay page of one prediction: scan with the mask's contour, class map, class probabilities and warnings.

It is drawn with Pillow alone, so that a runtime without torch stays light.
"""

from __future__ import annotations

from PIL import Image, ImageDraw

from bts.inference.panel import GROUND, INK, SOFT, clean, paint_panel, panel_blocks, write_text
from bts.inference.picture import CONTOUR, contour_of, fitted, grey, heat_strip, heated
from bts.inference.prediction import Prediction

SIDE, LEAST = 512, 320
"""Longer side of a drawn scan and smallest side of its frame, in pixels."""
PANEL, MARGIN, GAP, TITLE, LEGEND = 336, 24, 20, 32, 72
"""Width of the text panel, outer margin, gap between columns, height of a column's title and of its legend."""
FRAME = "#000000"
HEAT_SCALES = {"slice": "1: the strongest place of this slice", "model": "1: a strong map of the validation slices"}
"""Scale of a class map -> what the value 1 is."""


def overlay(prediction: Prediction) -> Image.Image:
    """Return the page of one prediction as an RGB image; small scans are enlarged, scans of any shape fit their frame."""
    pictures = _pictures(prediction)
    width = max(LEAST, *(picture.width for _, picture in pictures))
    height = max(LEAST, *(picture.height for _, picture in pictures))
    left = MARGIN + len(pictures) * (width + GAP)
    blocks = panel_blocks(prediction, width=PANEL)
    bottom = max(MARGIN + TITLE + height + LEGEND, MARGIN + sum(block.height for block in blocks) + MARGIN)
    page = Image.new("RGB", (left + GAP // 2 + PANEL + MARGIN, bottom), GROUND)
    draw = ImageDraw.Draw(page)
    for number, (title, picture) in enumerate(pictures):
        _column(page, title, picture, frame=(MARGIN + number * (width + GAP), MARGIN, width, height))
    _mask_legend(draw, prediction, at=(MARGIN, MARGIN + TITLE + height + 14))
    if prediction.cam is not None:
        at = (MARGIN + width + GAP, MARGIN + TITLE + height + 14)
        _heat_legend(page, at=at, width=width, scale=prediction.cam_scale or "slice")
    paint_panel(draw, blocks, at=(left + GAP // 2, MARGIN), bottom=bottom - MARGIN)
    return page


def _pictures(prediction: Prediction) -> list[tuple[str, Image.Image]]:
    """Return title and picture of each column; the contour is drawn on both, so that mask and class map can be compared."""
    scan = grey(prediction.slice.image, fitted(prediction.slice.image.shape, side=SIDE))
    contour = None if prediction.mask is None else contour_of(prediction.mask, scan.size)
    found = [("Scan" if prediction.mask is None else "Scan and mask", scan.convert("RGB"))]
    if prediction.cam is not None:
        name = prediction.cam_name[:1].upper() + prediction.cam_name[1:]
        found.append((f"{name}: {clean(prediction.cam_class or '')}", heated(scan, prediction.cam)))
    if contour is not None:
        for _, picture in found:
            contour.draw(picture)
    return found


def _column(page: Image.Image, title: str, picture: Image.Image, *, frame: tuple[int, int, int, int]) -> None:
    left, top, width, height = frame
    draw = ImageDraw.Draw(page)
    write_text(draw, (left, top), title, fill=INK, size=18)
    draw.rectangle((left, top + TITLE, left + width - 1, top + TITLE + height - 1), fill=FRAME)
    page.paste(picture, (left + (width - picture.width) // 2, top + TITLE + (height - picture.height) // 2))


def _mask_legend(draw: ImageDraw.ImageDraw, prediction: Prediction, *, at: tuple[int, int]) -> None:
    left, top = at
    if prediction.mask is None:
        return
    if not prediction.mask.any():
        write_text(draw, (left, top), "no tumour outlined", fill=SOFT, size=14)
        return
    draw.line((left, top + 9, left + 22, top + 9), fill=CONTOUR, width=2)
    write_text(draw, (left + 32, top), "contour of the predicted mask", fill=SOFT, size=14)


def _heat_legend(page: Image.Image, *, at: tuple[int, int], width: int, scale: str) -> None:
    """Draw the colour scale from 0 to 1 with its ticks, and what 1 is."""
    left, top = at
    draw = ImageDraw.Draw(page)
    write_text(draw, (left, top), "heat", fill=SOFT, size=14)
    start, length = left + 44, width - 44
    page.paste(heat_strip((length, 12)), (start, top + 3))
    for value in (0.0, 0.5, 1.0):
        x = start + round(value * (length - 1))
        draw.line((x, top + 15, x, top + 19), fill=SOFT)
        write_text(
            draw, (x, top + 20), f"{value:g}", fill=SOFT, size=12, anchor="la" if value == 0 else "ra" if value == 1 else "ma"
        )
    write_text(draw, (start, top + 36), HEAT_SCALES[scale], fill=SOFT, size=12)
