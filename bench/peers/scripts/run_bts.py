"""`bts train`, from the command line; the clock starts with the first epoch.

A snapshot is a copy of the run folder, made while the training goes on: its model is that of the best epoch that had ended. It
is finished as an interrupted run is, by `--resume` with no epoch more, which fits thresholds and temperature on validation.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from loop import Clock, Job, Slices, file_mib, main, save_prediction, warm_times, write_pngs

BTS = str(Path(sys.executable).with_name("bts"))
FIRST = re.compile(r"stage \d: ")
"""Beginning of the line of the log after which the first epoch starts."""


def prepare(job: Job) -> None:
    """Read nothing: `bts` reads the set itself."""


def run_of(job: Job) -> Path:
    """Return the run folder of the training."""
    return next((job.work / "runs" / job.options["task"]).iterdir())


def train(job: Job) -> None:
    """Train until the time is over, or the training ends by itself."""
    task, weights = job.options["task"], job.encoder_weights()
    data = ["--data.source", "npz", "--data.root", str(job.set), "--data.cache", str(job.work / "cache")]
    split = ["--split.kind", "file", "--split.file", str(job.set / "split.csv")]
    settings = [
        "--config",
        job.options["config"],
        *data,
        *split,
        "--runs",
        str(job.work / "runs"),
        "--model.weights",
        str(weights or "none"),
    ]
    if job.quick:
        settings += ["--split.leaks", "allow"]  # the audit of all 3,064 slices takes minutes
    job.snapshots.mkdir(parents=True)
    clock, steps = Clock(job.minutes), len(Slices(job, "train"))
    process = subprocess.Popen([BTS, "train", task, *settings], stdout=subprocess.PIPE, text=True)
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    ended_s = 0.0

    def take(name: str) -> str:
        nonlocal ended_s
        copy = job.snapshots / name
        shutil.copytree(run_of(job), copy)
        last = next(copy.glob("checkpoints/*/last.ckpt"), None)
        if last is None:
            return "no epoch had ended"
        rows = (copy / "curves.csv").read_text(encoding="utf-8").splitlines()[1:]
        clock.slices = len(rows) * steps
        ended_s = last.stat().st_mtime - began
        return f"best of {len(rows)} epochs"

    began, line = 0.0, ""
    while line is not None and not clock.over:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            line = ""
        if line and FIRST.match(line) and not clock.started:
            clock.start()
            began = time.time()
        if clock.started:
            clock.step(0, take)
    if not clock.started:
        raise SystemExit(f"error: `bts train {task}` ended before its first epoch with status {process.wait()}")
    clock.end(take)
    process.terminate()
    process.wait()
    clock.save(job, device="auto", weights="ImageNet weights" if weights else "random weights", batch=16, rate_seconds=ended_s)


def finished(job: Job, name: str) -> Path | None:
    """Return a snapshot as a finished run with its ONNX file, or None where no epoch had ended."""
    from bts.training.checkpoints import best_so_far

    task, run = job.options["task"], job.snapshots / name
    found = next((best_so_far(folder) for folder in (run / "checkpoints").glob("*")), None)
    if found is None:
        return None
    if not (run / "finished.json").is_file():
        subprocess.run([BTS, "train", task, "--resume", str(run), "--optim.epochs", str(found.epochs)], check=True)
    if not (run / "model" / "model.onnx").is_file():
        subprocess.run([BTS, "export", str(run)], check=True)
    return run


def predict(job: Job) -> None:
    """Predict the test part with the fastest runtime."""
    import bts
    from bts.data.slice import Slice

    test, run = Slices(job, "test"), None
    for name in job.saved("train")["snapshots"]:
        run = finished(job, name)
        if run is None:
            continue
        predictor = bts.Predictor.load(**{job.options["task"]: run}, runtime="auto")
        found = [predictor.predict(Slice(image, "npz", "")) for image in test.images]
        has_class = job.options["task"] == "joint"
        order = [found[0].classes.index(label) for label in test.classes] if has_class else []
        save_prediction(
            job,
            name,
            masks=np.stack([each.mask for each in found]),
            probabilities=np.stack([each.class_prob[order] for each in found]) if has_class else None,
            maps=np.stack([each.cam for each in found]) if has_class else None,
        )
    write_pngs(job.work / "one", test.names[:1], test.images[:1])
    if run is None:
        job.save("predict", warm_ms=[], model_mib=0.0, runtime="")
        return
    times = warm_times(lambda number: predictor.predict(Slice(test.images[number], "npz", "")), len(test))
    job.save("predict", warm_ms=times, model_mib=file_mib(run / "model" / "model.onnx"), runtime=found[0].runtime)


def cold(job: Job) -> None:
    """Predict one file with `bts infer`."""
    (scan,), run = (job.work / "one").glob("*.png"), job.snapshots / f"{job.minutes[-1]:g}"
    os.execv(BTS, [BTS, "infer", str(scan), f"--{job.options['task']}", str(run), "--out", str(job.work / "one_out")])


if __name__ == "__main__":
    main({"prepare": prepare, "train": train, "predict": predict, "cold": cold})
