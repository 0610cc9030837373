"""How good are the masks: overall, per patient, per class, per tumour size, and how often is one missing or too many?"""

from __future__ import annotations

from typing import Any

import numpy as np

from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.intervals import mean_interval
from bts.evaluation.sample import Sample, Scores
from bts.glossary import NO_TUMOUR

MASK_SCORES = ("dice", "iou", "precision", "recall", "hd95_px", "asd_px", "surface_dice")
MASK_SCORES_MM = ("hd95_mm", "asd_mm", "surface_dice_mm")
LARGE_SHARE = 0.001
"""A mask on a healthy slice counts as large from this share of the picture on (262 of 512 x 512 pixels)."""
SIZES = ("small", "medium", "large")


def mask_table(sample: Sample, keep: np.ndarray | None = None) -> Scores:
    """Return the mean of every mask score over slices; millimetres only where a spacing is known."""
    names = MASK_SCORES + tuple(name for name in MASK_SCORES_MM if sample.cases[name].notna().any())
    return {name: sample.mean(name, keep) for name in names}


def _planes(sample: Sample) -> list[str]:
    """Return the planes that the source tells of, sorted."""
    return sorted(sample.cases["plane"].dropna().unique())


def size_groups(sample: Sample) -> tuple[np.ndarray, list[float]]:
    """Return each slice's tumour-size tertile (N,), 0 to 2 or -1 without a tumour, and the bounds as shares of the picture.

    Tertiles are those of the slices at hand, so a table by size says which shares it means.
    """
    share = sample.column("truth_area_px") / sample.column("picture_area_px")
    tumour = share > 0
    if not tumour.any():
        return np.full(len(share), -1), [0.0, 0.0]
    bounds = [float(bound) for bound in np.quantile(share[tumour], [1 / 3, 2 / 3])]
    return np.where(tumour, np.searchsorted(bounds, share), -1), bounds


def segmentation_scores(sample: Sample) -> dict[str, Any]:
    """Return the tables of the masks: per slice, per patient, per class, per size, misses and false masks."""
    scored = np.isfinite(sample.column("dice"))
    truth, found = sample.column("truth_area_px") > 0, sample.column("predicted_area_px") > 0
    tumour, healthy = scored & truth, scored & ~truth
    large = sample.column("predicted_area_px") >= LARGE_SHARE * sample.column("picture_area_px")
    group, bounds = size_groups(sample)
    labels = [label for label in dict.fromkeys(sample.cases["label"]) if label is not None]
    return {
        "slice": mask_table(sample),
        "patient": {name: sample.patient_mean(name) for name in MASK_SCORES},
        "tumour_slices": {"dice": sample.mean("dice", tumour)},
        "both_masks": {name: sample.mean(name, tumour & found) for name in ("dice", "hd95_px", "asd_px", "surface_dice")},
        "missed_tumour": mean_interval(~found, sample.bootstrap, keep=tumour),
        "healthy_with_mask": mean_interval(found, sample.bootstrap, keep=healthy),
        "healthy_with_large_mask": mean_interval(large, sample.bootstrap, keep=healthy),
        "class": {label: mask_table(sample, sample.is_class(label)) for label in sorted(labels)},
        "missed_by_class": {
            label: mean_interval(~found, sample.bootstrap, keep=tumour & sample.is_class(label))
            for label in sorted(labels)
            if label != NO_TUMOUR
        },
        "plane": {plane: mask_table(sample, (sample.cases["plane"] == plane).to_numpy()) for plane in _planes(sample)},
        "size": {name: mask_table(sample, group == index) for index, name in enumerate(SIZES)},
        "missed_by_size": {
            name: mean_interval(~found, sample.bootstrap, keep=tumour & (group == index)) for index, name in enumerate(SIZES)
        },
        "size_bounds": bounds,
        **_doubts(sample, scored & found),
    }


def _doubts(sample: Sample, drawn: np.ndarray) -> dict[str, Any]:
    """Return how many of the poor masks, and of the others, are called doubtful, and how good those are that are not.

    Nothing where the models have no threshold for it, or the table is from before there was one.
    """
    if "mask_uncertain" not in sample.cases or sample.cases["mask_uncertain"].isna().all():
        return {}
    told = np.isfinite(sample.column("mask_uncertain")) & drawn
    doubtful, poor = sample.column("mask_uncertain") == 1, sample.column("dice") < POOR_DICE
    return {
        "doubt": {
            "caught": mean_interval(doubtful, sample.bootstrap, keep=told & poor),
            "false": mean_interval(doubtful, sample.bootstrap, keep=told & ~poor),
            "dice_doubtful": sample.mean("dice", told & doubtful),
            "dice_others": sample.mean("dice", told & ~doubtful),
        }
    }
