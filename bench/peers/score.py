"""Scores of every peer's predictions, by one scorer on the same slices, with intervals over patients."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.shared_set import Truth
from bts.errors import RequestError
from bts.evaluation.calibration import calibration_error, calibration_rows
from bts.evaluation.intervals import (
    Bootstrap,
    Interval,
    difference_interval,
    draw_patients,
    mean_interval,
    ratio,
    statistic_interval,
    with_counts,
)
from bts.evaluation.metrics import cam_energy, overlap_scores


def dice_of(file: Path, truth: Truth) -> np.ndarray:
    """Return the Dice (N,) of a file of predictions.

    Raises:
        RequestError: it does not hold one mask for each slice of the test part.
    """
    masks = _arrays(file)["masks"]
    if masks.shape != truth.masks.shape:
        raise RequestError(f"{file}: expected masks {truth.masks.shape}, received {masks.shape}: delete the peer's folder")
    return np.array([overlap_scores(mask, true).dice for mask, true in zip(masks > 0, truth.masks, strict=True)])


def score(file: Path, truth: Truth) -> dict[str, Any]:
    """Return the intervals of Dice, and of accuracy, calibration error and map where the peer gives classes and maps."""
    arrays, bootstrap = _arrays(file), draw_patients(truth.patients)
    found: dict[str, Interval | None] = {"dice": mean_interval(dice_of(file, truth), bootstrap)}
    if "probabilities" in arrays:
        labels = np.array([truth.classes.index(row.label) for row in truth.rows])
        right = arrays["probabilities"].argmax(axis=1) == labels
        confidence = arrays["probabilities"].max(axis=1).astype(np.float64)
        found["accuracy"] = mean_interval(right, bootstrap)
        found["ece"] = statistic_interval(calibration_rows(confidence, right), calibration_error, bootstrap)
    if "maps" in arrays:
        energy = [cam_energy(heat.astype(np.float32), mask) for heat, mask in zip(arrays["maps"], truth.masks, strict=True)]
        found["map_in_mask"] = mean_interval(np.array(energy, dtype=np.float64), bootstrap)
    return {name: None if interval is None else asdict(interval) for name, interval in found.items()}


def compare(first: np.ndarray, second: np.ndarray, bootstrap: Bootstrap) -> Interval | None:
    """Return second minus first of the mean Dice, from the Dice (N,) of two peers on the same slices, paired over patients."""
    return difference_interval(with_counts(first), with_counts(second), ratio, bootstrap)


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: no predictions ({error}): delete the peer's folder and run it again") from error
