"""Latency and memory of inference on a GPU, against the baseline."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.clock import in_turn
from bench.lines import Line
from bench.material import Kind, model
from bench.one_scan import PLAIN
from bench.plain import plain_way
from bts.inference.runtimes.catalogue import open_runtime

BATCHES = (1, 32)


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of inference on the GPU, and what to know of them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not quick:
        return [], ["not measured: no GPU found"]
    kinds = {"joint ResNet50": Kind("joint", "resnet50"), "joint MobileNetV2": Kind("joint", "mobilenetv2_100")}
    if quick:
        kinds = {"joint ResNet50": Kind("joint", "test_resnet", 64)}
    size = next(iter(kinds.values())).size
    plain = plain_way(encoder="resnet18" if quick else "resnet50", device=device)
    runtimes = {f"{what}, torch": open_runtime("torch", model(work, kind), device=device) for what, kind in kinds.items()}
    lines = []
    for batch in BATCHES[:1] if quick else BATCHES:
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size), dtype=np.uint8)
        calls: dict[str, Callable[[], object]] = {PLAIN: functools.partial(plain, images)}
        calls |= {what: functools.partial(runtime.run, images) for what, runtime in runtimes.items()}
        times = in_turn(calls, rounds=1 if quick else 5, each=2 if quick else 10)
        named = {what: f"{what}, batch of {batch}" for what in calls}
        lines.append(Line(named[PLAIN], tuple(times.pop(PLAIN))))
        lines += [Line(named[what], tuple(found), against=named[PLAIN]) for what, found in times.items()]
        if device == "cuda":
            lines += [Line(f"{named[what]}, GPU memory", (_peak_mib(call),), unit="MiB") for what, call in calls.items()]
    return lines, [f"device {device}; pictures as bytes in, mask, class scores and Grad-CAM out, random weights, {size} pixels"]


def _peak_mib(call: Callable[[], object]) -> float:
    """Return the largest memory that torch holds during a call, weights of all contestants included."""
    torch.cuda.reset_peak_memory_stats()
    call()
    return float(torch.cuda.max_memory_allocated() / 2**20)
