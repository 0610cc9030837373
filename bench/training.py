"""Training rate against the same step on one fixed batch in memory, and the time spent waiting for data."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench.lines import Line
from bench.material import phantoms
from bts.runs import Run
from bts.settings import SETTINGS, Settings
from bts.training import fit as fitting
from bts.training.datamodule import SliceData
from bts.training.device import Machine
from bts.training.module import TaskModule
from bts.training.progress import Curves
from bts.training.stage_runner import make_faster

RATE = 0.95
"""Least share of the fixed batch's rate."""
SMALLER = {"masks at half the resolution": ((128, 64, 48, 32), None), "masks at a quarter": ((128, 64, 48), 1.5)}
"""Smaller decoders -> their channels, and the least that the training rate must be of that of the default decoder."""
WARM_STEPS = 2


@dataclass
class Seen:
    """What a training was made of: taken from the real one, so that the bare step is the same step.

    `rates` are those of bare steps between its epochs, so that a machine that becomes slower does so for both.
    """

    module: TaskModule
    data: SliceData
    machine: Machine
    gradient_clip_val: float
    rates: list[float] = field(default_factory=list)


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of training, and what to know of them."""
    lines: list[Line] = []
    device = ""
    tasks = ("seg",) if quick else ("seg", "cls", "joint")
    for task in tasks:
        settings = _settings(task, work, quick)
        with _watched(steps=2 if quick else 5) as seen:
            made = fitting.fit(settings)
        device = seen[0].machine.lines[0]
        fixed = f"{task}, one fixed batch"
        lines += [Line(fixed, tuple(seen[0].rates), unit="slices/s"), *_lines(made, task, against=fixed, must=RATE)]
        if torch.cuda.is_available():
            lines.append(Line(f"{task}, GPU memory", (torch.cuda.max_memory_allocated() / 2**20,), unit="MiB"))
            torch.cuda.reset_peak_memory_stats()
    for name, (channels, must) in SMALLER.items():  # of the last task
        settings = _settings(task, work, quick)
        settings.model.channels = channels  # type: ignore[attr-defined]
        lines += _lines(fitting.fit(settings), f"{task}, {name}", against=f"{task}, training", must=must)
    return lines, [
        f"{_encoder(quick)}, random weights, batches of {_settings('seg', work, quick).data.batch_size} at "
        f"{_settings('seg', work, quick).data.size} pixels; {device}",
        "training: the whole loop of an epoch without its validation, every slice augmented as the settings say; masks at half "
        f"the resolution or a quarter: decoders {' and '.join(str(list(channels)) for channels, _ in SMALLER.values())}, not "
        f"{list(SETTINGS['joint']().model.channels)}",
        "one fixed batch: forward, loss, backward, clipping and optimiser of a copy of the same module, no Lightning, "
        "no loader; some steps after each epoch of the training, so that both meet the same machine",
    ]


def _lines(made: Run, what: str, *, against: str, must: float | None = None) -> list[Line]:
    rows = Curves(made.curves).rows[1:]  # the first epoch warms up
    return [
        Line(f"{what}, training", _column(rows, "slices_per_s"), unit="slices/s", against=against, must=must),
        Line(f"{what}, waiting for data", _column(rows, "waiting_share"), unit="share"),
    ]


def _encoder(quick: bool) -> str:
    return "test_resnet" if quick else "mobilenetv2_100"


def _settings(task: str, work: Path, quick: bool) -> Settings:
    settings = SETTINGS[task]()  # type: ignore[index]
    settings.runs = str(work / "runs")
    settings.data.root = str(phantoms(work, patients=9 if quick else 50, slices=2 if quick else 4))
    settings.data.cache = ""
    settings.data.size, settings.data.batch_size = (32, 2) if quick else (224, 16)
    settings.model.encoder, settings.model.weights = _encoder(quick), "none"  # type: ignore[attr-defined]
    settings.optim.epochs = 2 if quick else 4
    settings.optim.warmup_epochs = 0
    settings.trainer.images, settings.trainer.patience = 1, 0
    settings.split.leaks = "allow"  # the audit of a split has a benchmark of its own
    return settings


@contextlib.contextmanager
def _watched(*, steps: int) -> Iterator[list[Seen]]:
    """Let the real training run, keep a copy of its module, its data and machine, and time bare steps after each epoch."""
    seen: list[Seen] = []
    run_stage = fitting.run_stage

    def keep(module: TaskModule, data: SliceData, **rest: Any) -> Any:
        found = Seen(copy.deepcopy(module), data, rest["machine"], rest["settings"].optim.gradient_clip_val)
        make_faster(found.module.network, found.machine)
        seen.append(found)
        module.on_train_epoch_end = lambda: found.rates.extend(_bare_step(found, steps=steps))  # type: ignore[method-assign]
        return run_stage(module, data, **rest)

    with mock.patch.object(fitting, "run_stage", keep):
        yield seen


def _column(rows: list[Any], name: str) -> tuple[float, ...]:
    return tuple(float(row[name]) for row in rows)


def _bare_step(seen: Seen, *, steps: int) -> list[float]:
    """Return the slices a second of single steps on one batch, with the precision and layout of the training."""
    module, machine = seen.module, seen.machine
    device = {"gpu": "cuda"}.get(machine.device, machine.device)
    module.to(device).train()
    batch = {name: value.to(device) for name, value in next(iter(seen.data.train_dataloader())).items()}
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    types = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    rates = []
    for _ in range(WARM_STEPS + steps):
        began = time.perf_counter()
        kind = types.get(machine.precision)
        with nullcontext() if kind is None else torch.autocast(device, kind):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        if seen.gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(module.parameters(), seen.gradient_clip_val)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(len(batch["image"]) / (time.perf_counter() - began))
    return rates[WARM_STEPS:]
