"""Measurement of a folder in its own process, so that its memory is measured alone."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bts.apps.infer import make_parser
from bts.apps.infer_job import make_job
from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import read_slice
from bts.inference.inputs import expand
from bts.inference.parallel import MAX_WORKERS, map_ordered, workers_for
from bts.inference.resume import ResultFolders
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.inference.runtimes.catalogue import open_runtime

TENTHS = 10
RADIUS = 0.08
"""Of the disc that stands for a tumour, as a share of the picture's side: 900 of 224x224 pixels."""


class WithDisc:
    """A runtime whose mask is a disc, whatever the network says."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        size = int(runtime.card.preprocessing["size"])
        row, column = (np.mgrid[:size, :size] + 0.5) / size
        self.disc = ((row - 0.45) ** 2 + (column - 0.4) ** 2 < RADIUS**2).astype(np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Answer with the network's classes and maps."""
        raw = self.runtime.run(images, cam_class=cam_class)
        return raw._replace(mask_prob=np.broadcast_to(self.disc, (len(images), *self.disc.shape)))


def files(folder: Path, inputs: Path, runtime: str, out: Path, *, pictures: str) -> list[float]:
    """Return the scans a second of each tenth of a folder, from its scans to their files."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["--joint", str(folder), "--runtime", runtime, "--device", "cpu", "--out", str(out), "--pictures", pictures]
    paths, names = expand([inputs]), ResultFolders(out)
    job = make_job(make_parser().parse_args([str(inputs), *options]), slices=len(paths))
    job.folders = {path: names.folder(path) for path in paths}
    job.predictor.runtimes = tuple(WithDisc(each) for each in job.predictor.runtimes)
    times = [time.perf_counter()]
    for outcomes in job.outcomes(paths):
        times += [time.perf_counter()] * len(outcomes)
        if failed := [outcome.failed for outcome in outcomes if outcome.failed]:
            raise RuntimeError(f"scans failed: {failed}")
    step = max(len(paths) // TENTHS, 1)
    ends = list(range(step, len(times), step))
    return [step / (times[end] - times[end - step]) for end in ends]


def bare(folder: Path, inputs: Path, runtime: str) -> list[float]:
    """Return the scans a second of the network alone, as fast as any way of asking it goes."""
    workers = workers_for(MAX_WORKERS)
    one, many = (open_runtime(runtime, folder, device="cpu", workers=number) for number in (1, workers))
    preprocessing = Preprocessing.from_dict(one.card.preprocessing)
    images = np.stack([preprocessing.image(read_slice(path).image) for path in expand([inputs])[:32]])
    eights = [images[start : start + 8] for start in range(0, len(images), 8)]
    singles = [image[None] for image in images]
    ways: list[Callable[[], object]] = [
        lambda: [one.run(each) for each in singles],
        lambda: [one.run(each) for each in eights],
        lambda: list(map_ordered(many.run, singles, workers=workers)),
    ]
    rates: list[list[float]] = [[] for _ in ways]
    for turn in range(4):
        for way, found in zip(ways, rates, strict=True):
            began = time.perf_counter()
            way()
            if turn:  # the first one warms up
                found.append(len(images) / (time.perf_counter() - began))
    return max(rates, key=lambda found: float(np.median(found)))


def main(argv: list[str]) -> None:
    """Measure the `bare` network, or files with that choice of pictures, and print the rates as the last line."""
    what, folder, inputs, runtime, out = argv
    if what == "bare":
        found = bare(Path(folder), Path(inputs), runtime)
    else:
        found = files(Path(folder), Path(inputs), runtime, Path(out), pictures=what)
    print(json.dumps({"rates": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
