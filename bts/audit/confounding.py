"""Confounding of class and publisher: which publisher the slices of each class come from, and how well images reveal it.

Where a class comes from one publisher and other classes from elsewhere, a model can score well by recognising the publisher
(shortcut learning, Geirhos et al. 2020). The publisher of a slice is the `source` column of a manifest; a set without one has a
single publisher.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.stats import chi2_contingency
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bts.data.enhance import head_box
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record, Source
from bts.errors import InputError, RequestError
from bts.glossary import NO_TUMOUR
from bts.progress import counted

SECOND_SHARE = 0.05
"""Least share of a class's slices from other publishers than its main one; below it the class comes from a single publisher."""
PROBE_SLICES = 300
"""Slices that the probe reads, spread evenly over the publishers."""
FOLDS, DRAWS, BINS, LEVEL = 5, 300, 16, 0.95


@dataclass(frozen=True)
class ProbeScore:
    """Area under the ROC curve with which a logistic regression recognises a publisher from properties of the image.

    Attributes:
        properties: `frame`, `size`, `sharpness`, `histogram`, or `all` of them.
        publisher: the one against the rest, or `mean` over the publishers.
        auc, low, high: area by cross-validation over patients, with its 95% interval from a bootstrap over patients;
            no interval where all draws agree.
        n_slices, n_patients: sample size; a slice without a patient counts as one.
    """

    properties: str
    publisher: str
    auc: float
    low: float | None
    high: float | None
    n_slices: int
    n_patients: int

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.properties} {self.auc:.2f}{interval}"


@dataclass(frozen=True)
class Confounding:
    """Classes by publisher in one set.

    Attributes:
        name: name of the set.
        counts: class -> publisher -> number of slices.
        single: class -> the publisher that it comes from alone, while another class comes from elsewhere.
        cramers_v: association of class and publisher, bias-corrected; None with one class or one publisher.
        tumour_v: the same of tumour or healthy and publisher.
        probe: how well the publisher is recognised; empty if it was not asked for or can't be computed.
    """

    name: str
    counts: Mapping[str, Mapping[str, int]]
    single: Mapping[str, str]
    cramers_v: float | None
    tumour_v: float | None
    probe: tuple[ProbeScore, ...] = ()

    @property
    def publishers(self) -> list[str]:
        """Names of the publishers, the largest first."""
        return [name for name, _ in sum(map(Counter, self.counts.values()), Counter[str]()).most_common()]

    @property
    def finding(self) -> str:
        """The classes with a single publisher, in words; empty if there are none."""
        of: dict[str, list[str]] = {}
        for label, publisher in self.single.items():
            of.setdefault(publisher, []).append(label)
        return "; ".join(f"{', '.join(labels)} from {publisher} alone" for publisher, labels in of.items())

    def refuse(self) -> None:
        """Raise `RequestError` if a class comes from a single publisher."""
        if self.single:
            raise RequestError(
                f"class and publisher coincide: {self.finding}, other classes from elsewhere, so a model can tell the class "
                f"by the publisher: add slices of these classes from a second publisher, at least {SECOND_SHARE:.0%} of each "
                "(`bts manifest --tumours`), or record the flaw with --split.confounding allow"
            )

    def record(self, *, remove_tumour: float = 0.0, paste_tumour: float = 0.0) -> str:
        """Return what the card of a model trained on the set says; empty without a finding.

        Counterfactual augmentation is named as a mitigation; it does not change the finding.
        """
        if not self.single:
            return ""
        mitigation = "no counterfactual augmentation"
        if remove_tumour or paste_tumour:
            mitigation = f"counterfactual augmentation remove_tumour {remove_tumour:g}, paste_tumour {paste_tumour:g}"
        what = f"class and publisher coincide in the training data ({self.finding}; {mitigation})"
        return f"{what}: a model can score well by recognising the publisher"

    def lines(self) -> Iterator[str]:
        """Yield the table, the association and the probe for a terminal; nothing with a single publisher."""
        names = self.publishers
        if len(names) < 2:
            return
        yield f"{self.name}: classes by publisher, in slices"
        yield f"  {'':<14}" + "".join(f"{name:>14}" for name in names)
        for label, counts in self.counts.items():
            cells = "".join(f"{counts.get(name, 0):>14}" for name in names)
            yield f"  {label:<14}{cells}" + ("   one publisher" if label in self.single else "")
        if self.cramers_v is not None:
            tumour = "" if self.tumour_v is None else f", of publisher and tumour or healthy {self.tumour_v:.2f}"
            yield f"  Cramér's V of publisher and class {self.cramers_v:.2f}{tumour} (0 independent, 1 determined)"
        scores = [score for score in self.probe if score.publisher == "mean"]
        if scores:
            found = ", ".join(map(str, scores))
            yield f"  publisher recognised, AUC on {scores[0].n_slices} slices of {scores[0].n_patients} patients: {found}"


def find_confounding(records: Sequence[Record], name: str) -> Confounding:
    """Count the classes by publisher; `name` stands for the publisher of records that name none."""
    found: dict[str, Counter[str]] = {}
    for record in sorted(records, key=lambda record: record.label or ""):
        if record.label:
            found.setdefault(record.label, Counter())[record.source or name] += 1
    counts = {label: dict(some.most_common()) for label, some in found.items()}
    tumour = sum((some for label, some in found.items() if label != NO_TUMOUR), Counter[str]())
    single = {label: publisher for label in counts if (publisher := _single_publisher(label, counts))}
    states: dict[str, Mapping[str, int]] = {"tumour": tumour, NO_TUMOUR: found.get(NO_TUMOUR, {})}
    return Confounding(name, counts, single, cramers_v(counts), cramers_v(states))


def _single_publisher(label: str, counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return the publisher of a class that comes from it alone, if another class comes from elsewhere."""
    publisher = next(iter(counts[label]))  # the largest stands first

    def elsewhere(some: Mapping[str, int]) -> float:
        return 1 - some.get(publisher, 0) / sum(some.values())

    is_single = elsewhere(counts[label]) < SECOND_SHARE
    return publisher if is_single and any(elsewhere(some) >= SECOND_SHARE for some in counts.values()) else None


def cramers_v(counts: Mapping[str, Mapping[str, int]]) -> float | None:
    """Return Cramér's V of a table of counts, bias-corrected (Bergsma 2013); None with one row or one column."""
    columns = sorted({name for some in counts.values() for name in some})
    table = np.array([[some.get(name, 0) for name in columns] for some in counts.values() if some])
    if len(table) < 2 or len(columns) < 2:
        return None
    n, (rows, width) = table.sum(), table.shape
    squared = chi2_contingency(table, correction=False).statistic / n
    squared = max(0.0, squared - (rows - 1) * (width - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), width - (width - 1) ** 2 / (n - 1)) - 1
    return float(min(np.sqrt(squared / least), 1.0)) if least > 0 else None


def with_probe(
    found: Confounding, source: Source, records: Sequence[Record], *, same_patient: SamePatient = "suffixes", seed: int = 0
) -> Confounding:
    """Return the finding with how well the publisher is recognised, from at most `PROBE_SLICES` slices.

    Each publisher needs slices of at least two patients; otherwise the finding is returned as it is. Slices that can't be read
    are skipped.
    """
    names = found.publishers
    if len(names) < 2:
        return found
    rng = np.random.default_rng(seed)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in PROPERTIES}
    publisher: list[int] = []
    patients: list[str] = []
    for number, name in enumerate(names):
        own = [record for record in records if record.label and (record.source or found.name) == name]
        for i in counted(sorted(rng.permutation(len(own))[: PROBE_SLICES // len(names)]), f"reading {name}"):
            try:
                image = source.read(replace(own[i], mask=None)).image
            except InputError:
                continue
            for each, describe in PROPERTIES.items():
                rows[each].append(describe(image))
            publisher.append(number)
            patients.append(f"{number} {patient_of(own[i].patient, same_patient) if own[i].patient else own[i].path}")
    truth, (_, codes) = np.array(publisher), np.unique(patients, return_inverse=True)
    folds = _folds(truth, codes, rng)
    if folds is None:
        return found
    tables = {name: np.stack(each) for name, each in rows.items()}
    tables["all"] = np.concatenate(list(tables.values()), axis=1)
    weights = rng.multinomial(codes.max() + 1, np.full(codes.max() + 1, 1 / (codes.max() + 1)), size=DRAWS)[:, codes]
    shown = counted(tables.items(), "recognising publishers", unit="properties")
    scores = [one for name, table in shown for one in _probe(name, table, truth, folds, weights, names, codes)]
    return replace(found, probe=tuple(scores))


def _folds(truth: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return the fold (N,) of each slice, whole patients and every publisher in each; None with under two patients of one."""
    patients = [np.unique(codes[truth == number]) for number in range(truth.max(initial=-1) + 1)]
    folds = min([FOLDS, *map(len, patients)])
    if folds < 2:
        return None
    of = np.zeros(codes.max() + 1, dtype=int)
    for own in patients:
        of[rng.permutation(own)] = np.arange(len(own)) % folds
    return of[codes]


def _probe(
    name: str, table: np.ndarray, truth: np.ndarray, folds: np.ndarray, weights: np.ndarray, names: list[str], codes: np.ndarray
) -> Iterator[ProbeScore]:
    """Yield the area for each publisher and their mean; `weights` (D, N) are the draws of the bootstrap."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    chance = cross_val_predict(model, table, truth, cv=PredefinedSplit(folds), method="predict_proba")  # (N, publishers)
    weights = np.vstack([np.ones(len(truth)), weights])
    areas = np.column_stack([weighted_auc(truth == k, chance[:, k], weights) for k in range(len(names))])
    areas = np.column_stack([areas, areas.mean(axis=1)])  # (1 + D, publishers + 1)
    tail = (1 - LEVEL) / 2
    for column, publisher in enumerate([*names, "mean"]):
        low, high = (float(bound) for bound in np.nanquantile(areas[1:, column], [tail, 1 - tail]))
        area, has_width = float(areas[0, column]), high - low > 1e-9
        interval = (low, high) if has_width else (None, None)
        yield ProbeScore(name, publisher, area, interval[0], interval[1], len(truth), len(np.unique(codes)))


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area (d,) under the ROC curve for each row of slice weights (d, N); ties count half.

    `positive` (N,) bool, `scores` (N,). NaN where a row has no weight on one of the two sides.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # first slice of each group of ties
    right, wrong = weights[:, order] * positive[order], weights[:, order] * ~positive[order]
    positives, negatives = np.add.reduceat(right, starts, axis=1), np.add.reduceat(wrong, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    won = (positives * (below + negatives / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _scaled(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)


def _frame(image: np.ndarray) -> np.ndarray:
    """Return margins around the head's box and statistics of the pixels outside it (8,)."""
    values, box, (height, width) = _scaled(image), head_box(image), image.shape
    outside = np.ones(image.shape, dtype=bool)
    box.cut(outside)[...] = False
    pixels = values[outside] if outside.any() else np.zeros(1)
    margins = box.top / height, 1 - box.bottom / height, box.left / width, 1 - box.right / width
    return np.array([*margins, pixels.mean(), pixels.std(), pixels.max(), (pixels == 0).mean()])


def _sharpness(image: np.ndarray) -> np.ndarray:
    """Return log energies of the first and second derivatives, and of what a blur removes, inside the head's box (3,)."""
    inside = head_box(image).cut(_scaled(image))
    energies = [np.abs(np.gradient(inside)).mean(), np.abs(ndimage.laplace(inside)).mean()]
    energies.append(np.abs(inside - ndimage.gaussian_filter(inside, 2)).mean())
    return np.log(np.array(energies) + 1e-6)


PROPERTIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "frame": _frame,
    "size": lambda image: np.array([*np.log(image.shape), image.shape[1] / image.shape[0]]),
    "sharpness": _sharpness,
    "histogram": lambda image: np.histogram(head_box(image).cut(_scaled(image)), BINS, (0, 1), density=True)[0],
}
"""Properties of an image (H, W) that should not depend on the class."""
