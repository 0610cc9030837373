"""Decoders, resolutions and encoders by what they reach in the same training time: rates and validation scores of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bts.apps.run import DONE, OneLineParser
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.intervals import Interval, difference_interval, make_sample, numbers, ratio, statistic_interval, with_counts
from bts.evaluation.provenance import machine
from bts.inference.model_selection import model_folder
from bts.inference.predictor import load_model
from bts.models.folder import load_network
from bts.report.rendering import Raw, table
from tools.documents import has_block, write_block

EPILOG = """
examples:
  python -m tools ablation half=runs/half/joint/TIME,runs/half_again/joint/TIME full=runs/full/joint/TIME \\
      --data figshare:data/figshare --out docs/experiments.md
"""
BLOCK = "ablation"
SCORES = {"dice": "Dice", "right": "class right"}
"""Column of the cases -> head of its columns."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One network of the comparison, trained once or with several seeds.

    Attributes:
        name: head of its row.
        parameters: of the network.
        slices: training slices seen, mean over the seeds.
        minutes: of all epochs with their validation, mean over the seeds.
        per_second: training slices a second, median over epochs.
        cases: validation slices in the order of the records, each score the mean over the seeds.
        seeds: trainings.
    """

    name: str
    parameters: int
    slices: float
    minutes: float
    per_second: float
    cases: pd.DataFrame
    seeds: int


def command(argv: Sequence[str]) -> int:
    """Score the runs, write the table, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools ablation",
        description="Compare networks that were trained on one split in the same time, by rate and by scores on the "
        "validation part, paired with the first one. No test slice is read.",
        epilog=EPILOG,
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN[,RUN]", help="runs of a network, one for each seed")
    parser.add_argument("--data", required=True, metavar="SOURCE:FOLDER", help="the data that they were trained on")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap draws [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"document with the block '{BLOCK}', or a new file")
    options = parser.parse_args(argv)
    named = [_named(text) for text in options.runs]
    split = common_split([run for _, runs in named for run in runs])
    kind, _, folder = options.data.partition(":")
    source = open_source(kind, Path(folder))
    records = records_of(split, source.records(), "val")
    text = ablation([_arm(name, runs, source, records) for name, runs in named], seed=options.seed)
    print(text)
    if options.out is not None:
        if has_block(options.out, BLOCK):
            write_block(options.out, text, BLOCK)
        else:
            options.out.write_text(text + "\n", encoding="utf-8")
    return DONE


def _named(text: str) -> tuple[str, list[Path]]:
    name, equals, runs = text.partition("=")
    if not (name and equals and runs):
        raise RequestError(f"{text}: expected NAME=RUN or NAME=RUN,RUN")
    return name, [Path(run) for run in runs.split(",")]


def common_split(runs: Sequence[Path]) -> Split:
    """Return the split of the runs, which must be the same for all."""
    splits = {run: Split.read(run / "split.csv") for run in runs}
    first = splits[runs[0]]
    for run, split in splits.items():
        if split.fingerprint != first.fingerprint:
            raise RequestError(f"{run}: expected the split of {runs[0]} ({first.fingerprint}), received {split.fingerprint}")
    return first


def _arm(name: str, runs: Sequence[Path], source: Source, records: Sequence[Record]) -> Arm:
    """Return the rates and scores of the trainings of one network."""
    tables, slices, seconds, rates, parameters = [], [], [], [], 0
    for run in runs:
        folder = model_folder(run)
        network, _ = load_network(folder)
        parameters = sum(value.numel() for value in network.parameters())
        tables.append(evaluate_cases(load_model(folder, device="cpu", runtime="torch"), source, records))
        curves = pd.read_csv(run / "curves.csv")
        slices.append(slices_an_epoch(run) * len(curves))
        seconds.append(float(curves["epoch_s"].sum()))
        rates.append(float(curves["slices_per_s"].median()))
    cases = tables[0].copy()
    for column in SCORES:
        cases[column] = np.mean([numbers(each, column) for each in tables], axis=0)
    return Arm(name, parameters, float(np.mean(slices)), float(np.mean(seconds)) / 60, float(np.mean(rates)), cases, len(runs))


def slices_an_epoch(run: Path) -> int:
    """Return how many slices a training saw in an epoch: whole batches of its training part, or its limit of batches."""
    settings = yaml.safe_load((run / "settings.yaml").read_text(encoding="utf-8"))
    size, limit = settings["data"]["batch_size"], settings["trainer"]["limit_batches"]
    batches = sum(row.part == "train" for row in Split.read(run / "split.csv").rows) // size
    return size * (batches if limit is None else min(batches, limit))


def ablation(arms: Sequence[Arm], *, seed: int = 0) -> str:
    """Return the table as Markdown: rates, scores with intervals over patients, and paired differences from the first arm.

    Args:
        arms: trained on one split and scored on the same slices in the same order.
        seed: seed of the bootstrap draws.
    """
    bootstrap = make_sample(arms[0].cases, seed=seed).bootstrap
    rows = []
    for arm in arms:
        cells: list[Interval | str | None] = []
        for column in SCORES:
            own, first = (with_counts(numbers(each.cases, column)) for each in (arm, arms[0]))
            difference = "" if arm is arms[0] else difference_interval(first, own, ratio, bootstrap)
            cells += [statistic_interval(own, ratio, bootstrap), difference]
        rows.append(
            (
                arm.name,
                Raw(f"{arm.parameters / 1e6:.2f}"),
                Raw(f"{arm.per_second:.1f}"),
                Raw(f"{arm.minutes:.1f}"),
                Raw(f"{arm.slices:,.0f}"),
                *cells,
                arm.seeds,
            )
        )
    scores = [text for head in SCORES.values() for text in (head, f"{head}, difference")]
    head = ("network", "parameters, million", "slices/s", "minutes", "slices trained on", *scores, "seeds")
    about = (
        f"Written by `python -m tools ablation` with seed {seed} on {machine()}: {len(arms[0].cases)} validation slices, the "
        "best epoch of each training, 95% intervals over patients. With several seeds a slice's score is their mean; the "
        "intervals do not hold the variation between trainings."
    )
    return "\n\n".join([table(head, rows), about])
