"""Statements about a prediction: agreement, referral and warnings, all derived from its numbers in this module.

Page, overlay, terminal and `result.json` repeat these, so that none of their lines contradicts another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bts.glossary import NO_TUMOUR, count_of
from bts.inference import postprocess
from bts.inference.prediction import Prediction, UnfusedHeads
from bts.inference.referral import probability_right, signals_of
from bts.models.card import ModelCard

REFER = "refer to an expert"
"""Beginning of the warning that a case is referred; it is there exactly where `refer` is true."""
OOD_CAP = 0.6
"""Largest class probability that is reported for a slice out of distribution, where probabilities are not calibrated."""
AGREEMENT = {"agree": "agree", "heads_disagree": "heads disagree", "contradict": "contradict each other"}
"""Value of `agreement` -> its words for people."""


def conclude(prediction: Prediction, cards: Sequence[ModelCard], *, cam_scale: str) -> Prediction:
    """Return the prediction with its referral and its warnings, and with probabilities that may be reported.

    Args:
        prediction: with all numbers, and the warnings that are known already.
        cards: cards of the models.
        cam_scale: scale of the class map that was asked for.
    """
    reason = referral_reason(prediction, cards)
    found = [*prediction.warnings, *_warnings(prediction, cards, cam_scale)]
    if reason is not None:
        found.append(f"{REFER}: {reason}")
    if prediction.ood is not None and prediction.ood.is_ood and prediction.class_prob is not None:
        prediction = replace(
            prediction, class_prob=cap_probabilities(prediction.class_prob), unfused=_capped(prediction.unfused)
        )
    return replace(prediction, refer=reason is not None, warnings=tuple(found))


def referral_reason(prediction: Prediction, cards: Sequence[ModelCard]) -> str | None:
    """Return why a case is referred to an expert, or None where it is not."""
    if prediction.ood is not None and prediction.ood.is_ood:
        capped = f"; no probability above {OOD_CAP:.0%} is reported" if prediction.class_prob is not None else ""
        return f"the slice is out of distribution, the prediction can't be trusted{capped}"
    for card in cards:
        class_prob = prediction.class_prob if prediction.unfused is None else prediction.unfused.class_prob
        if class_prob is None or prediction.class_prob is None or card.task == "seg":
            continue
        if card.referral:
            no_tumour = card.classes.index(NO_TUMOUR) if NO_TUMOUR in card.classes else None
            right = float(probability_right(signals_of(prediction, no_tumour=no_tumour), card.referral))
            if right < card.referral["below"]:
                return format_low_estimate(right=right, below=card.referral["below"])
            continue
        highest = float(class_prob.max())
        if card.refer_below is not None and highest < card.refer_below:
            return format_referral(highest=highest, refer_below=card.refer_below, unfused=prediction.unfused is not None)
    return None


def _warnings(prediction: Prediction, cards: Sequence[ModelCard], cam_scale: str) -> Iterator[str]:
    """Yield a sentence for each other reason why this prediction may be wrong."""
    if prediction.ood is not None and prediction.ood.is_ood:
        distance, limit = format_apart(prediction.ood.distance, prediction.ood.limit, digits=1)
        yield (
            f"out of distribution: unlike the slices that the model was trained on (distance {distance}, limit {limit}), "
            "so mask, class and probabilities are unreliable"
        )
    yield from (f"the masks are of no use: {card.mask_flaw}" for card in cards if card.mask_flaw)
    if prediction.agreement == "contradict":
        yield format_contradiction(label=str(prediction.label))
    if prediction.agreement == "heads_disagree" and prediction.unfused is not None:
        yield format_disagreement(label=prediction.unfused.label, mask_area_px=prediction.unfused.mask_area_px)
    if prediction.mask_uncertain and prediction.mask_confidence is not None:
        below = next(float(card.uncertain_mask_below or 0) for card in cards if card.task != "cls")
        yield format_uncertain_mask(confidence=prediction.mask_confidence, below=below)
    if prediction.cam is not None and prediction.cam_strength is None and cam_scale == "model":
        yield postprocess.NO_CAM_SCALE


def describe_agreement(prediction: Prediction) -> str | None:
    """Return whether mask and class agree, in words; None where there is nothing to compare, or out of distribution.

    There the warning calls both unreliable, which two that agree would seem to contradict; that they disagree is a warning too.
    """
    if prediction.agreement is None or (prediction.ood is not None and prediction.ood.is_ood):
        return None
    return AGREEMENT[prediction.agreement]


def describe_decision(*, n_lesions: int, tumour_score: float, threshold: float) -> tuple[str, ...]:
    """Return what is decided for a volume: whether a tumour is reported, with what score, and what a negative means.

    Args:
        n_lesions: lesions that are reported.
        tumour_score: largest score of a candidate lesion.
        threshold: at which a tumour is reported.
    """
    score = f"Tumour score {tumour_score:.2f}, reported from {threshold:.2f}. The score is not a probability."
    if not n_lesions:
        return "No tumour reported", score, "That no tumour is reported does not mean that there is none."
    return f"Tumour reported: {count_of(n_lesions, 'lesion')}", score


def cap_probabilities(class_prob: np.ndarray, *, cap: float = OOD_CAP) -> np.ndarray:
    """Return probabilities (K,) mixed with equal ones until none is above the cap; their order stays.

    >>> cap_probabilities(np.array([1.0, 0.0]), cap=0.6).round(6).tolist()
    [0.6, 0.4]
    """
    even, highest = 1 / len(class_prob), float(class_prob.max())
    if highest <= cap or cap <= even:
        return class_prob
    return even + (class_prob - even) * ((cap - even) / (highest - even))


def _capped(unfused: UnfusedHeads | None) -> UnfusedHeads | None:
    return None if unfused is None else replace(unfused, class_prob=cap_probabilities(unfused.class_prob))


def format_apart(value: float, limit: float, *, digits: int = 2) -> tuple[str, str]:
    """Return two different numbers with as many decimals as it takes to tell them apart, at least `digits`.

    >>> format_apart(0.8714, 0.8718)
    ('0.871', '0.872')
    """
    for more in range(digits, 17):
        found = f"{value:.{more}f}", f"{limit:.{more}f}"
        if found[0] != found[1]:
            break
    return found


def format_contradiction(*, label: str) -> str:
    """Return the warning for a mask and a class that disagree on whether there is a tumour."""
    if label == NO_TUMOUR:
        return "mask and class contradict each other: a tumour is outlined, the class is no tumour"
    return f"mask and class contradict each other: the class is {label}, the mask is empty"


def format_disagreement(*, label: str, mask_area_px: int) -> str:
    """Return the warning for a joint model whose heads, before they are fused, disagree on whether there is a tumour.

    Args:
        label: class of the class head alone.
        mask_area_px: pixels of the mask of the mask head alone.
    """
    alone = "no tumour" if label == NO_TUMOUR else label
    mask = f"outlines {mask_area_px:,} pixels" if mask_area_px else "is empty"
    return f"mask head and class head disagree, before they are fused: the class alone is {alone}, the mask alone {mask}"


def format_uncertain_mask(*, confidence: float, below: float) -> str:
    """Return the warning for a mask whose confidence is below the model's threshold."""
    value, limit = format_apart(confidence, below)
    return (
        f"the mask is uncertain, check its position and outline: its confidence is {value}, below the model's threshold "
        f"of {limit}"
    )


def format_low_estimate(*, right: float, below: float) -> str:
    """Return the reason for the referral of a case whose estimated probability of a right answer is below the threshold."""
    value, limit = format_apart(right, below)
    return (
        "by class probability, agreement of the heads, mask and distance from training slices, the estimated probability of "
        f"a right answer is {value}, below the model's threshold of {limit}"
    )


def format_referral(*, highest: float, refer_below: float, unfused: bool = False) -> str:
    """Return the reason for the referral of a case whose largest class probability is below the threshold.

    Args:
        highest: the largest probability.
        refer_below: the threshold.
        unfused: whether it is that of a joint model's class head alone, which differs from the predicted one.
    """
    whose = " of the class head alone" if unfused else ""
    value, limit = format_apart(highest, refer_below)
    return f"the highest probability{whose} is {value}, below the model's threshold of {limit}"
