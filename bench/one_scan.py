"""Latency of one scan, warm and from a cold process, against the baseline."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.clock import in_turn, once
from bench.lines import Line
from bench.material import Kind, model, phantoms

ROOT = Path(__file__).resolve().parents[1]
PLAIN = "plain: U-Net, ResNet50, MONAI GradCAM"
RUNTIMES = ("torch", "onnx", "openvino-f32", "openvino")
MUST = {
    "two networks, onnx": 0.27,
    "two networks, openvino": 0.14,
    "joint ResNet50, onnx": 0.19,
    "joint ResNet50, openvino": 0.10,
    "joint MobileNetV2, onnx": 0.065,
    "joint MobileNetV2, openvino": 0.03,
}
"""Largest ratio to the plain way, of the networks with their Grad-CAM."""
COLD_S = 1.5
COLD_RUNTIMES = ("onnx", "openvino-f32", "torch")


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of one scan, and what to know of them."""
    kinds = _kinds(quick)
    size = next(iter(kinds.values()))[0].size
    images = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
    calls = _calls(work, kinds, images, plain_encoder="resnet18" if quick else "resnet50")
    times = in_turn(calls, rounds=2 if quick else 5, each=1 if quick else 5)
    lines = [Line(PLAIN, tuple(times.pop(PLAIN)))]
    lines += [Line(what, tuple(found), against=PLAIN, must=MUST.get(what)) for what, found in times.items()]
    return lines + _whole(work, kinds, quick) + _cold(work, kinds, quick), [
        "warm: pictures as bytes in, mask, class scores and Grad-CAM out, batch 1, random weights; the implementations are "
        "timed alternately",
        "whole: a decoded slice in, a finished Prediction in the slice's own size out (512x512), nothing written",
        "cold: from the start of the process to its end, one .mat read, four files written",
    ]


def _kinds(quick: bool) -> dict[str, list[Kind]]:
    if quick:
        return {"joint ResNet50": [Kind("joint", "test_resnet", 64)]}
    return {
        "two networks": [Kind("seg", "resnet50"), Kind("cls", "resnet50")],
        "joint ResNet50": [Kind("joint", "resnet50")],
        "joint MobileNetV2": [Kind("joint", "mobilenetv2_100")],
    }


def _calls(
    work: Path, kinds: dict[str, list[Kind]], images: np.ndarray, *, plain_encoder: str
) -> dict[str, Callable[[], object]]:
    """Return what is timed: the plain way, and every choice of models in every runtime."""
    from bench.plain import plain_way
    from bts.inference.runtimes.catalogue import open_runtime

    calls: dict[str, Callable[[], object]] = {PLAIN: functools.partial(plain_way(encoder=plain_encoder), images)}
    for what, models in kinds.items():
        folders = [model(work, kind) for kind in models]
        for name in RUNTIMES:
            opened = [open_runtime(name, folder, device="cpu") for folder in folders]
            calls[f"{what}, {name}"] = functools.partial(lambda runtimes: [each.run(images) for each in runtimes], opened)
    return calls


def _whole(work: Path, kinds: dict[str, list[Kind]], quick: bool) -> list[Line]:
    from bts.data.readers.catalogue import read_slice
    from bts.inference.predictor import Predictor
    from bts.inference.runtimes.catalogue import open_runtime

    item = read_slice(_scan(work))
    joint = {what: models[0] for what, models in kinds.items() if len(models) == 1}
    calls = {}
    for what, kind in joint.items():
        predictor = Predictor([open_runtime("onnx", model(work, kind), device="cpu")])
        calls[f"{what}, onnx, whole"] = functools.partial(predictor.predict, item)
    times = in_turn(calls, rounds=1 if quick else 5, each=2 if quick else 5)
    return [Line(what, tuple(found), against=PLAIN) for what, found in times.items()]


def _cold(work: Path, kinds: dict[str, list[Kind]], quick: bool) -> list[Line]:
    lines = []
    for what, models in kinds.items():
        if len(models) > 1:
            continue
        for name in COLD_RUNTIMES[:1] if quick else COLD_RUNTIMES:
            call = functools.partial(_infer, work, model(work, models[0]), name)
            seconds = tuple(once(call) for _ in range(2 if quick else 6))[1:]  # the first finds nothing in the disk's cache
            lines.append(Line(f"cold, {what}, {name}", seconds, unit="s", must=COLD_S if name == "onnx" else None))
    return lines


def _infer(work: Path, folder: Path, runtime: str) -> None:
    out = work / "cold"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, str(ROOT / "infer.py"), str(_scan(work)), "--joint", str(folder), "--runtime", runtime]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--device", "cpu", "--out", str(out)], check=True, capture_output=True, env=environment)


def _scan(work: Path) -> Path:
    return phantoms(work, patients=3, slices=1) / "1.mat"
