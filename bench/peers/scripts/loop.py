"""What the peers' scripts share: job, set, clock, predictions. NumPy and the standard library only.

A script runs in its peer's own environment, as `SCRIPT PHASE JOB.json`, and has the phases `prepare` (the set in the peer's own
layout), `train`, `predict` (the test part with every snapshot, and the time of one scan), and `cold` (one scan, from the start
of a process to a written mask).
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WARM_SCANS, FIRST_SCANS = 25, 5
LOADED_S = time.perf_counter()
"""When the script was started, or nearly."""


class Job:
    """A job from its JSON file: `set`, `work`, `minutes`, `cores`, `weights`, `quick`, and the peer's own options."""

    def __init__(self, path: Path) -> None:
        found = json.loads(path.read_text(encoding="utf-8"))
        self.set, self.work = Path(found["set"]), Path(found["work"])
        self.minutes: list[float] = found["minutes"]
        self.cores: int = found["cores"]
        self.quick: bool = found["quick"]
        self.weights = Path(found["weights"]) if found["weights"] else None
        self.options: dict[str, Any] = found["options"]
        self.snapshots, self.predictions = self.work / "snapshots", self.work.parent / "predictions"

    def save(self, name: str, **found: Any) -> None:
        """Write what a phase has found, for the command."""
        (self.work.parent / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def saved(self, name: str) -> dict[str, Any]:
        """Return what a phase has written."""
        return json.loads((self.work.parent / f"{name}.json").read_text(encoding="utf-8"))

    def encoder_weights(self) -> Path | None:
        """Return the file of the encoder's ImageNet weights, or None where the folder of weights has none."""
        path = self.weights and self.weights / f"{self.options['encoder']}_imagenet.safetensors"
        return path if path and path.is_file() else None


class Slices:
    """The slices of one part: images (N, S, S) uint8, masks (N, S, S) bool, class numbers (N,), and names."""

    def __init__(self, job: Job, part: str) -> None:
        with (job.set / "split.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] == part]
        found = json.loads((job.set / "set.json").read_text(encoding="utf-8"))
        places = [int(row["path"].partition("#")[2]) for row in rows]
        with np.load(job.set / "slices.npz", allow_pickle=False) as arrays:
            self.images, self.masks = arrays["images"][places], arrays["masks"][places] > 0
        self.classes: list[str] = found["classes"]
        self.labels = np.array([self.classes.index(row["label"]) for row in rows])
        self.names = [f"slice{place:04d}" for place in places]

    def __len__(self) -> int:
        return len(self.names)


class Clock:
    """Time of a training, from its first step; what happens in `paused` does not count."""

    def __init__(self, minutes: list[float]) -> None:
        self._left = sorted(minutes)
        self._began: float | None = None
        self._paused, self.before_s = 0.0, 0.0
        self.taken: dict[str, dict[str, Any]] = {}
        self.slices = 0

    def start(self) -> None:
        """Start the time."""
        self._began = time.perf_counter()
        self.before_s = self._began - LOADED_S

    @property
    def started(self) -> bool:
        """Whether the first step has begun."""
        return self._began is not None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return 0.0 if self._began is None else time.perf_counter() - self._began - self._paused

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time inside the block."""
        began = time.perf_counter()
        yield
        self._paused += time.perf_counter() - began

    @property
    def over(self) -> bool:
        """Whether the last snapshot is taken."""
        return not self._left

    def step(self, slices: int, take: Callable[[str], str]) -> bool:
        """Count the slices of a training step, take a snapshot where one is due, and return whether the time is over.

        `take` is called with the name of the snapshot, and returns a note, such as which weights it holds.
        """
        self.slices += slices
        while self._left and self.seconds >= 60 * self._left[0]:
            self._take(take)
        return self.over

    def end(self, take: Callable[[str], str]) -> None:
        """Take the snapshots that are left: the training has ended by itself."""
        while self._left:
            self._take(take)

    def _take(self, take: Callable[[str], str]) -> None:
        seconds, name = self.seconds, f"{self._left.pop(0):g}"
        with self.paused():
            note = take(name)
        self.taken[name] = {"minutes": seconds / 60, "slices": self.slices, "note": note}

    def save(self, job: Job, **more: Any) -> None:
        """Write `train.json`."""
        job.save("train", slices=self.slices, seconds=self.seconds, before_s=self.before_s, snapshots=self.taken, **more)


def save_prediction(
    job: Job, name: str, *, masks: np.ndarray, probabilities: np.ndarray | None = None, maps: np.ndarray | None = None
) -> None:
    """Write the predictions of one snapshot in the test's order: masks (N, S, S), probabilities (N, K), maps (N, S, S)."""
    arrays: dict[str, np.ndarray] = {"masks": masks.astype(bool)}
    if probabilities is not None:
        arrays["probabilities"] = probabilities.astype(np.float32)
    if maps is not None:
        arrays["maps"] = maps.astype(np.float16)
    job.predictions.mkdir(parents=True, exist_ok=True)
    part = job.predictions / f"{name}.part"
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    part.replace(job.predictions / f"{name}.npz")


def warm_times(predict: Callable[[int], object], count: int) -> list[float]:
    """Return the milliseconds of single scans, after some that do not count; `predict` gets a number below `count`."""
    times = []
    for turn in range(FIRST_SCANS + WARM_SCANS):
        began = time.perf_counter()
        predict(turn % count)
        times.append(1000 * (time.perf_counter() - began))
    return times[FIRST_SCANS:]


def file_mib(*paths: Path) -> float:
    """Return the size of files in MiB."""
    return sum(path.stat().st_size for path in paths) / 2**20


def write_pngs(folder: Path, names: list[str], pictures: np.ndarray, *, suffix: str = "") -> list[Path]:
    """Write pictures (N, S, S) uint8 as PNG files and return their paths."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}.png" for name in names]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def main(phases: dict[str, Callable[[Job], None]]) -> None:
    """Run the phase that the command line names."""
    phases[sys.argv[1]](Job(Path(sys.argv[2])))
