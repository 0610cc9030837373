"""Operating point of a model, chosen on validation: threshold, smallest region, flip, temperature, referral, uncertainty.

Masks are scored in each slice's own size by the mean Dice per slice with empty masks included (see `metrics`). The network runs
once on the images and once on the mean with their mirror images; thresholds and regions are searched on those maps.

Of a joint model the fusion of its heads is fitted first: temperature and exponent of the mask's evidence, then the log-odds of
"no tumour" that balance sensitivity and specificity. Counterfactual slices of validation take part in the fusion, as there the
publisher says nothing about the class. Threshold, uncertainty and referral are then chosen on the fused answers at home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from bts.data.patient_ids import SamePatient, patient_of
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import BtsError, RequestError
from bts.evaluation.calibration import (
    Balance,
    Referral,
    Uncertainty,
    apply_temperature,
    choose_bias,
    choose_referral,
    choose_uncertainty,
    fit_fusion,
    fit_temperature,
    negative_log_likelihood,
)
from bts.evaluation.cases import truth_mask
from bts.evaluation.counterfactual import counterfactual_slices
from bts.glossary import NO_TUMOUR
from bts.inference.postprocess import conditional_mask_prob, fuse_evidence
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.referral import signals
from bts.inference.runtimes.base import Runtime
from bts.progress import counted, phase

THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
"""Candidate mask thresholds: 0.20 to 0.80."""
MIN_AREAS = (0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.004)
"""Candidate smallest regions, as shares of the image."""
DICE_GAIN = 0.001
"""Points within this of the best mean Dice are equal; then the threshold nearest 0.5 and the smallest region win. The mirror
image doubles the cost and is used only for a larger gain."""
LIKELIHOOD_GAIN = 0.005
"""The mirror image is used for a classifier only for a larger gain in negative log-likelihood, in nats."""
CAM_PERCENTILE = 95.0
WHOLE = 0.5
"""Share of the picture from which on a mask is taken for no tumour."""


@dataclass(frozen=True, eq=False)
class ValidationOutputs:
    """Outputs of a model on validation, with or without the mirror image.

    Attributes:
        dice: (N, T, A) float64, Dice of each slice at each threshold and smallest region, or None without masks; of a joint
            model whose heads are fused, given that a tumour is predicted.
        confidence: (N, T, A) float64, `postprocess.mask_confidence` there, NaN for empty masks, or None without masks.
        class_logits: (N, K) float64 before the temperature, or None without classes.
        truth: (N,) class numbers, or None without classes.
        cam_peaks: (N,) maxima of the raw maps, or None without maps.
        tumour_prob: (N,) the mask head's probability that there is a tumour, or None where heads are not fused.
        no_tumour: index of the class "no tumour", or None where there is none.
        empty_dice: (N,) Dice of an empty mask, or None without masks.
        share: (N, T, A) share of the picture that the mask covers there, or None without masks.
        ood_ratio: (N,) distance from the training slices over its limit, or None without a reference.
        patients: (N,) patient of each slice; the path where none is known.
    """

    dice: np.ndarray | None
    confidence: np.ndarray | None
    class_logits: np.ndarray | None
    truth: np.ndarray | None
    cam_peaks: np.ndarray | None
    tumour_prob: np.ndarray | None = None
    no_tumour: int | None = None
    empty_dice: np.ndarray | None = None
    share: np.ndarray | None = None
    ood_ratio: np.ndarray | None = None
    patients: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Class logits (N, K), tumour probability of the mask (N,) and class numbers (N,); None where heads are not fused."""
        logits, tumours, truth = self.class_logits, self.tumour_prob, self.truth
        if logits is None or tumours is None or truth is None or len(tumours) < len(truth):
            return None
        return logits, tumours, truth

    def __len__(self) -> int:
        return len(next((each for each in (self.dice, self.class_logits) if each is not None), ()))


@dataclass(frozen=True)
class OperatingChoice:
    """Operating point and its effect on validation; None where the model has no such output."""

    flip: bool
    n_slices: int
    threshold: float | None = None
    min_area: float | None = None
    dice: float | None = None
    dice_at_default: float | None = None
    temperature: float | None = None
    mask_evidence_exponent: float | None = None
    balance: Balance | None = None
    likelihood: float | None = None
    likelihood_at_default: float | None = None
    cam_scale: float | None = None
    referral: Referral | None = None
    uncertainty: Uncertainty | None = None
    mask_flaw: str = ""

    def text(self) -> str:
        """Return the choice in one line.

        >>> OperatingChoice(flip=True, n_slices=9, threshold=0.45, min_area=0.0, dice=0.8, dice_at_default=0.75).text()
        'mean with the mirror image, threshold 0.45, smallest region 0.00% of the image (Dice 0.750 -> 0.800)'
        """
        parts = ["mean with the mirror image" if self.flip else "no mirror image"]
        if self.threshold is not None and self.dice is not None and self.dice_at_default is not None:
            gain = f"Dice {self.dice_at_default:.3f} -> {self.dice:.3f}"
            parts += [f"threshold {self.threshold:g}", f"smallest region {self.min_area or 0:.2%} of the image ({gain})"]
        if self.temperature is not None:
            parts.append(f"temperature {self.temperature:.3g}")
        if self.mask_evidence_exponent is not None:
            parts.append(f"mask evidence to the power of {self.mask_evidence_exponent:.3g}")
        if self.balance is not None:
            parts.append(self.balance.text())
        if self.cam_scale is not None:
            parts.append(f"Grad-CAM scale {self.cam_scale:.3g}")
        if self.referral is not None:
            parts.append(self.referral.text())
        if found := self.uncertainty:
            effect = f"{found.caught:.0%} of {found.n_poor} poor masks and {found.false:.0%} of the others"
            parts.append(f"mask uncertain below {found.below:.2f} ({effect})")
        return ", ".join(parts)


def mask_grids(
    probability: np.ndarray, truth: np.ndarray, *, keep_largest: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Dice, confidence and share of the picture (T, A) of one slice's mask at every threshold and smallest region.

    The Dice is 1 where both masks are empty and 0 where one is; the confidence of an empty mask is NaN.

    Each threshold is labelled once; the results for every smallest region follow from areas and overlaps of the regions, which
    are 8-connected, as in `postprocess.decide_mask`.

    Args:
        probability: (H, W) in [0, 1].
        truth: (H, W) bool.
        keep_largest: whether no smallest region drops the largest region.
    """
    dice, confidence, share = np.zeros((3, len(THRESHOLDS), len(MIN_AREAS)))
    inside, whole = truth.sum(), probability.sum(dtype=np.float64)
    found = ndimage.find_objects((probability >= THRESHOLDS[0]).astype(np.int8))
    box = found[0] if found else (slice(0, 1), slice(0, 1))
    cut, cut_truth = probability[box], truth[box].ravel()
    smallest = np.array(MIN_AREAS) * probability.size
    for number, threshold in enumerate(THRESHOLDS):
        regions, count = ndimage.label(cut >= threshold, structure=np.ones((3, 3)))
        areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        overlaps = np.bincount(regions.ravel(), weights=cut_truth, minlength=count + 1)[1:]
        sums = np.bincount(regions.ravel(), weights=cut.ravel(), minlength=count + 1)[1:]
        least = np.minimum(smallest, areas.max()) if keep_largest and count else smallest
        kept = areas[None, :] >= least[:, None]  # (A, regions)
        drawn = kept @ areas
        share[number] = drawn / probability.size
        total = drawn + inside
        dice[number] = np.where(total > 0, 2 * (kept @ overlaps) / np.maximum(total, 1), 1.0)
        confidence[number] = np.where(drawn > 0, 2 * (kept @ sums) / np.maximum(drawn + whole, 1e-12), np.nan)
    return dice, confidence, share


def _grids_of(
    prediction: Prediction, record: Record, *, fused: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float] | None:
    """Return Dice, confidence and share (T, A), and the Dice of an empty mask."""
    truth = truth_mask(prediction.slice, record.label or prediction.slice.label)
    if prediction.mask_prob is None or truth is None:
        return None
    mask_prob = conditional_mask_prob(prediction.mask_prob, tumour=True) if fused else prediction.mask_prob
    return *mask_grids(mask_prob, truth, keep_largest=fused), float(not truth.any())


def _class_number(prediction: Prediction, record: Record) -> int:
    label = record.label or prediction.slice.label
    if label not in prediction.classes:
        raise RequestError(f"{record.path}: class '{label}' is none of the model's ({', '.join(prediction.classes)})")
    return prediction.classes.index(label)


def collect_validation(
    predictor: Predictor, slices: Iterable[tuple[Record, Slice]], *, same_patient: SamePatient = "suffixes"
) -> ValidationOutputs:
    """Predict slices and return what the choice needs.

    The predictor does not fuse the heads of a joint model (`fuse=False`): the fusion is fitted on these outputs.
    """
    grids, logits, truth, peaks, tumours, ratios, patients = [], [], [], [], [], [], []
    fused = _fuses(predictor.runtimes[0])
    records: list[Record] = []

    def read() -> Iterator[Slice]:
        for record, item in slices:
            records.append(record)
            yield item

    for number, prediction in enumerate(predictor.predict_many(read()), start=1):
        record = records[number - 1]
        patient = record.patient or prediction.slice.patient
        patients.append(patient_of(patient, same_patient) if patient else record.path)
        found = _grids_of(prediction, record, fused=fused)
        if found is not None:
            grids.append(found)
        if prediction.class_logits is not None:
            logits.append(np.asarray(prediction.class_logits, dtype=np.float64))
            truth.append(_class_number(prediction, record))
        if prediction.cam_peak is not None:
            peaks.append(prediction.cam_peak)
        if fused and prediction.mask_prob is not None:
            tumours.append(float(prediction.mask_prob.max()))
        if prediction.ood is not None:
            ratios.append(prediction.ood.distance / prediction.ood.limit)
    dice, confidence, share, empty = (np.stack(each) for each in zip(*grids, strict=True)) if grids else (None,) * 4
    return ValidationOutputs(
        dice=dice,
        confidence=confidence,
        class_logits=np.stack(logits) if logits else None,
        truth=np.array(truth) if logits else None,
        cam_peaks=np.array(peaks) if peaks else None,
        tumour_prob=np.array(tumours) if tumours else None,
        no_tumour=predictor.classes.index(NO_TUMOUR) if NO_TUMOUR in predictor.classes else None,
        empty_dice=empty,
        share=share,
        ood_ratio=np.array(ratios) if ratios else None,
        patients=tuple(patients),
    )


def _fuses(runtime: Runtime) -> bool:
    return runtime.card.task == "joint" and NO_TUMOUR in runtime.card.classes


def _best_mask(dice: np.ndarray) -> tuple[int, int, float]:
    """Return the indices of the best threshold and smallest region, and their mean Dice, from Dice (N, T, A)."""
    means = dice.mean(axis=0)
    points = [(int(t), int(a)) for t, a in np.argwhere(means >= means.max() - DICE_GAIN)]
    t, a = min(points, key=lambda point: (round(abs(THRESHOLDS[point[0]] - 0.5), 6), MIN_AREAS[point[1]]))
    return t, a, float(means[t, a])


def find_mask_flaw(share: np.ndarray, *, tumour: np.ndarray) -> str:
    """Return in words what makes all masks useless; empty where they may be of use.

    Args:
        share: (N,) share of the picture that each mask covers.
        tumour: (N,) whether there is a tumour.

    >>> find_mask_flaw(np.array([0.0, 0.0]), tumour=np.array([True, False]))
    'every mask was empty on validation, where 1 of 2 slices have a tumour'
    """
    if tumour.any() and not share.any():
        return f"every mask was empty on validation, where {int(tumour.sum())} of {len(share)} slices have a tumour"
    if share.any() and share[share > 0].min() >= WHOLE:
        return f"every mask on validation covered at least {WHOLE:.0%} of the picture"
    return ""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Class probabilities (N, K) of the answers as fitted, and their negative log-likelihood."""

    temperature: float
    exponent: float | None
    balance: Balance | None
    class_prob: np.ndarray
    likelihood: float


def _fit(outputs: ValidationOutputs, changed: ValidationOutputs | None = None) -> _Fitted | None:
    """Fit the temperature, and where heads are fused the exponent and the bias; None without classes.

    Args:
        outputs: on validation.
        changed: on counterfactual slices of validation, which take part where heads are fused.
    """
    logits, truth = outputs.class_logits, outputs.truth
    if logits is None or truth is None:
        return None
    heads, no_tumour = outputs.heads, outputs.no_tumour
    if heads is None or no_tumour is None:
        probabilities = softmax(logits, axis=1)
        temperature = fit_temperature(probabilities, truth)
        probabilities = apply_temperature(probabilities, temperature)
        return _Fitted(temperature, None, None, probabilities, negative_log_likelihood(probabilities, truth))
    sets = [heads, *([changed.heads] if changed is not None and changed.heads is not None else [])]
    temperature, exponent = fit_fusion(*(np.concatenate(each) for each in zip(*sets, strict=True)), no_tumour=no_tumour)

    def fuse(class_logits: np.ndarray, tumour_prob: np.ndarray, bias: float = 0.0) -> np.ndarray:
        how = {"temperature": temperature, "exponent": exponent, "bias": bias}
        rows = zip(class_logits, tumour_prob, strict=True)
        return np.stack([fuse_evidence(row, tumour_prob=float(m), no_tumour=no_tumour, **how) for row, m in rows])

    balance = choose_bias([(_margin(fuse(*each[:2]), no_tumour), each[2] != no_tumour) for each in sets])
    fused = fuse(*heads[:2], balance.bias)
    return _Fitted(temperature, exponent, balance, fused, negative_log_likelihood(fused, truth))


def _margin(class_prob: np.ndarray, no_tumour: int) -> np.ndarray:
    """Return the log-odds (N,) of the most probable tumour class to "no tumour" of probabilities (N, K)."""
    logs = np.log(np.maximum(class_prob, np.finfo(np.float64).tiny))
    return np.asarray(np.delete(logs, no_tumour, axis=1).max(axis=1) - logs[:, no_tumour])


def _answered(outputs: ValidationOutputs, fitted: _Fitted | None) -> ValidationOutputs:
    """Return the outputs with the masks of the fused answers: empty where "no tumour" is predicted."""
    if fitted is None or fitted.exponent is None or outputs.dice is None or outputs.empty_dice is None:
        return outputs
    if len(outputs.dice) < len(fitted.class_prob):
        return outputs  # some slices have no true mask: rows of masks and classes don't correspond
    tumour = (fitted.class_prob.argmax(axis=1) != outputs.no_tumour)[:, None, None]
    confidence = None if outputs.confidence is None else np.where(tumour, outputs.confidence, np.nan)
    share = None if outputs.share is None else np.where(tumour, outputs.share, 0.0)
    dice = np.where(tumour, outputs.dice, outputs.empty_dice[:, None, None])
    return replace(outputs, dice=dice, confidence=confidence, share=share)


def _signals(outputs: ValidationOutputs, fitted: _Fitted, confidence: np.ndarray | None) -> np.ndarray:
    """Return the signals of doubt (N, 4) of the answers; `confidence` (N,) of their masks is NaN for an empty one."""
    rows = []
    for row, class_prob in enumerate(fitted.class_prob):
        disagreement = 0.0
        if outputs.tumour_prob is not None and outputs.no_tumour is not None and outputs.class_logits is not None:
            alone = softmax(outputs.class_logits[row] / fitted.temperature)
            disagreement = abs(1 - alone[outputs.no_tumour] - outputs.tumour_prob[row])
        known = confidence is not None and np.isfinite(confidence[row])
        rows.append(
            signals(
                highest=float(class_prob.max()),
                disagreement=disagreement,
                mask_confidence=float(confidence[row]) if known and confidence is not None else None,
                ood_ratio=None if outputs.ood_ratio is None else float(outputs.ood_ratio[row]),
            )
        )
    return np.stack(rows)


def _choose_flip(outputs: dict[bool, ValidationOutputs]) -> bool:
    """Return whether the mirror image is worth its cost for masks or classes and harms neither."""
    if len(outputs) == 1:
        return next(iter(outputs))
    gains, upright, both = [], outputs[False], outputs[True]
    if upright.dice is not None and both.dice is not None:
        gains.append((both.dice.mean(axis=0).max() - upright.dice.mean(axis=0).max()) / DICE_GAIN)
    first, second = _fit(upright), _fit(both)
    if first is not None and second is not None:
        gains.append((first.likelihood - second.likelihood) / LIKELIHOOD_GAIN)
    return bool(gains and max(gains) > 1 and min(gains) > -1)


def choose(
    outputs: dict[bool, ValidationOutputs], changed: Callable[[bool], ValidationOutputs | None] = lambda flip: None
) -> OperatingChoice:
    """Return the operating point from the outputs without (False) and with the mirror image (True).

    Args:
        outputs: on validation.
        changed: returns the outputs on counterfactual slices of validation, with or without the mirror image.
    """
    flip = _choose_flip({flip: _answered(each, _fit(each)) for flip, each in outputs.items()})
    fitted = _fit(outputs[flip], changed(flip))
    chosen, upright = _answered(outputs[flip], fitted), outputs.get(False, outputs[flip])
    upright = _answered(upright, _fit(upright))
    choice, confidence = OperatingChoice(flip=flip, n_slices=len(chosen)), None
    if chosen.dice is not None:
        t, a, dice = _best_mask(chosen.dice)
        default = float(upright.dice[:, THRESHOLDS.index(0.5), 0].mean()) if upright.dice is not None else None
        choice = replace(choice, threshold=THRESHOLDS[t], min_area=MIN_AREAS[a], dice=dice, dice_at_default=default)
        if chosen.share is not None and chosen.empty_dice is not None:
            choice = replace(choice, mask_flaw=find_mask_flaw(chosen.share[:, t, a], tumour=chosen.empty_dice == 0))
        if chosen.confidence is not None:
            choice = replace(choice, uncertainty=choose_uncertainty(chosen.confidence[:, t, a], chosen.dice[:, t, a]))
            confidence = chosen.confidence[:, t, a] if len(chosen.dice) == len(chosen.patients) else None
    if fitted is not None and chosen.truth is not None and upright.class_logits is not None:
        right = fitted.class_prob.argmax(axis=1) == chosen.truth
        patients = chosen.patients or tuple(map(str, range(len(right))))
        choice = replace(
            choice,
            temperature=fitted.temperature,
            mask_evidence_exponent=fitted.exponent,
            balance=fitted.balance,
            likelihood=fitted.likelihood,
            likelihood_at_default=negative_log_likelihood(softmax(upright.class_logits, axis=1), chosen.truth),
            referral=choose_referral(_signals(chosen, fitted, confidence), right, patients),
        )
    if chosen.cam_peaks is not None:
        scale = float(np.percentile(chosen.cam_peaks, CAM_PERCENTILE))
        choice = replace(choice, cam_scale=scale if scale > 0 else None)
    return choice


def choose_operating_point(
    runtime: Runtime, source: Source, records: Sequence[Record], *, same_patient: SamePatient = "suffixes"
) -> OperatingChoice:
    """Choose the operating point of one loaded model on validation slices.

    Args:
        runtime: the model.
        source: reads the slices.
        records: the validation part.
        same_patient: which patient IDs count as one patient, as in the split.
    """
    if not records:
        raise RequestError("validation: there is no slice in it: threshold and temperature can't be chosen")

    def collect(flip: bool, slices: Iterable[tuple[Record, Slice]]) -> ValidationOutputs:
        return collect_validation(Predictor([runtime], flip=flip, fuse=False), slices, same_patient=same_patient)

    def changed(flip: bool) -> ValidationOutputs | None:
        slices = counterfactual_slices(source, records) if _fuses(runtime) else []
        return collect(flip, counted(slices, "choosing on changed slices of validation")) if slices else None

    try:
        names = {False: "choosing on validation", True: "choosing on validation, mirrored"}
        read = {flip: ((record, source.read(record)) for record in counted(records, name)) for flip, name in names.items()}
        with phase("choosing the operating point"):
            return choose({flip: collect(flip, slices) for flip, slices in read.items()}, changed)
    except BtsError as error:
        raise error.at("validation") from error
