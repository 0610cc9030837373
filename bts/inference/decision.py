"""How do a network's numbers become an answer? Threshold, smallest region, temperature, the map's scale, warnings."""

from __future__ import annotations

import numpy as np

from bts.glossary import NO_TUMOUR

PHANTOM_MODEL = "model trained on synthetic phantoms: the answer means nothing for a patient"
PHANTOM_SLICE = "the slice is a synthetic phantom, no picture of a patient"
SUREST = 1e-6
"""A mask's probability of a tumour counts as no nearer to 0 or 1 than this: one pixel must not silence the class head."""
NO_CAM_SCALE = "the model has no scale for its map: it is divided by its own maximum, so a weak map looks as strong as any"


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return (K,) float64 probabilities, softmax(logits / temperature) (Guo et al. 2017, arXiv 1706.04599).

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


def fuse_evidence(logits: np.ndarray, *, temperature: float, tumour: float, none: int) -> np.ndarray:
    """Return (K,) float64, the probability of each class once the mask's evidence counts too.

    Class c goes with a drawn mask, "no tumour" with an empty one, and no other pair can be: P(c) is proportional to the class
    head's q(c) times the mask's own probability that something is there, or that nothing is. The two count as independent
    witnesses.

    Args:
        logits: (K,) class scores.
        temperature: divides them.
        tumour: the mask's probability that there is a tumour at all; 0 rules the tumours out.
        none: number of the class "no tumour".
    """
    scores = np.asarray(logits, np.float64) / temperature
    tumours = np.arange(len(scores)) != none
    if tumour == 0:
        return (~tumours).astype(np.float64)
    seen = min(max(tumour, SUREST), 1 - SUREST)
    return softmax(scores + np.where(tumours, np.log(seen), np.log1p(-seen)))


def conditional_mask_prob(probability: np.ndarray, *, tumour: bool) -> np.ndarray:
    """Return (H, W) float32, the probability of tumour at each place once it is settled whether there is one.

    P(pixel) = P(there is a tumour) P(pixel, given that there is one), and the first factor is the map's largest value, the
    least that is possible. So the map is divided by it; where there is none, it is 0.
    """
    largest = float(probability.max())
    if not tumour or largest == 0:
        return np.zeros_like(probability)
    return probability / probability.max()


def decide_mask(probability: np.ndarray, *, threshold: float, min_area: float, one_stays: bool = False) -> np.ndarray:
    """Return (H, W) bool: at or over the threshold, without regions smaller than a share of the picture.

    Args:
        probability: (H, W) in [0, 1].
        threshold: probability from which a pixel counts as tumour.
        min_area: share of the picture's area under which a region is dropped; pixels that touch at a corner are one region.
        one_stays: whether the largest region stays, however small: where it is settled that there is a tumour.
    """
    mask = np.asarray(probability) >= threshold
    if min_area <= 0 or not mask.any():
        return mask
    from scipy import ndimage  # takes 0.1 s: only where a smallest region is asked for

    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(regions.ravel())
    areas[0] = 0  # the ground
    kept = areas >= (min(min_area * mask.size, areas.max()) if one_stays else min_area * mask.size)
    kept[0] = False
    return kept[regions]


def mask_confidence(probability: np.ndarray, mask: np.ndarray) -> float | None:
    """Return in [0, 1] how sure the model is of a mask: its soft Dice with the map it was cut from; None where it is empty.

    Were the map's probabilities right, this were about the Dice to expect. They are not, so it is only compared with what the
    masks of validation had (`bts.evaluation.calibration.choose_doubt`).

    Args:
        probability: (H, W) in [0, 1].
        mask: (H, W) bool.

    >>> mask_confidence(np.array([[1.0, 0.5, 0.5, 0.0]]), np.array([[True, True, False, False]]))
    0.75
    """
    area = int(np.count_nonzero(mask))
    if not area:
        return None
    return 2 * float(probability[mask].sum(dtype=np.float64)) / (float(probability.sum(dtype=np.float64)) + area)


def scale_cam(cam: np.ndarray, *, scale: float | None) -> np.ndarray:
    """Return the map in [0, 1]: divided by the scale and clipped, or by its own maximum where there is no scale."""
    by = scale or float(cam.max()) or 1.0
    return np.clip(cam / by, 0, 1).astype(np.float32, copy=False)


def contradiction(*, label: str) -> str:
    """Return the sentence for a mask and a class that do not agree whether there is a tumour."""
    if label == NO_TUMOUR:
        return "mask and class contradict each other: a tumour is outlined, the class is no tumour"
    return f"mask and class contradict each other: the class is {label}, the mask is empty"


def outvoted(*, label: str, tumour: float) -> str:
    """Return the sentence for a joint model whose mask and class, each by itself, do not agree whether there is a tumour.

    Args:
        label: class that the class head would have named.
        tumour: the mask's own probability that there is a tumour.
    """
    alone = "no tumour" if label == NO_TUMOUR else label
    return (
        f"mask and class nearly contradict each other: the class alone says {alone}, the mask alone {tumour:.0%} for a tumour"
    )


def doubtful_mask(*, confidence: float, below: float) -> str:
    """Return the sentence for a mask whose confidence is under the model's threshold."""
    limit = f"under the model's threshold of {below:.2f}"
    return f"the mask is doubtful, check where it lies: its confidence is {confidence:.2f}, {limit}"


def referral(*, highest: float, refer_below: float, alone: bool = False) -> str:
    """Return the sentence for a largest probability under the threshold for referral.

    Args:
        highest: the largest probability.
        refer_below: the threshold.
        alone: whether it is that of a joint model's class by itself, which is not the one that is answered.
    """
    whose = " of the class alone" if alone else ""
    return (
        f"refer to an expert: the highest probability{whose} is {highest:.2f}, under the model's threshold of {refer_below:.2f}"
    )
