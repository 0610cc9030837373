"""Does the Grad-CAM look at the tumour? Three scores of one map against one mask.

A map of zeros explains nothing and gets the worst value; with an empty mask there is nothing to point at: None.
"""

from __future__ import annotations

import numpy as np

CAM_LEVEL = 0.5
"""The thresholded map is where it reaches this share of its own maximum."""


def cam_energy(cam: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of the sum of a map (H, W) that lies in a mask (H, W) bool (Wang et al. 2020, energy-based pointing)."""
    if not mask.any():
        return None
    total = float(cam.sum(dtype=np.float64))
    return float(cam[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0


def cam_hit(cam: np.ndarray, mask: np.ndarray) -> float | None:
    """Return 1 where the brightest pixel lies in the mask, else 0 (pointing game, Zhang et al. 2018), without a margin.

    A clipped map has many brightest pixels: then the share of them in the mask, the expectation of a random choice.
    """
    if not mask.any():
        return None
    peak = float(cam.max())
    return float(mask[cam == peak].mean()) if peak > 0 else 0.0


def cam_iou(cam: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the IoU of the mask and the region where the map reaches half of its maximum."""
    if not mask.any():
        return None
    if cam.max() <= 0:
        return 0.0
    region = cam >= CAM_LEVEL * cam.max()
    return float((region & mask).sum() / (region | mask).sum())


def cam_scores(cam: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Return all scores of a map (H, W) in [0, 1] against the truth (H, W) bool, and the energy that a flat map would have."""
    scores = {"cam_energy": cam_energy(cam, mask), "cam_hit": cam_hit(cam, mask), "cam_iou": cam_iou(cam, mask)}
    return {**scores, "cam_flat": float(mask.mean()) if mask.any() else None}
