"""Cost of reading: first epoch, second epoch, second run, and h5py with a resize at every epoch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image

from bench.clock import once
from bench.lines import Line
from bench.material import phantoms
from bts.data.arrays import Arrays, load_arrays
from bts.data.cache import SliceCache
from bts.data.dataset import SliceDataset
from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import read_scan
from bts.data.readers.isolated import read_scan_isolated
from bts.data.sources.catalogue import open_source

FIRST, SECOND, AGAIN, PLAIN = "first epoch", "second epoch", "first epoch of a second run", "h5py and resize, any epoch"
APART = "upload in a process of its own, added to a slice"
SECOND_MUST = 0.1
"""Largest share of the first epoch's reading that the second may take."""
APART_MUST_MS = 150.0
"""Longest time that reading an upload apart may add to reading it in this process."""


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of reading, and what to know of them."""
    root = phantoms(work, patients=3 if quick else 50, slices=1 if quick else 4)
    times: dict[str, list[float]] = {name: [] for name in (FIRST, SECOND, AGAIN, PLAIN)}
    for _ in range(1 if quick else 3):
        for name, seconds in _epochs(root, work / "cache").items():
            times[name].append(seconds)
    must = {SECOND: SECOND_MUST}
    files = sorted(path for path in root.glob("*.mat") if path.name != "cvind.mat")
    count = len(files)
    lines = [
        Line(name, tuple(found), unit="s", against=None if name == FIRST else FIRST, must=must.get(name))
        for name, found in times.items()
    ]
    uploads = files[: 3 if quick else 40]
    return [*lines, Line(APART, _added(uploads), must=APART_MUST_MS)], [
        f"{count} phantoms of 512x512 or 256x256 to tensors of 224x224, not augmented, in one process; the files lie in the "
        "disk's cache",
        f"{APART}: {len(uploads)} phantoms, each read as the page reads an upload and then in this process; the difference, "
        "after a first file that does not count",
        "first epoch: decoded, preprocessed, kept on disk and in memory; second run: from the cache on disk",
    ]


def _added(files: Sequence[Path]) -> tuple[float, ...]:
    """Return for each file the milliseconds that `read_scan_isolated` takes longer than `read_scan`."""
    read_scan_isolated(files[0])
    return tuple(
        1000 * (once(lambda path=path: read_scan_isolated(path, most_values=2**26)) - once(lambda path=path: read_scan(path)))
        for path in files
    )


def _epochs(root: Path, cache: Path) -> dict[str, float]:
    shutil.rmtree(cache, ignore_errors=True)
    arrays: list[Arrays] = []
    first = once(lambda: arrays.append(_read(root, cache))) + once(lambda: _walk(arrays[0]))
    second = once(lambda: _walk(arrays[0]))
    again = once(lambda: _walk(_read(root, cache)))
    files = [root / path for path in arrays[0].paths]
    return {FIRST: first, SECOND: second, AGAIN: again, PLAIN: once(lambda: _plain(files))}


def _read(root: Path, cache: Path) -> Arrays:
    source = open_source("figshare", str(root))
    kept = SliceCache(cache, 1.0)
    return load_arrays(
        source, source.records(), preprocessing=Preprocessing(crop_brain=False), classes=source.classes, cache=kept
    )


def _walk(arrays: Arrays) -> None:
    """Take every slice once, as the loader does."""
    dataset = SliceDataset(arrays)
    for number in range(len(dataset)):
        dataset[number]


def _plain(files: Sequence[Path]) -> None:
    """Read as a data set does that opens the file and resizes at each call."""
    for path in files:
        with h5py.File(path, "r") as file:
            image, mask = file["cjdata/image"][()].T.astype(np.float32), file["cjdata/tumorMask"][()].T
        scaled = (image - image.min()) / max(float(np.ptp(image)), 1.0)
        torch.from_numpy(np.array(Image.fromarray(scaled).resize((224, 224), Image.Resampling.BILINEAR)))
        torch.from_numpy(np.array(Image.fromarray(mask).resize((224, 224), Image.Resampling.NEAREST)))
