"""Masks that would train a network to find nothing, or everything, stop a training in one line."""

from __future__ import annotations

import numpy as np
import pytest

from bts.data.arrays import Arrays
from bts.data.mask_checks import refuse_unusable_masks
from bts.errors import RequestError

CLASSES = ("meningioma", "glioma", "no_tumour")


def arrays(*slices: tuple[int, float | None]) -> Arrays:
    """Return slices of (label, share of the picture that the mask covers or None without a mask)."""
    masks = np.zeros((len(slices), 10, 10), np.uint8)
    for i, (_, share) in enumerate(slices):
        masks[i].flat[: round(100 * (share or 0))] = 1
    return Arrays(
        images=masks,
        masks=masks,
        has_mask=np.array([share is not None for _, share in slices]),
        labels=np.array([label for label, _ in slices]),
        paths=[str(i) for i in range(len(slices))],
        patients=[""] * len(slices),
    )


GOOD = arrays((0, 0.1), (1, 0.2), (1, 0.0), (2, 0.0), (2, None), (-1, 0.9))


def test_usual_masks_pass_also_where_some_are_empty_missing_or_large() -> None:
    refuse_unusable_masks({"train": GOOD, "val": arrays((0, 0.1), (1, 0.0), (2, 0.0))}, CLASSES)
    refuse_unusable_masks({"train": GOOD, "val": arrays((2, 0.0))}, CLASSES)  # a part without a tumour is the split's matter
    refuse_unusable_masks({"train": arrays((0, None)), "val": arrays((0, None))}, CLASSES)  # told with the task that needs them
    refuse_unusable_masks({"train": arrays((-1, 0.1)), "val": arrays((-1, 0.0))}, CLASSES)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (arrays((0, 0.1), (1, 0.0)), arrays((1, 0.0), (0, 0.1)), "all 2 masks of class 'glioma' are empty in training and val"),
        (arrays((-1, 0.0)), arrays((-1, 0.0)), "all 2 masks of class 'unknown' are empty"),
        (GOOD, arrays((0, None), (1, None), (2, 0.0)), "none of the 2 tumour slices in part 'val' has a mask"),
        (arrays((0, None), (2, 0.0)), GOOD, "none of the 1 tumour slices in part 'train' has a mask"),
        (arrays((0, 0.9), (1, 0.8)), arrays((0, 0.7), (1, 0.1), (2, 0.0)), "half of the picture in 3 of 4 masks: are they inv"),
    ],
)
def test_masks_that_can_t_be_meant_stop_the_training(train: Arrays, val: Arrays, message: str) -> None:
    with pytest.raises(RequestError, match=message) as error:
        refuse_unusable_masks({"train": train, "val": val}, CLASSES)
    assert "\n" not in str(error.value)
