"""Inference of `bts infer` on a Ray cluster: actors that hold the models write the result of each input to the shared disk."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.infer_job import Outcome, make_job
from bts.apps.run import say
from bts.cluster import Cluster
from bts.errors import RequestError
from bts.inference.parallel import MAX_WORKERS
from bts.progress import phase

if TYPE_CHECKING:
    from bts.data.readers.series import SeriesFiles

Item = tuple[Path, Path, "Path | SeriesFiles | None"]
"""Input, its result folder, and its file on the disk where that has another name."""


def infer_on_cluster(
    options: Namespace, *, cluster: Cluster, folders: Mapping[Path, Path], files: Mapping[Path, Path | SeriesFiles]
) -> Iterator[Outcome]:
    """Write the result of each input, and yield their outcomes as they come; with --resume, of the unfinished ones only.

    Raises:
        RequestError: as loading the models does, or a folder that can't be written to.
    """
    items: list[Item] = [(path, folder, files.get(path)) for path, folder in folders.items()]
    skipped = 0
    with phase("inferring", len(items), unit="scans") as inferred:
        for outcome in cluster.map_actors(partial(Worker, options), items):
            inferred.advance()
            skipped += outcome.skipped
            if not outcome.skipped:
                yield outcome
    if skipped:
        say(f"{skipped} of {len(items)} scans were already finished")


def refuse_archives(paths: list[Path]) -> None:
    """Raise `RequestError` for an archive, which would be unpacked on this machine only."""
    from bts.inference.inputs import ARCHIVE

    for path in paths:
        if path.suffix.lower() == ARCHIVE:
            raise RequestError(f"{path}: --engine ray takes no archives: unpack it on the disk that all machines share")


class Worker:
    """Models of one actor, and the outcome of each input that it is given."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.job = make_job(options, slices=MAX_WORKERS)

    def __call__(self, items: list[Item]) -> list[Outcome]:
        """Write the results of some inputs, and return their outcomes."""
        self.job.folders = {path: folder for path, folder, _ in items}
        self.job.files = {path: file for path, _, file in items if file is not None}
        done = [path for path in self.job.folders if self.options.resume and self.job.is_finished(path)]
        left = [path for path in self.job.folders if path not in done]
        written = [outcome for outcomes in self.job.outcomes(left) for outcome in outcomes]
        return [*(Outcome(path, skipped=True) for path in done), *written]
