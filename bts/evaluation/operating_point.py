"""Which threshold, smallest region, flip, temperature and referral serve validation best?

Masks are judged in each slice's own size, as a user gets them, by the mean Dice per slice with empty masks counted (see
`metrics`). The network runs once upright and once with its mirror image; thresholds and regions are tried on those maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from bts.data.sources.base import Record, Source
from bts.errors import BtsError, RequestError
from bts.evaluation.calibration import (
    Doubt,
    Referral,
    choose_doubt,
    choose_referral,
    fit_temperature,
    negative_log_likelihood,
    soften,
)
from bts.evaluation.cases import truth_mask
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import Runtime

THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
"""Probabilities from which a pixel may count as tumour: 0.20 to 0.80."""
MIN_AREAS = (0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.004)
"""Shares of the picture under which a region may be dropped."""
DICE_GAIN = 0.001
"""Points within this of the best mean Dice are equal: then the threshold nearest 0.5 and the smallest region win. A mirror
image doubles the cost: it is asked only for more than this gain."""
LIKELIHOOD_GAIN = 0.005
"""A classifier asks the mirror image only for more than this gain in negative log-likelihood, in nats."""
CAM_PERCENTILE = 95.0


@dataclass(frozen=True, eq=False)
class Seen:
    """What validation shows of a model, upright or averaged with its mirror image.

    Attributes:
        dice: (N, T, A) float64, Dice of each slice at each threshold and smallest region, or None without masks.
        confidence: (N, T, A) float64, `postprocess.mask_confidence` there, NaN where nothing is drawn, or None without masks.
        logits: (N, K) float64 before the temperature, or None without classes.
        truth: (N,) class numbers, or None without classes.
        cam_peaks: (N,) largest values of the raw maps, or None without maps.
    """

    dice: np.ndarray | None
    confidence: np.ndarray | None
    logits: np.ndarray | None
    truth: np.ndarray | None
    cam_peaks: np.ndarray | None


@dataclass(frozen=True)
class OperatingChoice:
    """What was chosen on validation, and how much it gives there; None where the model has no such answer."""

    flip: bool
    n_slices: int
    threshold: float | None = None
    min_area: float | None = None
    dice: float | None = None
    dice_at_default: float | None = None
    temperature: float | None = None
    likelihood: float | None = None
    likelihood_at_default: float | None = None
    cam_scale: float | None = None
    referral: Referral | None = None
    doubt: Doubt | None = None

    def text(self) -> str:
        """Return the choice in words.

        >>> OperatingChoice(flip=True, n_slices=9, threshold=0.45, min_area=0.0, dice=0.8, dice_at_default=0.75).text()
        'averaged with the mirror image, mask from 0.45, regions from 0.00% of the picture (Dice 0.750 -> 0.800)'
        """
        told = ["averaged with the mirror image" if self.flip else "no mirror image"]
        if self.threshold is not None and self.dice is not None and self.dice_at_default is not None:
            regions = f"regions from {self.min_area or 0:.2%} of the picture"
            told += [f"mask from {self.threshold:g}", f"{regions} (Dice {self.dice_at_default:.3f} -> {self.dice:.3f})"]
        if self.temperature is not None:
            told.append(f"temperature {self.temperature:.3g}")
        if self.cam_scale is not None:
            told.append(f"Grad-CAM scale {self.cam_scale:.3g}")
        if self.referral is not None:
            below = self.referral.refer_below
            told.append(f"referred to an expert below {below:.2f}" if below else "nothing referred to an expert")
        if self.doubt is not None:
            caught = f"{self.doubt.caught:.0%} of {self.doubt.n_poor} poor masks and {self.doubt.false:.0%} of the others"
            told.append(f"mask doubtful below {self.doubt.below:.2f} ({caught})")
        return ", ".join(told)


def mask_grids(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Dice and confidence (T, A) of one slice at every threshold and smallest region.

    The Dice is 1 where both masks are empty, 0 where one is; the confidence is NaN where nothing is drawn.

    `probability` (H, W) in [0, 1], `truth` (H, W) bool. Regions are those of `postprocess.decide_mask`: pixels that touch at a
    corner are one. Each threshold is labelled once; every smallest region follows from areas and overlaps of the regions.
    """
    dice, confidence = np.zeros((2, len(THRESHOLDS), len(MIN_AREAS)))
    inside, whole = truth.sum(), probability.sum(dtype=np.float64)
    rows, columns = _box(probability >= THRESHOLDS[0])
    cut, cut_truth = probability[rows, columns], truth[rows, columns].ravel()
    smallest = np.array(MIN_AREAS) * probability.size
    for number, threshold in enumerate(THRESHOLDS):
        regions, count = ndimage.label(cut >= threshold, structure=np.ones((3, 3)))
        areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        overlaps = np.bincount(regions.ravel(), weights=cut_truth, minlength=count + 1)[1:]
        sums = np.bincount(regions.ravel(), weights=cut.ravel(), minlength=count + 1)[1:]
        kept = areas[None, :] >= smallest[:, None]  # (A, regions)
        drawn = kept @ areas
        total = drawn + inside
        dice[number] = np.where(total > 0, 2 * (kept @ overlaps) / np.maximum(total, 1), 1.0)
        confidence[number] = np.where(drawn > 0, 2 * (kept @ sums) / np.maximum(drawn + whole, 1e-12), np.nan)
    return dice, confidence


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    if not mask.any():
        return slice(0, 1), slice(0, 1)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _grids_of(prediction: Prediction, record: Record) -> tuple[np.ndarray, np.ndarray] | None:
    truth = truth_mask(prediction.slice, record.label or prediction.slice.label)
    if prediction.mask_prob is None or truth is None:
        return None
    return mask_grids(prediction.mask_prob, truth)


def _class_number(prediction: Prediction, record: Record) -> int:
    label = record.label or prediction.slice.label
    if label not in prediction.classes:
        raise RequestError(f"{record.path}: class '{label}' is none of the model's ({', '.join(prediction.classes)})")
    return prediction.classes.index(label)


def look(
    predictor: Predictor, source: Source, records: Sequence[Record], progress: Callable[[int], None] | None = None
) -> Seen:
    """Predict the validation slices and return what the choice needs; raises `RequestError` on an empty part."""
    if not records:
        raise RequestError("there is no validation slice: threshold and temperature can't be chosen")
    grids, logits, truth, peaks = [], [], [], []
    slices = (source.read(record) for record in records)
    for number, (record, prediction) in enumerate(zip(records, predictor.predict_many(slices), strict=True), start=1):
        found = _grids_of(prediction, record)
        if found is not None:
            grids.append(found)
        if prediction.class_logits is not None:
            logits.append(np.asarray(prediction.class_logits, dtype=np.float64))
            truth.append(_class_number(prediction, record))
        if prediction.cam_peak is not None:
            peaks.append(prediction.cam_peak)
        if progress is not None:
            progress(number)
    return Seen(
        dice=np.stack([dice for dice, _ in grids]) if grids else None,
        confidence=np.stack([confidence for _, confidence in grids]) if grids else None,
        logits=np.stack(logits) if logits else None,
        truth=np.array(truth) if logits else None,
        cam_peaks=np.array(peaks) if peaks else None,
    )


def _best_mask(dice: np.ndarray) -> tuple[int, int, float]:
    """Return the numbers of the threshold and of the smallest region, and their mean Dice, from Dice (N, T, A)."""
    means = dice.mean(axis=0)
    points = [(int(t), int(a)) for t, a in np.argwhere(means >= means.max() - DICE_GAIN)]
    t, a = min(points, key=lambda point: (round(abs(THRESHOLDS[point[0]] - 0.5), 6), MIN_AREAS[point[1]]))
    return t, a, float(means[t, a])


def _likelihood(seen: Seen) -> tuple[float, float]:
    """Return the fitted temperature and the negative log-likelihood at it."""
    assert seen.logits is not None
    assert seen.truth is not None
    probabilities = softmax(seen.logits, axis=1)
    temperature = fit_temperature(probabilities, seen.truth)
    return temperature, negative_log_likelihood(soften(probabilities, temperature), seen.truth)


def _choose_flip(seen: dict[bool, Seen]) -> bool:
    """Return whether the mirror image is worth its cost to masks or classes, and harms neither."""
    if len(seen) == 1:
        return next(iter(seen))
    gains = []
    upright, both = seen[False].dice, seen[True].dice
    if upright is not None and both is not None:
        gains.append((both.mean(axis=0).max() - upright.mean(axis=0).max()) / DICE_GAIN)
    if seen[False].logits is not None:
        gains.append((_likelihood(seen[False])[1] - _likelihood(seen[True])[1]) / LIKELIHOOD_GAIN)
    return bool(gains and max(gains) > 1 and min(gains) > -1)


def choose(seen: dict[bool, Seen]) -> OperatingChoice:
    """Return the operating point from what validation showed upright (False) and with the mirror image (True)."""
    flip = _choose_flip(seen)
    chosen, upright = seen[flip], seen.get(False, seen[flip])
    size = len(chosen.dice if chosen.dice is not None else chosen.logits if chosen.logits is not None else ())
    choice = OperatingChoice(flip=flip, n_slices=size)
    if chosen.dice is not None:
        t, a, dice = _best_mask(chosen.dice)
        default = float(upright.dice[:, THRESHOLDS.index(0.5), 0].mean()) if upright.dice is not None else None
        choice = replace(choice, threshold=THRESHOLDS[t], min_area=MIN_AREAS[a], dice=dice, dice_at_default=default)
        if chosen.confidence is not None:
            choice = replace(choice, doubt=choose_doubt(chosen.confidence[:, t, a], chosen.dice[:, t, a]))
    if chosen.logits is not None and chosen.truth is not None:
        choice = _with_classes(choice, chosen, upright)
    if chosen.cam_peaks is not None:
        scale = float(np.percentile(chosen.cam_peaks, CAM_PERCENTILE))
        choice = replace(choice, cam_scale=scale if scale > 0 else None)
    return choice


def _with_classes(choice: OperatingChoice, chosen: Seen, upright: Seen) -> OperatingChoice:
    assert chosen.logits is not None
    assert upright.logits is not None
    assert upright.truth is not None
    temperature, likelihood = _likelihood(chosen)
    probabilities = softmax(chosen.logits / temperature, axis=1)
    return replace(
        choice,
        temperature=temperature,
        likelihood=likelihood,
        likelihood_at_default=negative_log_likelihood(softmax(upright.logits, axis=1), upright.truth),
        referral=choose_referral(probabilities.max(axis=1), probabilities.argmax(axis=1) == chosen.truth),
    )


def choose_operating_point(
    runtime: Runtime, source: Source, records: Sequence[Record], *, progress: Callable[[int], None] | None = None
) -> OperatingChoice:
    """Return the operating point of one loaded model, chosen on validation slices.

    Args:
        runtime: the model.
        source: reads the slices.
        records: the validation part.
        progress: called with the number of answers so far, of twice as many as there are records.
    """
    seen = {}
    for flip in (False, True):
        before = len(records) * flip

        def tell(number: int, before: int = before) -> None:
            if progress is not None:
                progress(before + number)

        try:
            seen[flip] = look(Predictor([runtime], flip=flip), source, records, tell)
        except BtsError as error:
            raise error.at("validation") from error
    return choose(seen)
