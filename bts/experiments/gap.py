"""What is a leak worth? One recipe's scores on the publisher's split beside those on a split by recovered patient.

The two test parts are different slices of partly different people, so nothing can be paired: each side is drawn by itself, over
its own patients (groups of copies where nobody knows the patient), and the gap is the difference of independent draws. What the
interval leaves out is that another training of the same recipe would score a little differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bts.audit.patients import count_patients
from bts.data.patient_ids import Group, patient_of
from bts.evaluation import confusion
from bts.evaluation.classification_scores import class_arrays, classes_of
from bts.evaluation.intervals import (
    DRAWS,
    Bootstrap,
    Interval,
    Statistic,
    draw_patients,
    ratio,
    statistic_interval,
    unpaired_difference,
)
from bts.experiments.compare import CLASS_STATISTICS
from bts.markdown import escape
from bts.report.figures import COLOURS, chart

SIDES = ("published split", "by recovered patient")
MASK_MEANS = {"dice": "Dice, mean over slices", "iou": "IoU, mean over slices"}
UNPAIRED = (
    "95% intervals; the gap is the first less the second. The two test parts are different slices, so the gap is unpaired: "
    "each side is drawn anew over its own patients, 2,000 times. Chance in training is in none of the intervals."
)


@dataclass(frozen=True, eq=False)
class Side:
    """The test cases of one side, with the patient of each.

    Attributes:
        cases: one row a slice, as `Scored.cases`.
        names: (N,) patient of each slice, families as one.
        bootstrap: draws over them, independent of the other side's.
    """

    cases: pd.DataFrame
    names: list[str]
    bootstrap: Bootstrap

    @property
    def told(self) -> str:
        """On whom it was measured: slices, recovered patients, and groups of copies of unknown ones."""
        known, invented = count_patients(self.names)
        groups = f" and {invented} groups of copies" if invented else ""
        return f"{len(self.cases)} slices of {known} recovered patients{groups}"


@dataclass(frozen=True)
class Gap:
    """One score on both sides.

    Attributes:
        score: its name in words.
        published, by_patient: each side's own score.
        gap: first less second; its counts are those of both sides together.
    """

    score: str
    published: Interval
    by_patient: Interval
    gap: Interval

    @property
    def verdict(self) -> str:
        """`differs` where the interval of the gap leaves out zero, else `could be chance`."""
        if self.gap.low is None or self.gap.high is None:
            return "no interval"
        return "differs" if self.gap.low > 0 or self.gap.high < 0 else "could be chance"


def make_side(cases: pd.DataFrame, patients: Mapping[str, str], *, group: Group = "family", seed: int = 0) -> Side:
    """Return the cases of one side with the patients of a table; the two sides need different seeds."""
    names = [patient_of(patients[path], group) for path in cases["path"]]
    return Side(cases.reset_index(drop=True), names, draw_patients(names, seed=seed, draws=DRAWS))


def find_gaps(published: Side, by_patient: Side) -> list[Gap]:
    """Return every score that both sides have, with the gap between them."""
    ours, theirs = dict(_scores(by_patient)), dict(_scores(published))
    return [
        found
        for name in theirs
        if name in ours
        for found in [_gap(name, theirs[name], ours[name], published, by_patient)]
        if found
    ]


def _scores(side: Side) -> Iterator[tuple[str, tuple[np.ndarray, Statistic]]]:
    """Yield name, numbers by slice (N, M), and what makes a score of their sums."""
    cases = side.cases
    for column, name in MASK_MEANS.items():
        if column in cases:
            values = pd.to_numeric(cases[column]).to_numpy(dtype=np.float64, na_value=np.nan)
            there = np.isfinite(values)
            yield name, (np.stack([np.where(there, values, 0.0), there.astype(float)], axis=1), ratio)
    if "predicted" in cases:
        truth, probabilities = class_arrays(cases)
        rows = confusion.confusion_rows(truth, probabilities.argmax(axis=1), len(classes_of(cases)))
        for name, statistic in CLASS_STATISTICS.items():
            yield name, (rows, statistic)


def _gap(
    name: str, left: tuple[np.ndarray, Statistic], right: tuple[np.ndarray, Statistic], published: Side, by_patient: Side
) -> Gap | None:
    (one, statistic), (other, _) = left, right
    first = statistic_interval(one, statistic, published.bootstrap)
    second = statistic_interval(other, statistic, by_patient.bootstrap)
    gap = unpaired_difference((one, published.bootstrap), (other, by_patient.bootstrap), statistic)
    return Gap(name, first, second, gap) if first and second and gap else None


def gap_rows(gaps: Mapping[str, Sequence[Gap]]) -> pd.DataFrame:
    """Return every gap of every recipe, one a row, for CSV."""
    rows = []
    for recipe, found in gaps.items():
        for each in found:
            row: dict[str, object] = {"recipe": recipe, "score": each.score}
            for side, score in (("published", each.published), ("by_patient", each.by_patient)):
                row |= {side: score.value, f"{side}_low": score.low, f"{side}_high": score.high}
                row |= {f"{side}_slices": score.n_slices, f"{side}_patients": score.n_patients}
            row |= {"gap": each.gap.value, "gap_low": each.gap.low, "gap_high": each.gap.high, "verdict": each.verdict}
            rows.append(row | {"seed": each.gap.seed, "draws": each.gap.draws})
    return pd.DataFrame(rows)


def gap_table(gaps: Mapping[str, Sequence[Gap]]) -> str:
    """Return the table of both columns and the gap, as Markdown."""
    lines = [
        f"| recipe | score | {SIDES[0]} | slices, patients | {SIDES[1]} | slices, patients | gap | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe, found in gaps.items():
        for each in found:
            cells = [
                cell for one in (each.published, each.by_patient) for cell in (one.text(), f"{one.n_slices}, {one.n_patients}")
            ]
            lines.append(f"| {escape(recipe)} | {each.score} | {' | '.join(cells)} | {each.gap.text()} | {each.verdict} |")
    return "\n".join(lines)


def draw_gaps(path: Path, gaps: Mapping[str, Sequence[Gap]]) -> None:
    """Draw the first score of each recipe on both sides, with intervals."""
    with chart(path, width=6.0, height=0.7 * len(gaps) + 1.6) as drawn:
        axis = drawn.axis
        for place, found in enumerate(gaps.values()):
            for side, score in enumerate((found[0].published, found[0].by_patient)):
                label, height, colour = SIDES[side] if place == 0 else None, place + 0.24 * side - 0.12, COLOURS[side]
                axis.plot(score.value, height, "os"[side], color=colour, label=label)
                if score.low is not None and score.high is not None:
                    axis.plot([score.low, score.high], [height, height], color=colour)
        axis.set_xlabel(next(iter(gaps.values()))[0].score)
        axis.set_yticks(range(len(gaps)), list(gaps))
        axis.set_ylim(len(gaps) - 0.5, -0.5)
        axis.figure.legend(loc="outside upper right", ncols=2)
