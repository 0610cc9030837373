"""Decoders, resolutions and encoders by what they reach in the same training time: rates and validation scores of runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from bts.apps.run import DONE, OneLineParser
from bts.cpu import kept_memory
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.intervals import Interval, difference_interval, make_sample, numbers, ratio, statistic_interval, with_counts
from bts.evaluation.provenance import machine
from bts.inference.model_selection import model_folder
from bts.inference.predictor import load_model
from bts.models.base import Network
from bts.models.folder import load_network
from bts.report.rendering import Raw, table
from bts.settings import JointSettings, OptimSettings
from bts.training.device import cpu_computes_bf16
from bts.training.strided_depthwise import to_float32
from bts.training.tasks import Joint, build_joint
from tools.documents import write_table

EPILOG = """
examples:
  python -m tools ablation half=runs/half/joint/TIME,runs/half_again/joint/TIME full=runs/full/joint/TIME \\
      --data figshare:data/figshare --out docs/experiments.md
"""
BLOCK = "ablation"
BATCH, ROUNDS = 16, 6
"""Slices of a timed step, and rounds of which the fastest counts."""
SCORES = {"dice": "Dice", "right": "class right"}
"""Column of the cases -> head of its columns."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One network of the comparison, trained once or with several seeds.

    Attributes:
        name: head of its row.
        parameters: of the network.
        slices: training slices seen, mean over the seeds.
        step_s: processor time of a training step of 16 slices on one thread.
        cases: validation slices in the order of the records, each score the mean over the seeds.
        seeds: trainings.
    """

    name: str
    parameters: int
    slices: float
    step_s: float
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
    steps = step_times([model_folder(runs[0]) for _, runs in named])
    arms = [replace(_arm(name, runs, source, records), step_s=step) for (name, runs), step in zip(named, steps, strict=True)]
    text = ablation(arms, seed=options.seed)
    print(text)
    write_table(options.out, text, BLOCK)
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
    tables, slices, parameters = [], [], 0
    for run in runs:
        folder = model_folder(run)
        network, _ = load_network(folder)
        parameters = sum(value.numel() for value in network.parameters())
        tables.append(evaluate_cases(load_model(folder, device="cpu", runtime="torch"), source, records))
        curves = pd.read_csv(run / "curves.csv")
        slices.append(slices_an_epoch(run) * len(curves))
    cases = tables[0].copy()
    for column in SCORES:
        cases[column] = np.mean([numbers(each, column) for each in tables], axis=0)
    return Arm(name, parameters, float(np.mean(slices)), np.nan, cases, len(runs))


def step_times(folders: Sequence[Path], *, rounds: int = ROUNDS) -> list[float]:
    """Return the processor time in seconds of a training step of each joint network, the least of several rounds.

    A step is forward, loss, backward and optimiser, for a batch of 16 random slices, on one thread, in the precision
    of a training on this machine. The networks take turns, so that a change of the machine's speed affects all of them.
    """
    bf16 = cpu_computes_bf16()
    modules = [_module(load_network(folder)[0], bf16=bf16) for folder in folders]
    optimizers = [module.configure_optimizers() for module in modules]
    least = [np.inf] * len(modules)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kept_memory():
            for _ in range(rounds):
                times = [_step_s(*each, bf16=bf16) for each in zip(modules, optimizers, strict=True)]
                least = [min(each) for each in zip(least, times, strict=True)]
    finally:
        torch.set_num_threads(before)
    return least


def _module(network: Network, *, bf16: bool) -> Joint:
    network.to(memory_format=torch.channels_last)
    if bf16:
        to_float32(network)
    counts = [1] * network.architecture.num_classes
    return build_joint(JointSettings(), network, optim=OptimSettings(), monitor="joint", counts=counts).train()


def _step_s(module: Joint, optimizer: torch.optim.Optimizer, *, bf16: bool) -> float:
    side = module.network.architecture.size
    images, masks = torch.rand(BATCH, 1, side, side), (torch.rand(BATCH, 1, side, side) > 0.9).float()
    labels = torch.randint(module.network.architecture.num_classes, (BATCH,))
    batch = {"image": images, "mask": masks, "has_mask": torch.ones(BATCH, dtype=torch.bool), "label": labels}
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = module.losses(module(images), batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    return time.process_time() - began


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
                Raw(f"{arm.step_s:.2f}"),
                Raw(f"{arm.slices:,.0f}"),
                Raw(f"{arm.slices / BATCH * arm.step_s / 60:.1f}"),
                *cells,
                arm.seeds,
            )
        )
    scores = [text for head in SCORES.values() for text in (head, f"{head}, difference")]
    head = ("network", "parameters, million", "step, s", "training slices seen", "minutes", *scores, "seeds")
    about = (
        f"Written by `python -m tools ablation` with seed {seed} on {machine()}: {len(arms[0].cases)} validation slices, the "
        "best epoch of each training, 95% intervals over patients. A step is of 16 slices, in processor time of one thread; "
        "minutes are those of all steps of a training at that time. With several seeds a slice's score is their mean; the "
        "intervals do not hold the variation between trainings."
    )
    return "\n\n".join([table(head, rows), about])
