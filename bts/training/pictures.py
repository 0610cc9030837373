"""Pictures of training: panels of scan, truth and prediction, the confusion matrix, and the preview of augmented slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from bts.data.augment import Augmenter
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.settings import Settings

TRUTH, PREDICTION = (60, 220, 90), (255, 80, 190)
"""Green and pink: also distinct in brightness for colour-blind readers, and neither occurs in a grey scan."""
WRONG = (255, 110, 90)
INK, PAPER, CELL = (235, 235, 235), (24, 24, 24), (40, 95, 160)
LINE = 14
"""Least height of a caption in pixels."""
READABLE = 160
"""Smallest height of a picture under a caption."""


def with_contour(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8: the grey `image` (H, W) uint8 with the inner edge of `mask` (H, W) in colour."""
    picture = np.repeat(image[..., None], 3, axis=2)
    picture[find_boundaries(mask.astype(bool), mode="inner")] = colour
    return picture


def add_caption(picture: np.ndarray, text: str, *, colour: tuple[int, int, int] = INK, least: int = READABLE) -> np.ndarray:
    """Return the picture (H, W, 3) under a line of text, enlarged by an integer factor to a height of at least `least`."""
    scale = -(-least // picture.shape[0])
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    line = max(LINE, picture.shape[0] // 18, picture.shape[1] // 30)  # readable on a small card of TensorBoard too
    page = Image.new("RGB", (picture.shape[1], picture.shape[0] + line), PAPER)
    page.paste(Image.fromarray(picture), (0, line))
    ImageDraw.Draw(page).text((2, 1), text, fill=colour, font=ImageFont.load_default(line - 4))
    return np.asarray(page)


def mask_panel(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, text: str, least: int = READABLE) -> np.ndarray:
    """Return scan, scan with the true contour, and scan with the predicted one, side by side under one line of text."""
    scan = np.repeat(image[..., None], 3, axis=2)
    parts = [scan, with_contour(image, truth, TRUTH), with_contour(image, predicted, PREDICTION)]
    return add_caption(np.concatenate(parts, axis=1), text, least=least)


def class_panel(image: np.ndarray, *, truth: str, predicted: str, probability: float, least: int = READABLE) -> np.ndarray:
    """Return the scan under its true class, the predicted one and its probability; in red if it is wrong."""
    text = f"{truth}: {predicted} {probability:.2f}"
    return add_caption(np.repeat(image[..., None], 3, axis=2), text, colour=INK if truth == predicted else WRONG, least=least)


def contact_sheet(panels: Sequence[np.ndarray], *, columns: int) -> np.ndarray:
    """Return panels of one size (H, W, 3) row by row on one page."""
    height, width = panels[0].shape[:2]
    rows = -(-len(panels) // columns)
    page = np.full((rows * height, columns * width, 3), PAPER, dtype=np.uint8)
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        page[row * height : (row + 1) * height, column * width : (column + 1) * width] = panel
    return page


def matrix_picture(matrix: np.ndarray, classes: Sequence[str], *, cell: int = 88) -> np.ndarray:
    """Return the confusion matrix (K, K), rows the truth, as cells shaded by the share of their row, with counts in them."""
    K = len(classes)
    left, top = 100, 40
    page = Image.new("RGB", (left + K * cell, top + K * cell), PAPER)
    draw = ImageDraw.Draw(page)
    draw.font = ImageFont.load_default(13)
    draw.text((4, 4), "rows: truth, columns: prediction", fill=INK)
    for i, name in enumerate(classes):
        draw.text((left + i * cell + 4, top - LINE - 4), name[:12], fill=INK)
        draw.text((4, top + i * cell + cell // 2 - 6), name[:13], fill=INK)
        total = max(1, int(matrix[i].sum()))
        for j in range(K):
            share = float(matrix[i, j]) / total
            colour = tuple(int(low + (high - low) * share) for low, high in zip(PAPER, CELL, strict=True))
            x, y = left + j * cell, top + i * cell
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
            draw.text((x + 8, y + cell // 2 - 16), f"{int(matrix[i, j])}\n{share:.0%}", fill=INK)
    return np.asarray(page)


def choose_slices(labels: np.ndarray, sizes: np.ndarray, count: int) -> list[int]:
    """Return `count` positions to show in each epoch: the classes in turn, each from small to large tumours.

    >>> choose_slices(np.array([0, 0, 0, 1, 1, 1]), np.array([3, 1, 2, 9, 7, 8]), 4)
    [1, 4, 0, 3]
    """
    wanted = -(-count // len(np.unique(labels)))
    per_class = []
    for label in np.unique(labels):
        order = np.flatnonzero(labels == label)
        order = order[np.argsort(sizes[order], kind="stable")]
        steps = dict.fromkeys(int((i + 0.5) / wanted * len(order)) for i in range(wanted))
        per_class.append([int(order[step]) for step in steps])
    in_turn = [positions[i] for i in range(wanted) for positions in per_class if i < len(positions)]
    return in_turn[:count]


def preview(settings: Settings, *, slices: int = 6, n_augmented: int = 4) -> np.ndarray:
    """Return a preview (H, W, 3) uint8: one row per slice, the classes in turn, with the contour of the true mask.

    Args:
        settings: settings of any task; source, preprocessing and augmentation are used.
        slices: number of rows.
        n_augmented: number of augmented columns, as drawn in the first epochs; `augment.share` is taken as 1.
    """
    source = open_source(settings.data.source, settings.data.root, mask_labels=settings.data.mask_labels)
    augmenter = Augmenter(replace(settings.augment, share=1.0), seed=settings.seed)
    preprocessing = Preprocessing.of(settings.data)
    panels: list[np.ndarray] = []
    for row, record in enumerate(alternate_classes(source.records(), slices)):
        panels += _row(source, record, preprocessing, augmenter, index=row, n_augmented=n_augmented)
    return contact_sheet(panels, columns=2 + n_augmented)


def alternate_classes(records: Sequence[Record], count: int) -> list[Record]:
    """Return `count` records: the classes in turn, those of a class spread over the set.

    >>> records = [Record("a", "x"), Record("b", "x"), Record("c", "x"), Record("d", "y")]
    >>> [record.path for record in alternate_classes(records, 3)]
    ['a', 'd', 'c']
    """
    labels = list(dict.fromkeys(record.label for record in records))
    wanted = -(-count // max(len(labels), 1))
    per_class = []
    for label in labels:
        own = [record for record in records if record.label == label]
        places = np.linspace(0, len(own) - 1, min(wanted, len(own))).round().astype(int)
        per_class.append([own[place] for place in places])
    in_turn = [record for record in chain.from_iterable(zip_longest(*per_class)) if record is not None]
    return in_turn[:count]


def _row(
    source: Source, record: Record, preprocessing: Preprocessing, augmenter: Augmenter, *, index: int, n_augmented: int
) -> list[np.ndarray]:
    """Return the panels of one slice, all of the same size."""
    one = source.read(record)
    plain = Preprocessing(size=preprocessing.size, low_percentile=0.0, high_percentile=100.0, crop_brain=False)
    box = preprocessing.box(one.image)
    image = preprocessing.image(one.image)
    mask = np.zeros_like(image) if one.mask is None else preprocessing.mask(one.mask, box=box).astype(np.uint8)
    raw_mask = np.zeros_like(image) if one.mask is None else plain.mask(one.mask, box=plain.box(one.image)).astype(np.uint8)
    height, width = one.image.shape
    panels = [
        add_caption(with_contour(plain.image(one.image), raw_mask, TRUTH), f"{record.label or 'no class'}, {height} x {width}"),
        add_caption(with_contour(image, mask, TRUTH), "preprocessed"),
    ]
    for epoch in range(n_augmented):
        seen, seen_mask = augmenter(image, mask, epoch=epoch, index=index)
        panels.append(add_caption(with_contour(seen, seen_mask, TRUTH), f"augmented, {epoch + 1}"))
    return panels
