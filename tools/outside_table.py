"""How many real slices are taken for strangers, and how many strangers are noticed? One table, by kind of picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

import numpy as np

from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Source
from bts.evaluation.outside import Learned, learn, pictures
from bts.inference.ood import OodReference
from bts.models.folder import read_card, update_card
from bts.training.run_data import RunData
from tools.misplaced import from_slices, made_pictures

Row = tuple[str, int, int]
"""Kind of picture, how many, how many of them are out of place."""


def count_outside(reference: OodReference, squares: Sequence[np.ndarray]) -> int:
    """Return how many pictures (S, S) uint8 are over the limit."""
    return int((reference.distance(np.stack(squares)) > reference.limit).sum())


def spread(count: int, most: int) -> list[int]:
    """Return at most that many places, evenly over as many as there are.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return [int(place) for place in np.linspace(0, count - 1, min(most, count)).round()]


def measure(
    data: RunData, foreign: Mapping[str, Source], *, slices: int, seed: int = 0, told: Callable[[str], None] = lambda kind: None
) -> tuple[Learned, list[tuple[str, list[Row]]]]:
    """Return what was learned of a run's slices and the table's rows under their headings; its model folder gets the former.

    A run that is still in training has no model yet: its slices are all that is needed.

    Args:
        data: the run.
        foreign: sets of other publishers by name.
        slices: at most so many of each foreign set, and as many test slices that strangers are made of.
        seed: of what is drawn.
        told: called with each kind before it is counted.
    """
    trained = (data.run.model / "model.json").is_file()
    preprocessing = Preprocessing.from_dict(read_card(data.run.model).preprocessing) if trained else _asked_for(data)
    learned = learn(data, preprocessing)
    if trained:
        update_card(data.run.model, ood=learned.card)
    reference = learned.reference
    real = [("test slices, patients never trained on", len(learned.test), learned.card["n_test_ood"])]
    others = []
    for name, source in foreign.items():
        told(name)
        records = source.records()
        squares = [preprocessing.image(source.read(records[place]).image) for place in spread(len(records), slices)]
        others.append((f"slices of {name}", len(squares), count_outside(reference, squares)))
    test = list(pictures(data, "test", preprocessing))
    strange = made_pictures(seed=seed) | from_slices([test[place] for place in spread(len(test), slices)])
    noticed = []
    for kind, found in strange.items():
        told(kind)
        noticed.append((kind, len(found), count_outside(reference, [preprocessing.image(picture) for picture in found])))
    return learned, [("real slices: false alarms", real), ("slices of other sets", others), ("no such slice: noticed", noticed)]


def _asked_for(data: RunData) -> Preprocessing:
    names = [field.name for field in fields(Preprocessing)]
    return Preprocessing.from_dict({name: value for name, value in data.settings["data"].items() if name in names})


def as_markdown(found: Sequence[tuple[str, list[Row]]]) -> str:
    """Return the table.

    >>> print(as_markdown([("real slices", [("test", 200, 3)])]))
    | | pictures | out of place | share |
    |---|---|---|---|
    | **real slices** | | | |
    | test | 200 | 3 | 1.5% |
    """
    lines = ["| | pictures | out of place | share |", "|---|---|---|---|"]
    for heading, kinds in found:
        lines += [f"| **{heading}** | | | |"] if kinds else []
        lines += [f"| {kind} | {count} | {outside} | {outside / count:.1%} |" for kind, count, outside in kinds]
    return "\n".join(lines)
