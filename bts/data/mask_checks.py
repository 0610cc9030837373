"""Checks for implausible masks of a training part: empty, missing, or most of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bts.data.arrays import UNKNOWN, Arrays
from bts.errors import RequestError
from bts.glossary import NO_TUMOUR, Part

MOST = 0.5
"""Share of the picture, and share of the slices, above which the tumour is taken for the background."""
LOOK = "look at them with `bts sources NAME:FOLDER`, and name the tumour's labels with data.mask_labels if they have several"


def refuse_unusable_masks(parts: Mapping[Part, Arrays], classes: Sequence[str]) -> None:
    """Refuse masks that would train a network to find nothing, or everything.

    Args:
        parts: the slices of the parts that training reads.
        classes: names in the order of the labels.

    Raises:
        RequestError: no tumour slice of a part has a mask although others do, all masks of a tumour class are empty, or the
            tumour covers most of the picture on most slices.
    """
    for part, arrays in parts.items():
        tumour = _is_tumour(arrays.labels, classes)
        if arrays.has_mask.any() and tumour.any() and not arrays.has_mask[tumour].any():
            raise RequestError(
                f"none of the {int(tumour.sum())} tumour slices in part '{part}' has a mask, and only healthy slices have "
                "(empty) ones: check the names of the mask files"
            )
    labels = np.concatenate([arrays.labels for arrays in parts.values()])
    has_mask = np.concatenate([arrays.has_mask for arrays in parts.values()])
    shares = np.concatenate([arrays.masks.reshape(len(arrays), -1).mean(axis=1) for arrays in parts.values()])
    _refuse_empty(labels, shares, has_mask, classes)
    drawn = shares[has_mask & (shares > 0)]
    large = int((drawn > MOST).sum())
    if large > MOST * len(drawn):
        raise RequestError(
            f"the tumour covers more than half of the picture in {large} of {len(drawn)} masks: are they inverted? "
            f"Expected 0 for background; {LOOK}"
        )


def _refuse_empty(labels: np.ndarray, shares: np.ndarray, has_mask: np.ndarray, classes: Sequence[str]) -> None:
    kinds = {name: labels == number for number, name in enumerate(classes) if name != NO_TUMOUR}
    if (labels == UNKNOWN).all():
        kinds = {"unknown": labels == UNKNOWN}
    for name, is_kind in kinds.items():
        masked = is_kind & has_mask
        if masked.any() and not shares[masked].any():
            raise RequestError(f"all {int(masked.sum())} masks of class '{name}' are empty in training and validation: {LOOK}")


def _is_tumour(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    healthy = classes.index(NO_TUMOUR) if NO_TUMOUR in classes else None
    return (labels != UNKNOWN) & (labels != healthy)
