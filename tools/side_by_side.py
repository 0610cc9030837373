"""How do scan, truth, prediction and Grad-CAM look beside each other? One picture, a row for each slice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bts.data.sources.base import Record
from bts.evaluation.cases import truth_mask
from bts.glossary import DISCLAIMER
from bts.inference.panel import GROUND, INK, SOFT, clean, font
from bts.inference.picture import contour_of, fitted, grey, heated
from bts.inference.prediction import Prediction
from bts.report.gallery import TRUTH

SIDE, GAP, HEAD, CAPTION, FOOT = 256, 8, 34, 30, 30
"""Side of a panel, space between panels, height of the column titles, of a caption and of the last line, in pixels."""
TITLES = ("Scan", "Truth", "Prediction", "Grad-CAM")


def pick(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Record]:
    """Return `count` records, the classes in turn and as many patients as possible, drawn by a seed."""
    drawn = random.Random(seed).sample(list(records), len(records))
    by_class: dict[str, list[Record]] = {}
    seen: dict[str | None, int] = {}
    for record in drawn:
        by_class.setdefault(record.label or "", []).append(record)
    for rows in by_class.values():
        turn = {}
        for record in rows:  # a patient's second slice comes after every patient's first
            seen[record.patient] = seen.get(record.patient, 0) + 1
            turn[record.path] = seen[record.patient]
        rows.sort(key=lambda record, turn=turn: turn[record.path])  # type: ignore[misc]
    queues = [by_class[label] for label in sorted(by_class)]
    longest = max(map(len, queues), default=0)
    return [queue[row] for row in range(longest) for queue in queues if row < len(queue)][:count]


def side_by_side(predictions: Sequence[Prediction]) -> Image.Image:
    """Return an RGB picture with four columns; the truth is in yellow, the predicted mask in cyan.

    Args:
        predictions: of slices whose label and mask are known as far as they are; what is not known is left grey.
    """
    width = len(TITLES) * (SIDE + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + len(predictions) * (SIDE + CAPTION) + FOOT), GROUND)
    draw = ImageDraw.Draw(page)
    for number, title in enumerate(TITLES):
        draw.text((GAP + number * (SIDE + GAP), HEAD // 2), title, fill=INK, font=font(18), anchor="lm")
    for row, prediction in enumerate(predictions):
        top = HEAD + row * (SIDE + CAPTION)
        for number, panel in enumerate(panels(prediction)):
            page.paste(panel, (GAP + number * (SIDE + GAP) + (SIDE - panel.width) // 2, top + (SIDE - panel.height) // 2))
        draw.text((GAP, top + SIDE + CAPTION // 2), caption(prediction), fill=INK, font=font(15), anchor="lm")
    phantoms = any(prediction.slice.synthetic for prediction in predictions)
    told = f"{'Synthetic phantoms, no pictures of patients. ' if phantoms else ''}{DISCLAIMER}"
    draw.text((GAP, page.height - FOOT // 2), told, fill=SOFT, font=font(14), anchor="lm")
    return page


def panels(prediction: Prediction) -> list[Image.Image]:
    """Return scan, truth, prediction and Grad-CAM of one slice, each at most 256 pixels wide and high."""
    size = fitted(prediction.slice.image.shape, side=SIDE)
    scan = grey(prediction.slice.image, size)
    truth = outlined(scan, truth_mask(prediction.slice, prediction.slice.label), colour=TRUTH)
    found = outlined(scan, prediction.mask)
    heat = heated(scan, prediction.cam) if prediction.cam is not None else unknown(size)
    return [scan.convert("RGB"), truth, found, heat]


def outlined(scan: Image.Image, mask: np.ndarray | None, *, colour: tuple[int, int, int] | None = None) -> Image.Image:
    """Return a grey picture with the contour of a mask (H, W), or a plain panel where there is no mask to speak of."""
    if mask is None:
        return unknown(scan.size)
    picture = scan.convert("RGB")
    contour = contour_of(mask, scan.size, width=1.5)
    if contour is not None:
        contour.draw(picture)
        if colour is not None:
            picture.paste(colour, contour.at, contour.line)
    return picture


def unknown(size: tuple[int, int]) -> Image.Image:
    """Return the panel of what is not known."""
    panel = Image.new("RGB", size, (38, 43, 49))
    ImageDraw.Draw(panel).text((size[0] // 2, size[1] // 2), "not known", fill=SOFT, font=font(15), anchor="mm")
    return panel


def caption(prediction: Prediction) -> str:
    """Return truth and answer in words."""
    parts = [f"truth: {clean(prediction.slice.label or 'not known')}"]
    if prediction.label is not None and prediction.class_prob is not None:
        parts.append(f"predicted: {clean(prediction.label)}, {prediction.class_prob.max():.0%}")
    truth = truth_mask(prediction.slice, prediction.slice.label)
    if prediction.mask is not None and truth is not None:
        parts.append(f"Dice {dice(prediction.mask, truth):.2f}")
    return "     ".join(parts)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return Dice of two masks (H, W) bool; 1 where both are empty."""
    both = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / both if both else 1.0
