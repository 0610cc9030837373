"""Paired contribution of each part of a recipe: models trained without it against the model trained with all parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bts.apps.run import DONE, OneLineParser
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.classification import CHUNK, weighted_auc
from bts.evaluation.counterfactual import evaluate_counterfactuals
from bts.evaluation.intervals import (
    Bootstrap,
    Interval,
    difference_interval,
    make_interval,
    make_sample,
    numbers,
    ratio,
    with_counts,
)
from bts.evaluation.provenance import machine
from bts.evaluation.subject import run_of
from bts.glossary import NO_TUMOUR
from bts.report.rendering import Raw, table
from tools.documents import write_table
from tools.elsewhere import Candidate, open_candidate
from tools.post_contrast import PostContrast

EPILOG = """
examples:
  python -m tools contributions all=runs/all/joint/TIME no_counterfactuals=runs/no3/joint/TIME \\
      --manifest data/model/manifest.csv --lgg data/lgg --out docs/experiments.md
"""
BLOCK = "contributions"
STEP = 3
"""Every third slice of TCGA-LGG is scored."""


@dataclass(frozen=True)
class Score:
    """A share or mean over some slices of a table of cases.

    Attributes:
        part: table: `home`, `changed` or `lgg`.
        name: head of its row.
        values: column of the table, or `tumour` for the share called a tumour and `area` for the area under the curve.
        among: `tumour`, `healthy`, or a kind of counterfactual slice.
    """

    part: str
    name: str
    values: str
    among: str = ""


SCORES = (
    Score("home", "home, tumour slices: class right", "right", "tumour"),
    Score("home", "home, tumour slices: Dice", "dice", "tumour"),
    Score("home", "home, healthy slices with a mask", "drawn", "healthy"),
    Score("changed", "tumour replaced by tissue: called a tumour", "tumour", "removed"),
    Score("changed", "tumour pasted into a healthy slice: called a tumour", "tumour", "pasted"),
    Score("lgg", "TCGA-LGG: area under the curve of the tumour probability", "area"),
    Score("lgg", "TCGA-LGG, tumour slices called a tumour", "tumour", "tumour"),
    Score("lgg", "TCGA-LGG, tumour-free slices with a mask", "drawn", "healthy"),
)


def command(argv: Sequence[str]) -> int:
    """Score the models on development slices, write the table of differences, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools contributions",
        description="Compare models trained without a part of a recipe with the first one, paired, on development slices: the "
        "validation part of the first model's run, counterfactual slices made of it, and TCGA-LGG.",
        epilog=EPILOG,
    )
    parser.add_argument("models", nargs="+", metavar="NAME=RUN", help="runs of one split; the first has all parts")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="table that the models were trained on")
    parser.add_argument("--lgg", type=Path, required=True, metavar="FOLDER", help="TCGA-LGG in Kaggle's layout (kaggle_3m)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of bootstrap and counterfactual slices [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"document with the block '{BLOCK}', or a new file")
    options = parser.parse_args(argv)
    source = open_source("manifest", options.manifest)
    models = [open_candidate(text, [source]) for text in options.models]
    records = _validation(models, source)
    lgg = PostContrast(options.lgg, step=STEP)
    tables = [_tables(model, source, records, lgg, seed=options.seed) for model in models]
    text = contributions([model.name for model in models], tables, seed=options.seed)
    print(text)
    write_table(options.out, text, BLOCK)
    return DONE


def _validation(models: Sequence[Candidate], source: Source) -> list[Record]:
    """Return the validation slices of the first model that no model was trained on."""
    records = source.records()
    found = None
    for model in models:
        run = run_of(model.folder)
        if run is None:
            raise RequestError(f"{model.folder}: expected the run of a model, with its split")
        split = Split.read(run.split_file)
        kept = {record.path: record for record in records_of(split, records, "val")}
        found = kept if found is None else {path: record for path, record in found.items() if path in kept}
    return list((found or {}).values())


def _tables(
    model: Candidate, source: Source, records: Sequence[Record], lgg: PostContrast, *, seed: int
) -> dict[str, pd.DataFrame]:
    """Return the cases of one model by part."""
    changed = evaluate_counterfactuals(model.predictor, source, records, seed=seed)
    if changed is None:
        raise RequestError("expected validation slices with masks, received none")
    return {
        "home": evaluate_cases(model.predictor, source, records),
        "changed": changed.cases,
        "lgg": evaluate_cases(model.predictor, lgg, lgg.records()),
    }


def contributions(names: Sequence[str], tables: Sequence[dict[str, pd.DataFrame]], *, seed: int = 0) -> str:
    """Return the table of scores as Markdown: the first model's values, and the difference of each other one to it.

    Args:
        names: heads of the columns, the first for the model with all parts.
        tables: per model, the cases by part; the same slices in the same order for every model.
        seed: seed of the bootstrap draws.
    """
    rows = []
    for score in SCORES:
        sample = make_sample(tables[0][score.part], seed=seed)
        first, *others = [_values(score, each[score.part]) for each in tables]
        value = _value(first, sample.bootstrap)
        cells = [_difference(first, other, sample.bootstrap) for other in others]
        count = int(first[:, 1].sum()) if first.shape[1] == 2 and score.values != "area" else len(first)
        rows.append((score.name, Raw(f"{value:.3f}"), *(cell or "–" for cell in cells), count))
    head = ("score", names[0], *(f"{name}, difference" for name in names[1:]), "slices")
    about = (
        f"Written by `python -m tools contributions` with seed {seed} on {machine()}. Differences are paired, with 95% "
        "intervals over patients or look-alike clusters; home slices are those of the validation part, of which the "
        "counterfactual slices are made."
    )
    return "\n\n".join([table(head, rows), about])


def _values(score: Score, cases: pd.DataFrame) -> np.ndarray:
    """Return (N, 2): values and counts for a mean, or truth and probability for the area under the curve."""
    is_healthy = (cases["label"] == NO_TUMOUR).to_numpy()
    if score.values == "area":
        return np.stack([~is_healthy, 1 - numbers(cases, f"prob_{NO_TUMOUR}")], axis=1).astype(np.float64)
    among = {"tumour": ~is_healthy, "healthy": is_healthy}
    keep = among[score.among] if score.among in among else (cases["kind"] == score.among).to_numpy()
    if score.values == "tumour":
        values = (cases["predicted"] != NO_TUMOUR).to_numpy(dtype=np.float64)
    elif score.values == "drawn":
        values = (numbers(cases, "predicted_area_px") > 0).astype(np.float64)
    else:
        values = numbers(cases, score.values)
    return with_counts(values, keep & np.isfinite(values))


def _is_area(values: np.ndarray) -> bool:
    """Whether the second column holds probabilities, not counts."""
    return not np.isin(values[:, 1], (0.0, 1.0)).all()


def _value(values: np.ndarray, bootstrap: Bootstrap) -> float:
    if _is_area(values):
        return float(weighted_auc(values[:, 0] > 0, values[:, 1], np.ones((1, len(values))))[0])
    return float(ratio(values.sum(axis=0)))


def _difference(first: np.ndarray, second: np.ndarray, bootstrap: Bootstrap) -> Interval | None:
    """Return second minus first with a paired interval."""
    if not _is_area(first):
        return difference_interval(first, second, ratio, bootstrap)
    draws = [slice(start, start + CHUNK) for start in range(0, len(bootstrap.weights), CHUNK)]
    areas = [
        np.concatenate([weighted_auc(each[:, 0] > 0, each[:, 1], bootstrap.slice_weights(part)) for part in draws])
        for each in (first, second)
    ]
    value = _value(second, bootstrap) - _value(first, bootstrap)
    return make_interval(value, areas[1] - areas[0], bootstrap, of_difference=True)
