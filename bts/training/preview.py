"""What does a network get to see under these settings? Slices as read, preprocessed and varied, side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np

from bts.data.augment import Augmenter
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.settings import Settings
from bts.training.pictures import TRUTH, captioned, sheet, with_contour


def preview(settings: Settings, *, slices: int = 6, varied: int = 4) -> np.ndarray:
    """Return the sheet (H, W, 3) uint8: a row a slice, the classes in turn, with the true mask's contour where there is one.

    Args:
        settings: of any task; source, preprocessing and augmentation are read.
        slices: rows.
        varied: columns of variations, as the first epochs draw them; every one is varied, whatever `augment.share` says.
    """
    source = open_source(settings.data.source, settings.data.root)
    augmenter = Augmenter(replace(settings.augment, share=1.0), seed=settings.seed)
    preprocessing = Preprocessing.of(settings.data)
    panels: list[np.ndarray] = []
    for row, record in enumerate(classes_in_turn(source.records(), slices)):
        panels += _row(source, record, preprocessing, augmenter, index=row, varied=varied)
    return sheet(panels, columns=2 + varied)


def classes_in_turn(records: Sequence[Record], count: int) -> list[Record]:
    """Return `count` records: the classes in turn, those of a class spread over the set.

    >>> records = [Record("a", "x"), Record("b", "x"), Record("c", "x"), Record("d", "y")]
    >>> [record.path for record in classes_in_turn(records, 3)]
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
    source: Source, record: Record, preprocessing: Preprocessing, augmenter: Augmenter, *, index: int, varied: int
) -> list[np.ndarray]:
    """Return the panels of one slice, all of the same size."""
    one = source.read(record)
    plain = Preprocessing(size=preprocessing.size, low_percentile=0.0, high_percentile=100.0)
    box = preprocessing.box(one.image)
    image = preprocessing.image(one.image)
    mask = np.zeros_like(image) if one.mask is None else preprocessing.mask(one.mask, box=box).astype(np.uint8)
    raw_mask = np.zeros_like(image) if one.mask is None else plain.mask(one.mask).astype(np.uint8)
    height, width = one.image.shape
    panels = [
        captioned(with_contour(plain.image(one.image), raw_mask, TRUTH), f"{record.label or 'no class'}, {height} x {width}"),
        captioned(with_contour(image, mask, TRUTH), "preprocessed"),
    ]
    for epoch in range(varied):
        seen, seen_mask = augmenter(image, mask, epoch=epoch, index=index)
        panels.append(captioned(with_contour(seen, seen_mask, TRUTH), f"varied, {epoch + 1}"))
    return panels
