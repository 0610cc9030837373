"""Growth of bootstrap, audit and report as the data doubles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from bench.clock import once
from bench.lines import Line
from bts.audit.findings import judge
from bts.audit.images import AuditImage, Collection
from bts.audit.matches import find_matches
from bts.audit.views import THUMB_SIDE
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.evaluation.cases import case_row
from bts.evaluation.intervals import draw_patients, mean_interval
from bts.glossary import FIGSHARE_CLASSES
from bts.inference.prediction import Prediction
from bts.models.card import ModelCard
from bts.report.gallery import Tile
from bts.report.publish import Extras, publish
from bts.report.report import new_evaluated

SLICES_A_PATIENT = 13
"""As in figshare: 3,064 slices of 233 patients."""
SIZES = {"bootstrap": (4_000, 8_000, 16_000, 32_000), "audit": (500, 1_000, 2_000), "report": (1_000, 2_000, 4_000)}
QUICK = {"bootstrap": (100, 200), "audit": (20, 40), "report": (30, 60)}
CELLS_FROM = 100
"""Pictures from which the audit sorts into cells here; in use it does from 5,000 on, and compares every pair before."""


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of growth, and what to know of them."""
    steps: dict[str, Callable[[int], Callable[[], object]]] = {
        "bootstrap": _bootstrap,
        "audit": _audit,
        "report": lambda size: _report(size, work / "report"),
    }
    lines = []
    for name, sizes in (QUICK if quick else SIZES).items():
        if not quick:
            steps[name](sizes[0])()  # imports, fonts
        for size in sizes:
            call = steps[name](size)
            seconds = tuple(once(call) for _ in range(5 if name == "bootstrap" else 1))
            first = size == sizes[0]
            against = None if first else _what(name, sizes[0])
            lines.append(
                Line(_what(name, size), seconds, unit="s", against=against, must=None if first else most(sizes[0], size))
            )
    return lines, [
        "must be: n log n, from the smallest size",
        "bootstrap: 2,000 draws over patients of 13 slices, interval of one mean",
        f"audit: thumbnails in memory (reading is linear), sorted into cells from {CELLS_FROM} pictures on; all different",
        "report: every table, chart, page and file of a joint model's answers, without the network and the pictures of slices",
    ]


def most(few: int, many: int) -> float:
    """Return by how much n log n grows."""
    return many * math.log(many) / (few * math.log(few))


def _what(name: str, size: int) -> str:
    return f"{name}, {size:,}"


def _bootstrap(size: int) -> Callable[[], object]:
    scores = np.random.default_rng(0).random(size)
    patients = [str(number // SLICES_A_PATIENT) for number in range(size)]
    return lambda: mean_interval(scores, draw_patients(patients))


def _audit(size: int) -> Callable[[], object]:
    thumbs = np.stack(list(_heads(size)))
    pictures = tuple(
        AuditImage("made", Record(f"{number}.png", patient=str(number // SLICES_A_PATIENT)), str(number), str(number))
        for number in range(size)
    )
    collection = Collection(pictures, thumbs)
    return lambda: judge(collection, find_matches(collection, exact=CELLS_FROM), same_patient="suffixes", origins={})


def _heads(count: int) -> Iterator[np.ndarray]:
    """Yield ovals with a texture of their own."""
    row, column = (np.mgrid[:THUMB_SIDE, :THUMB_SIDE] + 0.5) / THUMB_SIDE - 0.5
    for number in range(count):
        random = np.random.default_rng(number)
        height, width = random.uniform(0.35, 0.45, 2)
        texture = ndimage.gaussian_filter(random.normal(size=(THUMB_SIDE, THUMB_SIDE)), 4)
        inside = (row / height) ** 2 + (column / width) ** 2 < 1
        yield np.clip(inside * (120 + 400 * texture), 0, 255).astype(np.uint8)


def _report(size: int, out: Path) -> Callable[[], object]:
    cases = _cases(size)
    card = ModelCard(
        task="joint", name="made", architecture={}, preprocessing={}, classes=list(FIGSHARE_CLASSES), synthetic=True
    )

    def write() -> None:
        found = new_evaluated("growth", cases, [card], seed=0)
        found.folders = ["made"]
        publish(found, out, Extras(make_tiles=lambda wanted: {path: Tile(path, "", "data:,") for path in wanted["path"]}))

    return write


def _cases(size: int) -> pd.DataFrame:
    """Return cases as evaluation makes them: a few real rows, repeated under other names with other numbers."""
    rows = pd.DataFrame([_row(number) for number in range(24)])
    random = np.random.default_rng(0)
    cases = rows.iloc[random.integers(0, len(rows), size)].reset_index(drop=True)
    cases["path"] = [f"{number}.png" for number in range(size)]
    patients = np.arange(size) // SLICES_A_PATIENT
    cases["patient_id"] = cases["patient"] = [str(number) for number in patients]
    cases["label"] = [FIGSHARE_CLASSES[number % len(FIGSHARE_CLASSES)] for number in patients]
    cases["right"] = cases["predicted"] == cases["label"]
    cases["dice"] = (cases["dice"] + random.normal(0, 0.05, size)).clip(0, 1)
    return cases


def _row(number: int) -> dict[str, object]:
    random = np.random.default_rng(number)
    truth, mask = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    truth[20:40, 20:40] = True
    mask[22 : 40 + number % 5, 18 : 38 + number % 3] = True
    label = FIGSHARE_CLASSES[number % len(FIGSHARE_CLASSES)]
    probabilities = random.dirichlet([4.0 if name == label else 1.0 for name in FIGSHARE_CLASSES])
    item = Slice(random.random((64, 64)), source="made", path=f"{number}.png", label=label, mask=truth, patient=str(number))
    said = Prediction(
        slice=item,
        mask=mask,
        mask_prob=mask.astype(np.float32),
        classes=tuple(FIGSHARE_CLASSES),
        class_logits=np.log(probabilities),
        class_prob=probabilities,
        cam=random.random((64, 64)).astype(np.float32),
        cam_class=label,
        cam_peak=1.0,
    )
    return case_row(Record(item.path, label=label, patient=item.patient), said)
