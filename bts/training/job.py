"""Check of a request before any data are read, and its run folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bts.errors import BtsError, RequestError
from bts.fields import leaves, problems
from bts.glossary import Task
from bts.runs import Run, new_run
from bts.settings import Settings
from bts.training.device import Machine, choose_machine, is_first, shared_folder
from bts.training.loggers import check_loggers
from bts.training.run_data import check_same_settings, write_settings
from bts.training.schedule import Stage, deviations, plan_stages
from bts.training.tasks import adopt_names, build_architecture, task_of


@dataclass(frozen=True)
class Job:
    """A training request, checked as far as possible without reading data."""

    settings: Settings
    task: Task
    machine: Machine
    monitor: str
    stages: list[Stage]
    stages_line: str

    @property
    def deviations(self) -> list[str]:
        """Phrases for the model folder on what this training leaves out or changes of its settings."""
        settings = self.settings
        found = deviations(settings.freeze, settings.optim, pretrained=is_pretrained(settings))
        return found + (["epochs cut short by trainer.limit_batches"] if settings.trainer.limit_batches is not None else [])

    @classmethod
    def plan(cls, settings: Settings) -> Job:
        """Check the settings and this machine; raises RequestError."""
        task = task_of(settings)
        found = problems(settings)
        if found := found + adopt_names(dict(leaves(settings)), found):
            raise RequestError("; ".join(found))
        check_loggers(settings.trainer.loggers)
        build_architecture(settings, ("any", "two"))  # refuse what cannot be built before any data are read
        stages, line = plan_stages(settings.freeze, settings.optim, pretrained=is_pretrained(settings))
        monitor = settings.monitors[0] if settings.trainer.monitor == "auto" else settings.trainer.monitor
        return cls(settings, task, choose_machine(settings.trainer), monitor, stages, line)


def is_pretrained(settings: Settings) -> bool:
    """Return whether the settings start from pretrained weights."""
    return bool(settings.model.weights != "none")  # type: ignore[attr-defined]


@contextlib.contextmanager
def run_folder(job: Job, resume: Path | None, lines: list[str]) -> Iterator[Run]:
    """Open the run folder; a new one is removed if the request fails before anything was trained."""
    run = Run(shared_folder(lambda: _open_run(job, resume, lines), job.machine))
    try:
        yield run
    except BtsError:
        if resume is None and is_first() and not run.checkpoints.is_dir():
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _open_run(job: Job, resume: Path | None, lines: list[str]) -> Path:
    """Return the folder of a new run or of the one to resume; log lines on it are added to `lines`."""
    if resume is None:
        run = new_run(job.settings.runs, job.task)
    else:
        run = Run(Path(resume))
        lines += [f"resuming {run.path}", *check_same_settings(run, job.settings)]
        if run.marker() is not None:
            raise RequestError(f"{run.path}: this run is finished, there is nothing to resume; its model is {run.model}")
    write_settings(run, job.settings)
    return run.path
