"""Where does a run keep what, and which run is the latest worth using?"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from bts.atomic import write_text
from bts.errors import RequestError
from bts.glossary import Task


@dataclass(frozen=True)
class Run:
    """The folder `<runs>/<task>/<time>` of one training: every path in it by name.

    A run is finished once `finished.json` stands, which evaluation writes after the test part was scored.
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
        """Folder of what resuming needs: `stage1` and `stage2`, each with `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Model folder: alone enough to predict."""
        return self.path / "model"

    @property
    def model_stage1(self) -> Path:
        """Model folder of the best epoch of stage 1, there only where stage 1 was run."""
        return self.path / "model_stage1"

    @property
    def scores(self) -> Path:
        """Folder of the tables that evaluation writes."""
        return self.path / "scores"

    @property
    def curves(self) -> Path:
        """Losses and scores of each epoch, CSV."""
        return self.path / "curves.csv"

    @property
    def log(self) -> Path:
        """What was said while it ran."""
        return self.path / "run.log"

    @property
    def finished(self) -> Path:
        """Marker with `task`, `synthetic` and `time`, JSON; written last."""
        return self.path / "finished.json"

    def finish(self, *, task: Task, synthetic: bool) -> None:
        """Mark the run as finished (atomically): from now on `find_latest` may return it."""
        marker = {"task": task, "synthetic": synthetic, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_text(self.finished, json.dumps(marker) + "\n")

    def marker(self) -> dict[str, object] | None:
        """Return what `finish` wrote, or None where the run is not finished or the marker can't be read."""
        try:
            found = json.loads(self.finished.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def new_run(root: str | Path, task: Task) -> Run:
    """Create `<root>/<task>/<time>` and return it; two runs that start in the same second get two folders.

    Raises RequestError where the folder can't be made (read-only, a file in the way, a full disk).
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
            f"{folder}: no run folder can be made there ({error.strerror}): choose another with --runs"
        ) from error
    raise RequestError(f"{folder}: a thousand runs in one second: wait a second")


def find_latest(root: str | Path, task: Task) -> Run | None:
    """Return the latest finished run of `task` on real data, else the latest finished one on phantoms, else None.

    A phantom run knows nothing of patients, so an old real one is always the better answer.
    """
    found: list[tuple[bool, str, str, Run]] = []
    folder = Path(root) / task
    for path in folder.iterdir() if folder.is_dir() else ():
        run = Run(path)
        marker = run.marker()
        if marker and marker.get("task") == task and (run.model / "model.json").is_file():
            found.append((not marker.get("synthetic"), str(marker.get("time", "")), path.name, run))
    return max(found, key=lambda item: item[:3])[3] if found else None
