"""Scans per second of a folder, files written, against the bare network, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.lines import Line
from bench.material import Kind, model, scans

ROOT = Path(__file__).resolve().parents[1]
RATE, RATE_UNDRAWN, GROWTH = 0.8, 0.9, 1.1
"""Least share of the bare network's rate, with overlay.png and without it, and largest memory with 500 scans as a multiple of
that with 100."""
RUNTIMES = ("openvino-f32", "onnx", "openvino")


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of a folder, and what to know of them."""
    kind = Kind("joint", "test_resnet", 64) if quick else Kind("joint", "resnet50")
    counts = (6, 12) if quick else (100, 500)
    folder, patients = model(work, kind), 2 if quick else 20
    lines: list[Line] = []
    for name in RUNTIMES[1:2] if quick else RUNTIMES:
        few, many = counts
        bare = _child("bare", folder, scans(work, count=few, patients=patients), name, work)["rates"]
        written = {count: _child("key", folder, scans(work, count=count, patients=patients), name, work) for count in counts}
        undrawn = _child("none", folder, scans(work, count=few, patients=patients), name, work)["rates"]
        bare += _child("bare", folder, scans(work, count=few, patients=patients), name, work)["rates"]
        against = f"bare network, {name}"
        lines.append(Line(against, tuple(bare), unit="scans/s"))
        lines += [
            Line(f"{count} scans to files, {name}", tuple(found["rates"]), unit="scans/s", against=against, must=RATE)
            for count, found in written.items()
        ]
        drawn = f"{few} scans to files, --pictures none, {name}"
        lines.append(Line(drawn, tuple(undrawn), unit="scans/s", against=against, must=RATE_UNDRAWN))
        memory = {count: found["peak_mib"] for count, found in written.items()}
        lines.append(Line(f"peak memory, {few} scans, {name}", (memory[few],), unit="MiB"))
        against = f"peak memory, {few} scans, {name}"
        lines.append(Line(f"peak memory, {many} scans, {name}", (memory[many],), unit="MiB", against=against, must=GROWTH))
    return lines, [
        "files: .mat of 512x512 or 256x256 read, predicted with the joint ResNet50, mask.png, cam.png, overlay.png and "
        "result.json written",
        "bare network: pictures in memory as bytes, nothing read or drawn; the fastest of one caller with all cores (1 or 8 "
        "pictures at a time) and a caller a core with one picture each, once before the files and once after them",
        "weights are random: in place of the random mask a disc of a tumour's size is drawn",
        "spread: of the rates over tenths of the folder",
    ]


def _child(what: str, folder: Path, inputs: Path, runtime: str, work: Path) -> dict[str, Any]:
    """Measure in a process of its own; return its rates, and the peak of its memory in MiB."""
    command = [sys.executable, "-m", "bench.folder_child", what, str(folder), str(inputs), runtime, str(work / "written")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(text.splitlines()[-1]) | {"peak_mib": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)}
