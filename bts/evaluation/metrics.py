"""Scores of one predicted mask against the true one, and of one class activation map against the true mask.

Overlap and distances are MONAI's. What MONAI leaves undefined (NaN or infinity) is set after Maier-Hein, Reinke et al., Metrics
Reloaded (2024), who ask for the worst value where exactly one mask is empty:

| truth | prediction | Dice, IoU, precision, recall, surface Dice | distances |
|---|---|---|---|
| empty | empty | 1 | 0 |
| empty | not | 0 | diagonal of the image |
| not | empty | 0 | diagonal of the image |

Tables of cases leave these scores out where the truth is empty: masks on healthy slices are counted, not averaged.

A map of zeros explains nothing and gets the worst score. With an empty mask the scores of a map are undefined: None.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # MONAI and torch take seconds, and what only names scores, such as the page of an audit, needs neither
    from torch import Tensor

TOLERANCE_PX = 2.0
"""Surface Dice counts a boundary pixel as correct if the other boundary is at most this far away."""
TOLERANCE_MM = 1.0
"""The same in millimetres, where the spacing is known."""
CAM_LEVEL = 0.5
"""Share of its maximum from which a map is compared with a mask as a region."""


class Overlap(NamedTuple):
    """Scores in [0, 1] of one pair of masks."""

    dice: float
    iou: float
    precision: float
    recall: float


class Surface(NamedTuple):
    """Distances between two boundaries, in the unit of the spacing, and the share of them within the tolerance."""

    hd95: float
    asd: float
    surface_dice: float


def _pair(prediction: np.ndarray, truth: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return both masks as (1, 1, H, W) float32, as MONAI takes them; raise ValueError on differing shapes."""
    import torch

    if prediction.shape != truth.shape or prediction.ndim != 2:
        raise ValueError(f"expected two masks (H, W) of one shape, received {prediction.shape} and {truth.shape}")
    return tuple(torch.from_numpy(np.ascontiguousarray(mask, dtype=bool)).float()[None, None] for mask in (prediction, truth))  # type: ignore[return-value]


def overlap_scores(prediction: np.ndarray, truth: np.ndarray) -> Overlap:
    """Return Dice, IoU, precision and recall of a predicted mask (H, W) bool against the truth (H, W) bool."""
    from monai.metrics import compute_confusion_matrix_metric, compute_dice, compute_iou, get_confusion_matrix

    y_pred, y = _pair(prediction, truth)
    if not prediction.any() or not truth.any():
        same = float(not prediction.any() and not truth.any())
        return Overlap(same, same, same, same)
    counts = get_confusion_matrix(y_pred, y, include_background=True)  # (1, 1, 4)
    return Overlap(
        dice=compute_dice(y_pred, y).item(),
        iou=compute_iou(y_pred, y).item(),
        precision=compute_confusion_matrix_metric("precision", counts).item(),
        recall=compute_confusion_matrix_metric("recall", counts).item(),
    )


def surface_scores(
    prediction: np.ndarray, truth: np.ndarray, *, tolerance: float, spacing: tuple[float, float] = (1.0, 1.0)
) -> Surface:
    """Return HD95, average symmetric surface distance and surface Dice of two masks (H, W) bool.

    The boundary of a mask is its pixels with a 4-neighbour outside, and its pixels at the edge of the image. HD95 is the larger
    of the two directed 95th percentiles; the average distance is over the pixels of both boundaries together. `spacing` is
    (row, column); the penalty of a single empty mask is the diagonal of the image in the same unit.
    """
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    y_pred, y = _pair(prediction, truth)
    if not prediction.any() and not truth.any():
        return Surface(0.0, 0.0, 1.0)
    if not prediction.any() or not truth.any():
        diagonal = math.hypot(truth.shape[0] * spacing[0], truth.shape[1] * spacing[1])
        return Surface(diagonal, diagonal, 0.0)
    step = list(spacing)
    with warnings.catch_warnings():
        # MONAI 1.6 passes its own deprecated argument to itself.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy.*", category=FutureWarning)
        hd95 = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=step)
        asd = compute_average_surface_distance(y_pred, y, include_background=True, symmetric=True, spacing=step)
        near = compute_surface_dice(y_pred, y, class_thresholds=[tolerance], include_background=True, spacing=step)
    return Surface(hd95.item(), asd.item(), near.item())


def mask_scores(
    prediction: np.ndarray, truth: np.ndarray, *, spacing_mm: tuple[float, float] | None = None
) -> dict[str, float | None]:
    """Return every score of one mask: overlap, distances in pixels, and in millimetres (None without spacing).

    Both masks are (H, W) bool in the slice's own size. Scores are never NaN: see the table of this module.
    """
    pixels = surface_scores(prediction, truth, tolerance=TOLERANCE_PX)
    scores: dict[str, float | None] = dict(overlap_scores(prediction, truth)._asdict())
    scores |= {"hd95_px": pixels.hd95, "asd_px": pixels.asd, "surface_dice": pixels.surface_dice}
    scores |= {"hd95_mm": None, "asd_mm": None, "surface_dice_mm": None}
    if spacing_mm is not None:
        real = surface_scores(prediction, truth, tolerance=TOLERANCE_MM, spacing=spacing_mm)
        scores |= {"hd95_mm": real.hd95, "asd_mm": real.asd, "surface_dice_mm": real.surface_dice}
    return scores


def cam_energy(cam: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of the sum of a map (H, W) inside a mask (H, W) bool (energy-based pointing game, Wang et al. 2020)."""
    if not mask.any():
        return None
    total = float(cam.sum(dtype=np.float64))
    return float(cam[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0


def cam_scores(cam: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Return the scores of a map (H, W) in [0, 1] against the true mask (H, W) bool.

    `cam_energy` is as in `cam_energy()` and `cam_flat` the energy of a constant map. `cam_hit` is the pointing game (Zhang et
    al. 2018) without a margin: the share of the brightest pixels inside the mask, which is 0 or 1 unless a clipped map has
    several. `cam_iou` is the IoU of the mask and the region above `CAM_LEVEL` of the maximum.
    """
    if not mask.any():
        return dict.fromkeys(("cam_energy", "cam_hit", "cam_iou", "cam_flat"))
    peak = float(cam.max())
    region = cam >= CAM_LEVEL * cam.max()
    return {
        "cam_energy": cam_energy(cam, mask),
        "cam_hit": float(mask[cam == peak].mean()) if peak > 0 else 0.0,
        "cam_iou": float((region & mask).sum() / (region | mask).sum()) if peak > 0 else 0.0,
        "cam_flat": float(mask.mean()),
    }
