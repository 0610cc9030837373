"""Referral to an expert by the estimated probability that an answer is right, from several signals of doubt.

The signals are the fused class probability, the disagreement of a joint model's heads, the uncertainty of the mask and the
distance from the training slices. Their weights are fitted on validation and are at least 0, so that more doubt never makes a
referral less likely (`bts.evaluation.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bts.inference.prediction import Prediction, UnfusedHeads

SIGNALS = ("doubt", "disagreement", "mask_doubt", "ood_distance")
"""Names of the signals, which are those of their weights in a card's `referral`."""
SMALLEST = 1e-4
"""Probabilities are clipped to this distance from 0 and 1 before their odds are taken."""


def signals_of(prediction: Prediction, *, no_tumour: int | None) -> np.ndarray:
    """Return the signals (4,) float64 of a prediction with a class, each larger for more doubt; 0 for one that is missing.

    Args:
        prediction: before its probabilities are capped.
        no_tumour: index of the class "no tumour", None where there is none.
    """
    assert prediction.class_prob is not None
    ood = prediction.ood
    return signals(
        highest=float(prediction.class_prob.max()),
        disagreement=disagreement_of(prediction.unfused, no_tumour=no_tumour),
        mask_confidence=prediction.mask_confidence,
        ood_ratio=None if ood is None else ood.distance / ood.limit,
    )


def disagreement_of(unfused: UnfusedHeads | None, *, no_tumour: int | None) -> float:
    """Return the distance of the heads' probabilities that there is a tumour, 0 for a model whose heads are not fused."""
    if unfused is None or no_tumour is None:
        return 0.0
    return abs(1 - float(unfused.class_prob[no_tumour]) - unfused.tumour_prob)


def signals(*, highest: float, disagreement: float, mask_confidence: float | None, ood_ratio: float | None) -> np.ndarray:
    """Return the signals (4,) float64, in the order of `SIGNALS`.

    Args:
        highest: largest class probability.
        disagreement: disagreement of the heads, 0 to 1.
        mask_confidence: None for an empty mask.
        ood_ratio: distance from the training slices over its limit; None without a reference.
    """
    clipped = min(max(highest, SMALLEST), 1 - SMALLEST)
    mask_doubt = 0.0 if mask_confidence is None else 1 - mask_confidence
    return np.array([math.log((1 - clipped) / clipped), disagreement, mask_doubt, ood_ratio or 0.0])


def probability_right(found: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    """Return the estimated probability (...) that an answer is right, from its signals (..., 4) and a card's `referral`."""
    weights = np.array([float(rule[name]) for name in SIGNALS])
    return np.asarray(1 / (1 + np.exp(float(rule["intercept"]) + found @ weights)))
