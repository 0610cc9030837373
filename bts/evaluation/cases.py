"""Table of cases: the predictions of a model for every slice of a labelled set, and their scores, one row per slice.

Predictions are made by the `Predictor` of inference. No slice is dropped: a missing prediction or label is an error,
and so is a missing mask where other tumours of the publisher have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bts.csv_files import make_frame
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import BtsError, InputError, RequestError
from bts.evaluation.metrics import cam_energy, cam_scores, mask_scores
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction
from bts.inference.referral import SIGNALS, signals_of
from bts.progress import counted

BOTH_RIGHT_DICE = 0.5
"""Mask and class are both correct when the class is correct and the Dice is at least this."""


class Answers(Protocol):
    """Interface of a predictor, as needed here; `bts.inference.Predictor` has it."""

    def predict_many(self, slices: Iterator[Slice]) -> Iterator[Prediction]:
        """Yield one prediction per slice, in order."""
        ...


def truth_mask(item: Slice, label: str | None) -> np.ndarray | None:
    """Return the true mask (H, W) bool: an empty one for a healthy slice, None where a tumour has no mask."""
    if item.mask is None and label == NO_TUMOUR:
        return np.zeros(item.image.shape, dtype=bool)
    return item.mask


def _identity(record: Record, prediction: Prediction, same_patient: SamePatient) -> dict[str, Any]:
    item = prediction.slice
    patient_id = record.patient or item.patient
    return {
        "path": record.path,
        "patient_id": patient_id,
        "patient": patient_of(patient_id, same_patient) if patient_id else None,
        "label": record.label or item.label,
        "plane": record.plane,
        "source": record.source or item.source,
        "synthetic": item.synthetic,
        "picture_area_px": int(item.image.size),
    }


def _class_row(prediction: Prediction, label: str | None) -> dict[str, Any]:
    if prediction.class_prob is None:
        return {}
    if label is None:
        raise InputError("the slice has no label: a class can't be scored without one")
    if label not in prediction.classes:
        raise RequestError(
            f"class '{label}' is none of the model's ({', '.join(prediction.classes)}): the model was trained on others"
        )
    row: dict[str, Any] = {
        "predicted": prediction.label,
        "right": prediction.label == label,
        "confidence": float(prediction.class_prob.max()),
        "refer": prediction.refer,
    }
    row |= {f"prob_{name}": float(p) for name, p in zip(prediction.classes, prediction.class_prob, strict=True)}
    no_tumour = prediction.classes.index(NO_TUMOUR) if NO_TUMOUR in prediction.classes else None
    return row | dict(zip(SIGNALS, map(float, signals_of(prediction, no_tumour=no_tumour)), strict=True))


def _mask_row(prediction: Prediction, truth: np.ndarray | None) -> dict[str, Any]:
    if prediction.mask is None or truth is None:
        return {}
    areas = {"truth_area_px": int(truth.sum()), "predicted_area_px": int(prediction.mask.sum())}
    confidence = {"mask_confidence": prediction.mask_confidence, "mask_uncertain": prediction.mask_uncertain}
    scores = mask_scores(prediction.mask, truth, spacing_mm=prediction.slice.spacing_mm)
    if not truth.any():  # an overlap with nothing is no score: masks on healthy slices are counted
        scores = dict.fromkeys(scores)
    return {**scores, **areas, **confidence}


def _cam_row(prediction: Prediction, truth: np.ndarray | None) -> dict[str, Any]:
    if prediction.cam is None:
        return {}
    row: dict[str, Any] = {"cam_peak": prediction.cam_peak}
    if truth is not None:
        row |= cam_scores(prediction.cam, truth)
    if prediction.mask is not None:
        row["cam_energy_predicted"] = cam_energy(prediction.cam, prediction.mask)
    return row


def case_row(record: Record, prediction: Prediction, same_patient: SamePatient = "suffixes") -> dict[str, Any]:
    """Return the row of one slice; raise `InputError` without a label, `RequestError` for a class unknown to the model."""
    row = _identity(record, prediction, same_patient)
    truth = truth_mask(prediction.slice, row["label"])
    row |= _class_row(prediction, row["label"]) | _mask_row(prediction, truth) | _cam_row(prediction, truth)
    if prediction.consistent is not None:
        row["consistent"] = prediction.consistent
        if prediction.unfused is not None:
            row["heads_consistent"] = prediction.unfused.consistent
        if "dice" in row:
            tumour = row["dice"] is not None
            row["both_right"] = bool(row["right"] and row["dice"] >= BOTH_RIGHT_DICE) if tumour else None
            row["both_right_healthy"] = None if tumour else bool(row["right"] and row["predicted_area_px"] == 0)
    return row


def _read(source: Source, records: Sequence[Record], name: str) -> Iterator[Slice]:
    for record in counted(records, name):
        yield source.read(record)


def evaluate_cases(
    predictor: Answers,
    source: Source,
    records: Sequence[Record],
    *,
    name: str = "predicting",
    same_patient: SamePatient = "suffixes",
    keep: Callable[[Record, Prediction], None] | None = None,
) -> pd.DataFrame:
    """Predict every record of a labelled source and return one row per slice, in the order of `records`.

    Args:
        predictor: yields one prediction per slice, in order.
        source: reads the slices.
        records: slices to score.
        name: name of this work in the progress.
        same_patient: which patient IDs count as one patient; that of the split where there is one.
        keep: called with every record and prediction, for what the table does not hold (features, images).

    Raises:
        RequestError: no records, a class unknown to the model, or a segmenter on a set without any mask.
        InputError: an unreadable slice, or one without a label, a prediction, or a mask while others have one.
    """
    if not records:
        raise RequestError("there is no slice to evaluate: the part is empty")
    predictions = iter(predictor.predict_many(_read(source, records, name)))
    rows = []
    for record in records:
        prediction = next(predictions, None)
        if prediction is None:
            raise InputError(f"{record.path}: the model gave no prediction: every slice of the part must have one")
        try:
            rows.append(case_row(record, prediction, same_patient))
        except BtsError as error:
            raise error.at(record.path) from error
        if keep is not None:
            keep(record, prediction)
        has_mask = prediction.mask is not None
    if next(predictions, None) is not None:
        raise InputError(f"the model gave more predictions than the {len(records)} slices of the part")
    cases = make_frame(rows)
    if has_mask:
        _check_masks(cases)
    return cases


def _check_masks(cases: pd.DataFrame) -> None:
    """Refuse a tumour without a mask where others of its publisher have one, and a segmenter alone where none has.

    Tumours of a publisher without masks are scored by their class alone.
    """
    tumours = cases[cases["label"] != NO_TUMOUR]
    missing = tumours["truth_area_px"].isna() if "dice" in cases else pd.Series(True, index=tumours.index)
    if missing.all() and len(tumours) and "predicted" not in cases:
        raise RequestError("no slice of this set has a mask: a segmenter can't be scored on it, only a classifier can")
    forgotten = missing & ~missing.groupby(tumours["source"]).transform("all")
    if forgotten.any():
        path = tumours.loc[forgotten, "path"].iloc[0]
        raise InputError(f"{path}: the slice has no mask, but others of the set have one ({int(forgotten.sum())} are missing)")


def mean_scores(cases: pd.DataFrame) -> str:
    """Return the mean Dice per slice and the accuracy as text, as far as the table holds them.

    >>> mean_scores(pd.DataFrame({"dice": [0.5, 1.0], "right": [True, False]}))
    'Dice 0.7500, accuracy 0.5000'
    """
    found = [f"Dice {cases['dice'].mean():.4f}"] if "dice" in cases and cases["dice"].notna().any() else []
    found += [f"accuracy {cases['right'].mean():.4f}"] if "right" in cases else []
    return ", ".join(found)
