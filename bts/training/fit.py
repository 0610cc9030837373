"""Training from settings to a model folder.

All tasks share one path: source, split, slices in memory, one or two stages of Lightning's loop, model folder. Everything is
written to one run folder, from which an interrupted run is resumed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np

from bts.cpu import OtherLoad, kept_memory
from bts.data.augment import Augmenter
from bts.data.counterfactual import make_counterfactuals
from bts.data.sources.base import Source
from bts.data.split import Split
from bts.errors import Interrupted, RequestError
from bts.glossary import count_of
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.fine_tune import refuse_weights, start_network
from bts.models.networks import build_network
from bts.progress import phase
from bts.runs import Run
from bts.settings import Settings
from bts.training.card import refuse_unwritable, save_model
from bts.training.checkpoints import BestEpoch, best_so_far, load_checkpoint
from bts.training.datamodule import SliceData, choose_workers
from bts.training.device import is_first
from bts.training.divergence import DivergenceError, remedies
from bts.training.job import Job, run_folder
from bts.training.loggers import score_tag, write_description, write_hparams
from bts.training.module import TaskModule
from bts.training.prepare import TrainingData, prepare
from bts.training.progress import log_to_file
from bts.training.schedule import Stage
from bts.training.stage_runner import StopSignals, run_stage
from bts.training.tasks import TASK_SPECS, build_architecture
from bts.training.threads import ThreadControl, controlled_threads
from bts.training.torch_errors import explain

log = logging.getLogger("bts.training")


def fit(settings: Settings, *, resume: Path | None = None, check: Callable[[Source, Split], None] | None = None) -> Run:
    """Train a model as the settings specify and return the run with its model folder.

    Args:
        settings: settings of one task; see `bts.settings`.
        resume: folder of an interrupted run to resume, with its own settings; see `run_data.MAY_CHANGE` for exceptions.
        check: called with source and split before a new run starts; what it raises ends the run.

    Raises:
        RequestError: the settings can't be met, and nothing is left behind; or the training diverged: the best model so far is
            saved, and the message says what to try; or torch ran out of memory, shared memory or disk space.
        Interrupted: Ctrl-C or SIGTERM; the best model so far is saved, and the run can be resumed.
    """
    job, load = Job.plan(settings), OtherLoad()
    if resume is None:
        refuse_weights(settings.model.weights, settings.model.encoder)  # type: ignore[attr-defined]
    lines = list(job.machine.lines)
    with run_folder(job, resume, lines) as run, log_to_file(run.log):
        for line in lines:
            log.info(line)
        signals = StopSignals()
        with signals.watched():
            try:
                _train(job, run, signals, load, check=check if resume is None else None)
            except KeyboardInterrupt:
                raise Interrupted(_how_to_resume(run, signals)) from None
            except (RuntimeError, ValueError, OSError) as error:
                if explanation := explain(error, settings, run):
                    raise RequestError(explanation) from error
                raise
    return run


def _how_to_resume(run: Run, signals: StopSignals) -> str:
    name = signals.name or "an interrupt"
    if run.checkpoints.is_dir():
        return f"{name} ended the run; resume it with --resume {run.path}"
    return f"{name} ended the run before its first epoch ended: nothing is kept, start a new run"


def _train(job: Job, run: Run, signals: StopSignals, load: OtherLoad, *, check: Callable[[Source, Split], None] | None) -> None:
    settings = job.settings
    pl.seed_everything(settings.seed, verbose=False)
    with phase("preparing the data"):
        training_data = prepare(settings, job.task, run, check=check)
    refuse_unwritable(training_data, name=run.path.name)
    with phase("building the network"):  # its weights may have to be downloaded
        network = _build_network(job, training_data, run)
    if is_first() and "tensorboard" in settings.trainer.loggers and not run.curves.is_file():  # a resumed run has its texts
        write_description(run, asdict(settings), training_data.split, source=training_data.source)
    log.info(job.stages_line)
    memory = kept_memory() if job.machine.device == "cpu" else contextlib.nullcontext()
    with memory, controlled_threads(settings.trainer.threads, job.machine, load) as threads:
        _train_stages(job, run, signals, training_data, network, threads)
    if is_first() and "tensorboard" in settings.trainer.loggers:
        scores = [score_tag(job.monitor), *(f"test/{name}" for name in TASK_SPECS[job.task].test_scores)]
        write_hparams(run, asdict(settings), scores=scores)


def _train_stages(
    job: Job, run: Run, signals: StopSignals, training_data: TrainingData, network: Network, threads: ThreadControl | None
) -> None:
    best, before = None, 0
    for stage in job.stages:
        if best is not None:
            _load_weights(network, best.checkpoint)
        try:
            data = _build_data(job, stage, training_data)
            best = _train_stage(
                job,
                stage,
                data,
                run=run,
                training_data=training_data,
                network=network,
                before=before,
                signals=signals,
                threads=threads,
            )
        except KeyboardInterrupt:
            _save_best_so_far(job, run, stage, training_data, why="interrupted")
            raise
        except DivergenceError as error:
            kept = _save_best_so_far(job, run, stage, training_data, why="diverged")
            raise _diverged(error, job.settings, stage, kept) from error
        before += best.epochs
        _save(job, run, stage, training_data, best)


def _build_network(job: Job, training_data: TrainingData, run: Run) -> Network:
    """Return the network with its initial weights; a resumed one is loaded from the checkpoint later."""
    settings = job.settings
    last = [run.checkpoints / stage.name / "last.ckpt" for stage in job.stages]
    found = [path for path in last if path.is_file()]
    if found:
        return build_network(Architecture.from_dict(load_checkpoint(found[-1])["architecture"]))
    architecture = build_architecture(settings, training_data.source.classes)
    weights = settings.model.weights  # type: ignore[attr-defined]
    network = start_network(architecture, weights=weights, classes=training_data.source.classes)
    log.info(f"network: {architecture.encoder}, {network.weights_note}")
    return network


def _build_data(job: Job, stage: Stage, training_data: TrainingData) -> SliceData:
    settings, seed = job.settings, job.settings.seed + stage.number
    return SliceData(
        training_data.train,
        training_data.val,
        augmenter=Augmenter(settings.augment, seed=seed),
        counterfactuals=make_counterfactuals(settings.augment, training_data.train, training_data.source.classes, seed=seed),
        batch_size=settings.data.batch_size,
        workers=choose_workers(settings.data.workers, device=job.machine.device, cores=os.cpu_count() or 1),
        seed=seed,
        pin_memory=job.machine.device == "gpu",
    )


def _train_stage(
    job: Job,
    stage: Stage,
    data: SliceData,
    *,
    run: Run,
    training_data: TrainingData,
    network: Network,
    before: int,
    signals: StopSignals,
    threads: ThreadControl | None,
) -> BestEpoch:
    settings = job.settings
    labels = training_data.train.labels[training_data.train.labels >= 0]  # -1 is a slice without a label
    counts = np.bincount(labels, minlength=len(training_data.source.classes)).tolist()
    if data.counterfactuals is not None:
        counts = data.counterfactuals.class_counts(len(training_data.source.classes))
    module: TaskModule = TASK_SPECS[job.task].build_module(
        settings,
        network,
        optim=replace(settings.optim, lr=stage.lr, epochs=stage.epochs),
        monitor=job.monitor,
        counts=counts,
    )
    return run_stage(
        module,
        data,
        run=run,
        stage=stage,
        before=before,
        machine=job.machine,
        settings=settings,
        classes=training_data.source.classes,
        signals=signals,
        threads=threads,
    )


def _load_weights(network: Network, checkpoint: Path) -> None:
    """Load a stage's best epoch into the network."""
    state = load_checkpoint(checkpoint)["state_dict"]
    network.load_state_dict({key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")})


def _save(job: Job, run: Run, stage: Stage, training_data: TrainingData, best: BestEpoch) -> None:
    """Write the model folder of a stage that has ended."""
    log.info(
        f"{stage.title} ended after {count_of(best.epochs, 'epoch')}: best {job.monitor} {best.score:.4f} in epoch {best.epoch}"
    )
    is_last = stage is job.stages[-1]
    _write(job, run.model if is_last else run.model_stage1, run, training_data, best)


def _save_best_so_far(job: Job, run: Run, stage: Stage, training_data: TrainingData, *, why: str) -> Path | None:
    """Write the model folder of the best epoch so far, of this stage or of the one before; return it, or None without one."""
    of_stages = [best_so_far(run.checkpoints / each.name) for each in job.stages if each.number <= stage.number]
    found = [best for best in of_stages if best is not None]
    if not found:
        log.info(f"{why} before the first epoch ended: there is no model yet")
        return None
    best = found[-1]
    where = "" if stage.is_only else f", {best.checkpoint.parent.name}"
    log.info(f"{why}: the best so far has {job.monitor} {best.score:.4f} (epoch {best.epoch}{where})")
    _write(job, run.model, run, training_data, best)
    return run.model


def _diverged(error: DivergenceError, settings: Settings, stage: Stage, kept: Path | None) -> RequestError:
    """Return the error of a diverged training: what happened, what is kept, and what to try."""
    result = f"the best epoch before is kept in {kept}" if kept else "no epoch before it is there to keep"
    where = "" if stage.is_only else f" in {stage.title}"
    return RequestError(f"training diverged{where}: {error}; {result}; start a new run and {remedies(settings, stage)}")


def _write(job: Job, folder: Path, run: Run, training_data: TrainingData, best: BestEpoch) -> None:
    if is_first():
        name = f"{job.task}/{run.path.name}" + ("/stage1" if folder == run.model_stage1 else "")
        save_model(folder, name=name, task=job.task, training_data=training_data, best=best, deviations=job.deviations)
        log.info(f"model folder: {folder}")
