"""Run folders: the paths in them, new ones, and the latest finished one."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bts.atomic import write_text
from bts.errors import RequestError
from bts.glossary import Task


@dataclass(frozen=True)
class Run:
    """The folder `<runs>/<task>/<time>` of one training.

    A run is finished once `finished.json` exists, which is written after the test part was scored.
    """

    path: Path

    @property
    def settings_file(self) -> Path:
        """Settings as resolved, YAML."""
        return self.path / "settings.yaml"

    @property
    def split_file(self) -> Path:
        """Patients and slices of each part, CSV."""
        return self.path / "split.csv"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints: `stage1` and `stage2`, each with `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Model folder; it is all that inference needs."""
        return self.path / "model"

    @property
    def model_stage1(self) -> Path:
        """Model folder of the best epoch of stage 1, if stage 1 was run."""
        return self.path / "model_stage1"

    @property
    def scores(self) -> Path:
        """Folder of the evaluation's tables."""
        return self.path / "scores"

    @property
    def curves(self) -> Path:
        """Losses and scores per epoch, CSV."""
        return self.path / "curves.csv"

    @property
    def log(self) -> Path:
        """Log of the training."""
        return self.path / "run.log"

    @property
    def finished(self) -> Path:
        """Marker with `task`, `synthetic` and `time`, JSON; written last."""
        return self.path / "finished.json"

    def finish(self, *, task: Task, synthetic: bool) -> None:
        """Mark the run as finished: from now on `find_latest` may return it."""
        marker = {"task": task, "synthetic": synthetic, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_text(self.finished, json.dumps(marker) + "\n")

    def marker(self) -> dict[str, object] | None:
        """Return what `finish` wrote, or None where the run is not finished or the file is damaged."""
        try:
            found = json.loads(self.finished.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def new_run(root: str | Path, task: Task) -> Run:
    """Create `<root>/<task>/<time>` and return it; two runs that start in the same second get two folders.

    Raises `RequestError` where the folder can't be created (read-only, a file of that name, a full disk).
    """
    folder, stamp = Path(root) / task, time.strftime("%Y-%m-%d_%H-%M-%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            run = Run(folder / (stamp if number == 1 else f"{stamp}-{number}"))
            try:
                run.path.mkdir()
            except FileExistsError:
                continue
            return run
    except OSError as error:
        raise RequestError(
            f"{folder}: can't create a run folder there ({error.strerror}): choose another with --runs"
        ) from error
    raise RequestError(f"{folder}: 999 runs were started within one second: try again")


def finished_runs(root: str | Path, task: Task) -> list[Run]:
    """Return the finished runs of `task` that hold a model, sorted by name."""
    folder = Path(root) / task
    found = [Run(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [run for run in found if (run.marker() or {}).get("task") == task and (run.model / "model.json").is_file()]


def find_latest(root: str | Path, task: Task) -> Run | None:
    """Return the latest finished run of `task` on real data, else the latest finished one on phantoms, else None."""

    def rank(run: Run) -> tuple[bool, float, str]:
        marker = run.marker() or {}
        return not marker.get("synthetic"), seconds_of(str(marker.get("time", ""))), run.path.name

    return max(finished_runs(root, task), key=rank, default=None)


def seconds_of(text: str) -> float:
    """Return a time with its zone as seconds since 1970, so that runs of several zones compare; -1 for what is no time.

    A time without a zone is one of this machine's zone.

    >>> seconds_of("2026-01-02T00:30:00+0200") == seconds_of("2026-01-01T22:30:00+0000")
    True
    """
    for form in ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).timestamp()
        except (ValueError, OverflowError):
            continue
    return -1.0
