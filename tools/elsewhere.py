"""Compare models on publishers that none of them was trained on, on counterfactual slices, and on their own test parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bts.apps.audit import split_set_name
from bts.apps.run import DONE, OneLineParser
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.evaluation.calibration import calibration_error, calibration_rows
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.classification import auc_intervals, false_share_interval
from bts.evaluation.counterfactual import KINDS, evaluate_counterfactuals, summarise_counterfactuals
from bts.evaluation.intervals import Interval, Sample, make_sample, statistic_interval
from bts.evaluation.metric_registry import COLUMNS
from bts.evaluation.provenance import machine
from bts.evaluation.subject import run_of
from bts.glossary import NO_TUMOUR
from bts.inference.model_selection import model_folder
from bts.inference.predictor import Predictor, load_model
from bts.models.folder import ModelCard, read_card
from bts.report.rendering import Raw, table
from bts.settings import SplitSettings
from bts.training.run_data import refuse_training_patients, training_patients
from tools.documents import write_table
from tools.post_contrast import LEAST_PX, PostContrast

EPILOG = """
examples:
  python -m tools elsewhere before=joint-mobilenetv2 after=runs/model/joint/TIME --manifest data/model/manifest.csv \\
      --held-out data/model/held_out.csv --lgg data/lgg --out docs/experiments.md
"""
BLOCK = "elsewhere"
FOUND = 0.80
"""Share of the tumour slices of TCGA-LGG at which false answers are counted."""
STEP = 3
"""Every third slice of TCGA-LGG is scored."""
HELD_OUT = "tumours of other publishers, held out"
LGG = "TCGA-LGG, T1 after contrast"
Key = tuple[str, str]
"""Slices, and name of a score."""
Scores = dict[Key, Interval | None]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model of the comparison.

    Attributes:
        name: head of its column.
        folder: model folder.
        card: its card.
        predictor: the loaded model.
        home: source and records of its own test part; None where no manifest reproduces its split.
    """

    name: str
    folder: Path
    card: ModelCard
    predictor: Predictor
    home: tuple[Source, list[Record]] | None


def command(argv: Sequence[str]) -> int:
    """Score the models, write the table, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools elsewhere",
        description="Score models on tumours of publishers that none was trained on, on TCGA-LGG, on counterfactual slices, "
        "and on each model's own test part, with 95% intervals over patients, tumour slices and healthy slices apart.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="run, model folder or bundled model; NAME= before it names it"
    )
    parser.add_argument(
        "--manifest",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="tables that the models were trained on; the split of a model without a run is recognised by its fingerprint",
    )
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="table of the tumours that `bts manifest` held out")
    parser.add_argument("--lgg", type=Path, metavar="FOLDER", help="TCGA-LGG in Kaggle's layout (kaggle_3m)")
    parser.add_argument("--lgg-step", type=int, default=STEP, metavar="N", help=f"score every N-th slice of it [{STEP}]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of bootstrap and counterfactual slices [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with the block 'elsewhere', or a new file")
    options = parser.parse_args(argv)
    if options.lgg_step < 1:
        raise RequestError(f"--lgg-step {options.lgg_step}: expected 1 or more")
    manifests = [open_source("manifest", file) for file in options.manifest]
    models = [open_candidate(text, manifests) for text in options.models]
    held_out = open_source("manifest", options.held_out) if options.held_out else None
    lgg = PostContrast(options.lgg, step=options.lgg_step) if options.lgg else None
    text = compare(models, held_out=held_out, lgg=lgg, lgg_step=options.lgg_step, seed=options.seed)
    print(text)
    write_table(options.out, text, BLOCK)
    return DONE


def open_candidate(text: str, manifests: Sequence[Source]) -> Candidate:
    """Load the model that an argument such as `after=runs/joint/TIME` names, and find its test part."""
    name, path = split_set_name(text)
    folder = model_folder(path)
    card = read_card(folder)
    if NO_TUMOUR not in card.classes:
        raise RequestError(f"{path}: expected a model with the class {NO_TUMOUR}, its classes are {', '.join(card.classes)}")
    home = find_home(folder, card, manifests)
    return Candidate(name or card.name, folder, card, load_model(folder, device="cpu", runtime="torch"), home)


def find_home(folder: Path, card: ModelCard, manifests: Sequence[Source]) -> tuple[Source, list[Record]] | None:
    """Return source and records of a model's test part, or None where no manifest has its split.

    The split is that of the model's run, or the standard one of a manifest if its fingerprint is that of the model's card.
    """
    run = run_of(folder)
    for source in manifests:
        records = source.records()
        own = Split.read(run.split_file) if run is not None else make_split(records, SplitSettings())[0]
        known = {record.path for record in records}
        is_own = run is not None or own.fingerprint == card.data_fingerprint
        if is_own and all(row.path in known for row in own.rows):
            return source, records_of(own, records, "test")
    return None


def compare(
    models: Sequence[Candidate], *, held_out: Source | None, lgg: PostContrast | None, lgg_step: int = STEP, seed: int = 0
) -> str:
    """Return the table of all models as Markdown, with a paragraph on what was scored."""
    at_home = [model for model in models if model.home is not None]
    # a test part may hold training patients of another model, which is noticed only where that model lists its patients
    known = [model for model in at_home if not training_patients(model.card, model.folder).why_not]
    home = next(iter(known or at_home), None)
    scores = []
    for model in models:
        found: Scores = {}
        if held_out is not None:
            found |= held_out_scores(model, held_out, seed=seed)
        if lgg is not None:
            found |= lgg_scores(model, lgg, seed=seed)
        if home is not None and home.home is not None:
            found |= changed_scores(model, *home.home, seed=seed)
        if model.home is not None:
            found |= home_scores(model, *model.home, seed=seed)
        scores.append(found)
    keys = list(dict.fromkeys(key for found in scores for key in found))
    head = ("slices", "score", *(model.name for model in models), "n")
    rows = [(*key, *(found.get(key) for found in scores), Raw(_counts([found.get(key) for found in scores]))) for key in keys]
    rows = [tuple("–" if cell is None else cell for cell in row) for row in rows]
    return "\n\n".join([table(head, _once(rows)), _about(models, lgg, lgg_step, home, seed)])


def held_out_scores(model: Candidate, source: Source, *, seed: int) -> Scores:
    """Return the scores on tumours of other publishers; slices without a true mask have no Dice."""
    records = source.records()
    _refuse_known(model, records)
    parts = [[record for record in records if bool(record.mask) == with_mask] for with_mask in (True, False)]
    sample = make_sample(pd.concat([evaluate_cases(model.predictor, source, part) for part in parts if part]), seed=seed)
    return {
        (HELD_OUT, "class right"): sample.share(sample.column("right") == 1),
        (HELD_OUT, "called a tumour"): sample.share(_called_tumour(sample)),
        (HELD_OUT, "Dice"): sample.mean("dice"),
        (HELD_OUT, "expected calibration error"): _calibration(sample),
    }


def lgg_scores(model: Candidate, source: PostContrast, *, seed: int) -> Scores:
    """Return how well the tumour probability tells tumour slices from tumour-free slices of the same patients."""
    sample = make_sample(evaluate_cases(model.predictor, source, source.records()), seed=seed)
    tumour, probability = ~sample.is_class(NO_TUMOUR), 1 - sample.column(f"prob_{NO_TUMOUR}")
    area = auc_intervals(tumour.astype(int), np.stack([1 - probability, probability], axis=1), sample.bootstrap)[1]
    return {
        (LGG, "area under the curve of the tumour probability"): area,
        (LGG, "tumour slices called a tumour"): sample.share(_called_tumour(sample), tumour),
        (LGG, "tumour-free slices with a mask"): sample.share(sample.column("predicted_area_px") > 0, ~tumour),
        (LGG, f"tumour-free slices above the threshold that finds {FOUND:.0%} of the tumours"): false_share_interval(
            tumour, probability, sample.bootstrap, found=FOUND
        ),
        (LGG, "expected calibration error"): _calibration(sample),
    }


def changed_scores(model: Candidate, source: Source, records: Sequence[Record], *, seed: int) -> Scores:
    """Return the scores on counterfactual slices made of `records`; none may be of a training patient."""
    _refuse_known(model, records)
    changed = evaluate_counterfactuals(model.predictor, source, records, seed=seed)
    summary = {} if changed is None else summarise_counterfactuals(changed.cases, changed.left_out, seed=seed)
    return {
        (name, COLUMNS.get(score, score)): value
        for kind, (name, _) in KINDS.items()
        for score, value in summary.get(kind, {}).items()
    }


def home_scores(model: Candidate, source: Source, records: Sequence[Record], *, seed: int) -> Scores:
    """Return the scores on a model's own test part, by publisher."""
    _refuse_known(model, records)
    sample = make_sample(evaluate_cases(model.predictor, source, records), seed=seed)
    found: Scores = {}
    called, drawn = _called_tumour(sample), sample.column("predicted_area_px") > 0
    for publisher in sorted(sample.cases["source"].unique()):
        own = (sample.cases["source"] == publisher).to_numpy()
        tumour, healthy = own & ~sample.is_class(NO_TUMOUR), own & sample.is_class(NO_TUMOUR)
        where = f"own test part, tumours of {publisher}"
        found |= {
            (where, "class right"): sample.share(sample.column("right") == 1, tumour),
            (where, "called a tumour (sensitivity)"): sample.share(called, tumour),
            (where, "Dice"): sample.mean("dice", tumour),
        }
        where = f"own test part, healthy slices of {publisher}"
        found |= {
            (where, "called healthy (specificity)"): sample.share(~called, healthy),
            (where, "with a mask"): sample.share(drawn, healthy),
        }
    healthy = sample.is_class(NO_TUMOUR)
    where = "own test part, all healthy slices"
    found |= {
        (where, "called healthy (specificity)"): sample.share(~called, healthy),
        (where, "with a mask"): sample.share(drawn, healthy),
    }
    return {key: value for key, value in found.items() if value is not None}


def _called_tumour(sample: Sample) -> np.ndarray:
    return (sample.cases["predicted"] != NO_TUMOUR).to_numpy()


def _calibration(sample: Sample) -> Interval | None:
    rows = calibration_rows(sample.column("confidence"), sample.column("right") == 1)
    return statistic_interval(rows, calibration_error, sample.bootstrap)


def _refuse_known(model: Candidate, records: Sequence[Record]) -> None:
    """Raise `RequestError` if a slice is of a patient that the model was trained on."""
    refuse_training_patients(training_patients(model.card, model.folder), list(records))


def _counts(scores: Sequence[Interval | None]) -> str:
    """Return slices and units of a row, once where they are the same for all models."""
    found = dict.fromkeys("–" if each is None else f"{each.n_slices} ({each.counted})" for each in scores)
    return " / ".join(each for each in found if each != "–")


def _once(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return the rows with the first cell of consecutive equal ones empty."""
    return [("" if i and row[0] == rows[i - 1][0] else row[0], *row[1:]) for i, row in enumerate(rows)]


def _about(models: Sequence[Candidate], lgg: PostContrast | None, step: int, home: Candidate | None, seed: int) -> str:
    """Return what was scored, in sentences."""
    made = f"Written by `python -m tools elsewhere` with seed {seed} on {machine()}."
    lines = [
        made,
        "Means with 95% intervals over patients or look-alike clusters; n counts slices, patients or clusters in brackets.",
    ]
    lines += [f"{model.name}: fingerprint `{model.card.fingerprint}`, trained on {model.card.trained_on}." for model in models]
    if lgg is not None:
        lines.append(
            f"Of TCGA-LGG one slice in {step} is scored, without the patients that have no series after contrast "
            f"({lgg.left_out.patients}) and the slices without an image or with a mask of 1 to {LEAST_PX} pixels "
            f"({lgg.left_out.slices})."
        )
    if home is not None:
        lines.append(f"Counterfactual slices are made of the test part of {home.name}.")
        lines += [
            f"The training patients of {model.name} are not known here, and some may be among them."
            for model in models
            if not model.card.training_patients
        ]
    lines += [f"The test part of {model.name} can't be reproduced from these tables." for model in models if model.home is None]
    return " ".join(lines)
