"""How do a network's numbers become an answer? Threshold, smallest region, temperature, the map's scale, warnings."""

from __future__ import annotations

import numpy as np

from bts.glossary import NO_TUMOUR

PHANTOM_MODEL = "model trained on synthetic phantoms: the answer means nothing for a patient"
PHANTOM_SLICE = "the slice is a synthetic phantom, no picture of a patient"
NO_CAM_SCALE = "the model has no Grad-CAM scale: the map is divided by its own maximum, so a weak map looks as strong as any"


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return (K,) float64 probabilities, softmax(logits / temperature) (Guo et al. 2017, arXiv 1706.04599).

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


def decide_mask(probability: np.ndarray, *, threshold: float, min_area: float) -> np.ndarray:
    """Return (H, W) bool: at or over the threshold, without regions smaller than a share of the picture.

    Args:
        probability: (H, W) in [0, 1].
        threshold: probability from which a pixel counts as tumour.
        min_area: share of the picture's area under which a region is dropped; pixels that touch at a corner are one region.
    """
    mask = np.asarray(probability) >= threshold
    if min_area <= 0 or not mask.any():
        return mask
    from scipy import ndimage  # takes 0.1 s: only where a smallest region is asked for

    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    kept = np.bincount(regions.ravel()) >= min_area * mask.size
    kept[0] = False
    return kept[regions]


def scale_cam(cam: np.ndarray, *, scale: float | None) -> np.ndarray:
    """Return the map in [0, 1]: divided by the scale and clipped, or by its own maximum where there is no scale."""
    by = scale or float(cam.max()) or 1.0
    return np.clip(cam / by, 0, 1).astype(np.float32, copy=False)


def contradiction(*, label: str) -> str:
    """Return the sentence for a mask and a class that do not agree whether there is a tumour."""
    if label == NO_TUMOUR:
        return "mask and class contradict each other: a tumour is outlined, the class is no tumour"
    return f"mask and class contradict each other: the class is {label}, the mask is empty"


def referral(*, highest: float, refer_below: float) -> str:
    """Return the sentence for a largest probability under the threshold for referral."""
    return f"refer to an expert: the highest probability is {highest:.2f}, under the model's threshold of {refer_below:.2f}"
