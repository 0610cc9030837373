"""Postprocessing of a network's outputs: temperature, fusion of mask and class, threshold, and map scale."""

from __future__ import annotations

import numpy as np

PHANTOM_MODEL = "model trained on synthetic phantoms: the prediction has no meaning for a patient"
PHANTOM_SLICE = "the slice is a synthetic phantom, not an image of a patient"
NO_CAM_SCALE = (
    "the model has no scale for this class map: it is divided by its own maximum, so a weak map looks as strong as any"
)
EXTREME_PROB = 1e-6
"""The mask's tumour probability is clipped to this distance from 0 and 1: one pixel must not override the class head."""


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return (K,) float64 probabilities, softmax(logits / temperature) (Guo et al. 2017, arXiv 1706.04599).

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


def fuse_evidence(
    class_logits: np.ndarray,
    *,
    temperature: float,
    tumour_prob: float,
    no_tumour: int,
    exponent: float = 1.0,
    bias: float = 0.0,
) -> np.ndarray:
    """Return (K,) float64, the class probabilities given both the class head and the mask head.

    A tumour class goes with a mask, "no tumour" with an empty one; no other pair is allowed. So P(c) is proportional to the
    class head's q(c) times the mask head's probability that there is a tumour, or that there is none, to the power of the
    exponent. With 1 the two heads count as independent evidence; they share an encoder, so that less is mostly right.

    Args:
        class_logits: (K,).
        temperature: divides them.
        tumour_prob: the mask head's probability that there is a tumour; 0 rules all tumour classes out.
        no_tumour: index of the class "no tumour".
        exponent: exponent of the mask's evidence, fitted on validation together with the temperature.
        bias: log-odds added to "no tumour", chosen on validation.
    """
    scores = np.asarray(class_logits, np.float64) / temperature
    tumours = np.arange(len(scores)) != no_tumour
    if tumour_prob == 0:
        return (~tumours).astype(np.float64)
    clipped = min(max(tumour_prob, EXTREME_PROB), 1 - EXTREME_PROB)
    evidence = np.where(tumours, float(np.log(clipped)), float(np.log1p(-clipped)))
    return softmax(scores + exponent * evidence + np.where(tumours, 0.0, bias))


def conditional_mask_prob(mask_prob: np.ndarray, *, tumour: bool) -> np.ndarray:
    """Return (H, W) float32, the probability of tumour in each pixel given whether there is a tumour.

    P(pixel) = P(tumour) P(pixel | tumour). P(tumour) is at least the map's largest value, which is taken for it: the map is
    divided by its maximum. Without a tumour the map is 0.
    """
    largest = float(mask_prob.max())
    if not tumour or largest == 0:
        return np.zeros_like(mask_prob)
    return mask_prob / mask_prob.max()


def decide_mask(mask_prob: np.ndarray, *, threshold: float, min_area: float, keep_largest: bool = False) -> np.ndarray:
    """Return (H, W) bool: pixels at or above the threshold, without small regions.

    Args:
        mask_prob: (H, W) in [0, 1].
        threshold: smallest probability of a tumour pixel.
        min_area: share of the slice's area below which a region is dropped; regions are 8-connected.
        keep_largest: whether the largest region is kept whatever its area, as where a tumour class was predicted.
    """
    mask = np.asarray(mask_prob) >= threshold
    if min_area <= 0 or not mask.any():
        return mask
    from scipy import ndimage  # its import takes 0.1 s: only where a smallest region is set

    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(regions.ravel())
    areas[0] = 0  # the background
    kept = areas >= (min(min_area * mask.size, areas.max()) if keep_largest else min_area * mask.size)
    kept[0] = False
    return kept[regions]


def mask_confidence(mask_prob: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the soft Dice of a mask with the probabilities that it was cut from, in [0, 1]; None where the mask is empty.

    If the probabilities were calibrated, this would approximate the expected Dice. They are not, so it is only compared with
    a threshold found on the masks of the validation part (`bts.evaluation.calibration`).

    Args:
        mask_prob: (H, W) in [0, 1].
        mask: (H, W) bool.

    >>> mask_confidence(np.array([[1.0, 0.5, 0.5, 0.0]]), np.array([[True, True, False, False]]))
    0.75
    """
    area = int(np.count_nonzero(mask))
    if not area:
        return None
    return 2 * float(mask_prob[mask].sum(dtype=np.float64)) / (float(mask_prob.sum(dtype=np.float64)) + area)


def scale_cam(cam: np.ndarray, *, scale: float | None) -> np.ndarray:
    """Return the class map in [0, 1]: divided by the scale and clipped; without a scale, divided by its own maximum."""
    by = scale or float(cam.max()) or 1.0
    return np.clip(cam / by, 0, 1).astype(np.float32, copy=False)
