"""Counterfactual evaluation: whether predictions depend on the tumour or on something correlated with it.

Tumours are removed from slices, and pasted into healthy slices of other publishers (`bts.data.counterfactual`). A model that
recognises the publisher still calls the first a tumour and does not find the second. In the controls healthy tissue replaces
healthy tissue with the same seams, and the answer must stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bts.csv_files import make_frame
from bts.data.counterfactual import SMALLEST_HEAD, Head, find_head, head_appearance, paste_tumour, remove_tumour, replace_tissue
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.evaluation.cases import Answers
from bts.evaluation.intervals import DRAWS, Sample, Scores, make_sample
from bts.evaluation.metrics import overlap_scores
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction
from bts.progress import counted

MOST = 120
"""Largest number of slices with a tumour, and of healthy slices, that are changed."""
SIDE = 256
"""Side of the changed slices in pixels."""
ALIKE = 10
"""A donor is drawn from this many whose heads look most like that of the slice."""
EXAMPLES = 6
"""Largest number of examples kept of each kind."""
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "removed": ("tumour replaced by tissue", ("called_tumour", "with_mask")),
    "pasted": ("tumour pasted into a healthy slice", ("called_tumour", "right", "dice")),
    "control_tumour": ("control: tissue beside the tumour replaced", ("called_tumour", "right", "dice")),
    "control_healthy": ("control: tissue of a healthy slice replaced", ("called_tumour", "with_mask")),
}
"""Kind of changed slice -> its name, and the columns that are scored."""


@dataclass(frozen=True, eq=False)
class Example:
    """One changed slice with the slice before (SIDE, SIDE) uint8, the prediction and the true mask after the change."""

    kind: str
    before: np.ndarray
    prediction: Prediction
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Predictions for changed slices.

    Attributes:
        cases: one row per changed slice: kind, path, donor, patient_id, patient, source, label (of the change), predicted,
            called_tumour, right, with_mask, dice; None where the models do not answer it.
        left_out: kind -> reason -> number of slices that could not be changed.
        examples: some of the slices, in the order of the kinds.
    """

    cases: pd.DataFrame
    left_out: dict[str, dict[str, int]]
    examples: list[Example] = field(default_factory=list)


class _Item(NamedTuple):
    record: Record
    publisher: str
    image: np.ndarray
    mask: np.ndarray
    head: Head


class _Change(NamedTuple):
    kind: str
    item: _Item
    donor: _Item
    label: str
    image: np.ndarray
    truth: np.ndarray


def evaluate_counterfactuals(
    predictor: Answers,
    source: Source,
    records: Sequence[Record],
    *,
    seed: int = 0,
    same_patient: SamePatient = "suffixes",
) -> Counterfactuals | None:
    """Predict changed slices of a labelled set; None where no slice with a tumour has a mask.

    Donors of a pasted tumour are of another publisher than the healthy slice where there is one, and of another patient.

    Args:
        predictor: yields one prediction per slice, in order.
        source: reads the slices.
        records: the slices of the evaluation; at most `MOST` with a tumour and `MOST` healthy ones are changed.
        seed: draws the slices, the donors and the changes.
        same_patient: which patient IDs count as one patient; that of the split where there is one.
    """
    left_out: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    changes = _all_changes(source, records, left_out, seed=seed)
    if not changes:
        return None
    rows, examples = [], []
    shown: Counter[str] = Counter()
    slices = (_slice(change) for change in counted(changes, "predicting changed slices"))
    for change, prediction in zip(changes, predictor.predict_many(slices), strict=True):
        rows.append(_row(change, prediction, same_patient))
        shown[change.kind] += 1
        if shown[change.kind] <= EXAMPLES:
            examples.append(Example(change.kind, change.item.image, prediction, change.truth.astype(bool)))
    examples.sort(key=lambda one: list(KINDS).index(one.kind))
    return Counterfactuals(make_frame(rows), {kind: dict(reasons) for kind, reasons in left_out.items() if reasons}, examples)


def counterfactual_slices(source: Source, records: Sequence[Record], *, seed: int = 0) -> list[tuple[Record, Slice]]:
    """Return the changed slices of `evaluate_counterfactuals`, each with a record of its class after the change."""
    changes = _all_changes(source, records, {kind: Counter() for kind in KINDS}, seed=seed)
    return [(replace(change.item.record, label=change.label), _slice(change)) for change in changes]


def _all_changes(
    source: Source, records: Sequence[Record], left_out: Mapping[str, Counter[str]], *, seed: int
) -> list[_Change]:
    """Return the changed slices; none where no slice with a tumour has a mask."""
    rng = np.random.default_rng(seed)
    tumours = [item for item in _items(source, records, rng, healthy=False) if item.mask.any()]
    healthy = list(_items(source, records, rng, healthy=True)) if tumours else []
    return list(_changes(tumours, healthy, rng, left_out)) if tumours else []


def _items(source: Source, records: Sequence[Record], rng: np.random.Generator, *, healthy: bool) -> Iterator[_Item]:
    """Yield slices drawn at random, windowed and scaled to a square."""
    some = [record for record in records if record.label and (record.label == NO_TUMOUR) == healthy]
    prepare = Preprocessing(size=SIDE, crop_brain=False)
    for i in counted(rng.permutation(len(some))[:MOST], "reading slices to change"):
        item = source.read(some[i])
        if healthy or item.mask is not None:
            image = prepare.image(item.image)
            mask = (
                np.zeros(image.shape, dtype=np.uint8)
                if item.mask is None
                else prepare.mask(item.mask, box=prepare.box(item.image)).astype(np.uint8)
            )
            yield _Item(some[i], some[i].source or source.name, image, mask, find_head(image, without=mask))


def _changes(
    tumours: list[_Item], healthy: list[_Item], rng: np.random.Generator, left_out: Mapping[str, Counter[str]]
) -> Iterator[_Change]:
    looks = np.stack([head_appearance(item.image) for item in tumours])
    for item in counted(tumours, "replacing tumours"):
        removed = remove_tumour(item.image, item.mask, rng=rng, head=item.head)
        if removed is None:
            fills = item.mask.sum() > item.head.region.sum() / 2
            left_out["removed"]["the tumour fills the head" if fills else "no tissue of the slice fits"] += 1
        else:
            yield _Change("removed", item, item, NO_TUMOUR, removed, np.zeros_like(item.mask))
        yield from _control("control_tumour", item, _donor(item, tumours, looks, rng), rng, left_out)
    for item in counted(healthy, "pasting tumours"):
        donor = _donor(item, tumours, looks, rng)
        heads = {"head": item.head, "donor_head": donor.head}
        pasted = paste_tumour(item.image, donor.image, donor.mask, rng=rng, **heads)
        if pasted is None:
            small = min(item.head.box.shape) < SMALLEST_HEAD * SIDE
            left_out["pasted"]["the head is too small to paste into" if small else "no place for the donor's tumour"] += 1
        else:
            yield _Change("pasted", item, donor, str(donor.record.label), *pasted)
        yield from _control("control_healthy", item, donor, rng, left_out)


def _control(
    kind: str, item: _Item, donor: _Item, rng: np.random.Generator, left_out: Mapping[str, Counter[str]]
) -> Iterator[_Change]:
    image = replace_tissue(
        item.image, item.mask, donor.image, donor.mask, rng=rng, head=item.head, donor_head=donor.head
    )  # fmt: skip
    if image is None:
        left_out[kind]["no place or no tissue fits"] += 1
    else:
        yield _Change(kind, item, donor, str(item.record.label), image, item.mask)


def _donor(item: _Item, tumours: list[_Item], looks: np.ndarray, rng: np.random.Generator) -> _Item:
    """Return a slice with a tumour whose head is similar to that of `item`, of another publisher and patient if possible."""
    healthy = item.record.label == NO_TUMOUR
    rank = looks @ head_appearance(item.image)
    rank -= 10.0 * np.array([healthy and each.publisher == item.publisher for each in tumours])
    rank -= 100.0 * np.array([each is item or (each.record.patient or "") == item.record.patient for each in tumours])
    best = np.argsort(-rank, kind="stable")[:ALIKE]
    return tumours[int(rng.choice(best[rank[best] >= rank[best[0]] - 5]))]  # none of a worse rank


def _slice(change: _Change) -> Slice:
    record = change.item.record
    image, mask = change.image.astype(np.float32), change.truth.astype(bool)
    return Slice(image, change.item.publisher, record.path, label=change.label, mask=mask, patient=record.patient)


def _row(change: _Change, prediction: Prediction, same_patient: SamePatient) -> dict[str, Any]:
    record, mask, label = change.item.record, prediction.mask, prediction.label
    with_mask = None if mask is None else bool(mask.any())
    called = with_mask if not prediction.classes else label != NO_TUMOUR if NO_TUMOUR in prediction.classes else None
    has_dice = mask is not None and change.truth.any()
    return {
        "kind": change.kind,
        "path": record.path,
        "donor": change.donor.record.path if change.donor is not change.item else None,
        "patient_id": record.patient,
        "patient": patient_of(record.patient, same_patient) if record.patient else None,
        "source": change.item.publisher,
        "label": change.label,
        "predicted": label,
        "called_tumour": called,
        "right": label == change.label if prediction.classes else None,
        "with_mask": with_mask,
        "dice": overlap_scores(mask, change.truth.astype(bool)).dice if mask is not None and has_dice else None,
    }


def summarise_counterfactuals(
    cases: pd.DataFrame, left_out: Mapping[str, Mapping[str, int]], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Any]:
    """Return the scores of each kind of change, in all and by publisher of the slice, and the number left out by reason."""
    found: dict[str, Any] = {"by_publisher": {}, "left_out": {kind: dict(reasons) for kind, reasons in left_out.items()}}
    for kind, (_, names) in KINDS.items():
        own = cases[cases["kind"] == kind]
        if len(own):
            sample = make_sample(own, seed=seed, draws=draws)
            found[kind] = _scores(sample, names, np.ones(len(own), dtype=bool))
            found["by_publisher"][kind] = {
                publisher: _scores(sample, names, (own["source"] == publisher).to_numpy())
                for publisher in sorted(own["source"].unique())
            }
    return found


def _scores(sample: Sample, names: Sequence[str], keep: np.ndarray) -> Scores:
    scores: Scores = {}
    for name in names:
        values = sample.column(name)
        known = keep & np.isfinite(values)
        scores[name] = sample.mean(name, keep) if name == "dice" else sample.share(values == 1, known)
    return scores


def counterfactual_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, Scores]]:
    """Return (change, publisher, scores) of the tables of a summary, for a page or a card."""
    of = summary.get("counterfactual") or {}
    return [
        (name, publisher, scores)
        for kind, (name, _) in KINDS.items()
        for publisher, scores in of.get("by_publisher", {}).get(kind, {}).items()
    ]


def left_out_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the slices that could not be changed, one line per kind of change."""
    left = (summary.get("counterfactual") or {}).get("left_out", {})
    return [f"{KINDS[kind][0]}: {', '.join(f'{n} {why}' for why, n in reasons.items())}" for kind, reasons in left.items()]
