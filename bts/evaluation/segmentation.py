"""Mask scores with intervals: over slices, patients, classes, planes and tumour sizes; missed tumours and false masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.intervals import Sample, Scores

MASK_SCORES = ("dice", "iou", "precision", "recall", "hd95_px", "asd_px", "surface_dice")
MASK_SCORES_MM = ("hd95_mm", "asd_mm", "surface_dice_mm")
LARGE_SHARE = 0.001
"""A mask on a healthy slice counts as large from this share of the image on (262 of 512 x 512 pixels)."""
SIZES = ("small", "medium", "large")


def mask_table(sample: Sample, keep: np.ndarray | None = None) -> Scores:
    """Return the mean over slices with a tumour of every mask score; millimetres only where a spacing is known."""
    names = MASK_SCORES + tuple(name for name in MASK_SCORES_MM if sample.cases[name].notna().any())
    return {name: sample.mean(name, keep) for name in names}


def size_groups(sample: Sample) -> tuple[np.ndarray, list[float]]:
    """Return each slice's tumour-size tertile (N,), 0 to 2 or -1 without a tumour, and the bounds as shares of the image.

    The tertiles are those of the slices at hand, so a table by size must state the bounds.
    """
    share = sample.column("truth_area_px") / sample.column("picture_area_px")
    tumour = share > 0
    if not tumour.any():
        return np.full(len(share), -1), [0.0, 0.0]
    bounds = [float(bound) for bound in np.quantile(share[tumour], [1 / 3, 2 / 3])]
    return np.where(tumour, np.searchsorted(bounds, share), -1), bounds


def segmentation_scores(sample: Sample) -> dict[str, Any]:
    """Return all mask tables of a sample."""
    area = sample.column("truth_area_px")
    drawn, tumour, healthy = sample.column("predicted_area_px") > 0, area > 0, area == 0
    large = sample.column("predicted_area_px") >= LARGE_SHARE * sample.column("picture_area_px")
    group, bounds = size_groups(sample)
    by_size = {name: group == index for index, name in enumerate(SIZES)}
    by_class = {label: sample.is_class(label) for label in sorted(sample.cases.loc[tumour, "label"].dropna().unique())}
    planes = sorted(sample.cases.loc[tumour, "plane"].dropna().unique())
    by_plane = {plane: (sample.cases["plane"] == plane).to_numpy() for plane in planes}
    return {
        "slice": mask_table(sample),
        "patient": {name: sample.patient_mean(name) for name in MASK_SCORES},
        "both_masks": {name: sample.mean(name, tumour & drawn) for name in ("dice", "hd95_px", "asd_px", "surface_dice")},
        "missed_tumour": sample.share(~drawn, tumour),
        "healthy_with_mask": sample.share(drawn, healthy),
        "healthy_with_large_mask": sample.share(large, healthy),
        "class": {label: mask_table(sample, keep) for label, keep in by_class.items()},
        "missed_by_class": {label: sample.share(~drawn, tumour & keep) for label, keep in by_class.items()},
        "plane": {plane: mask_table(sample, keep) for plane, keep in by_plane.items()},
        "size": {name: mask_table(sample, keep) for name, keep in by_size.items()},
        "missed_by_size": {name: sample.share(~drawn, tumour & keep) for name, keep in by_size.items()},
        "size_bounds": bounds,
        **_uncertainty(sample, tumour, drawn),
    }


def _uncertainty(sample: Sample, tumour: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Return how often slices with a poor mask, a missed tumour included, and others are flagged as uncertain.

    Also the share of flagged masks on healthy slices, and the Dice of flagged and other masks. Empty where the models have no
    threshold for it.
    """
    if "mask_uncertain" not in sample.cases or sample.cases["mask_uncertain"].isna().all():
        return {}
    uncertain, poor = sample.column("mask_uncertain") == 1, sample.column("dice") < POOR_DICE
    return {
        "uncertain": {
            "caught": sample.share(uncertain, tumour & poor),
            "false": sample.share(uncertain, tumour & ~poor),
            "healthy": sample.share(uncertain, ~tumour & drawn),
            "dice_uncertain": sample.mean("dice", drawn & uncertain),
            "dice_others": sample.mean("dice", drawn & ~uncertain),
        }
    }
