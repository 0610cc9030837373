"""Run of one stage: Lightning loop, callbacks, and a clean end at a signal."""

from __future__ import annotations

import contextlib
import inspect
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn.parallel import DistributedDataParallel

from bts.models.base import Network
from bts.models.freeze import set_trainable
from bts.runs import Run
from bts.settings import Settings, TrainerSettings
from bts.training.checkpoints import BestEpoch, Checkpoints
from bts.training.datamodule import SliceData
from bts.training.device import Machine, is_first
from bts.training.divergence import DivergenceGuard
from bts.training.loggers import make_loggers, plain_settings
from bts.training.module import TaskModule
from bts.training.progress import Curves, EpochProgress, EpochRecorder, Throughput, quiet_lightning
from bts.training.schedule import Stage
from bts.training.strided_depthwise import to_float32
from bts.training.tasks import task_of
from bts.training.tensorboard import TensorBoardPictures
from bts.training.threads import ThreadControl

log = logging.getLogger("bts.training")


def run_stage(
    module: TaskModule,
    data: SliceData,
    *,
    run: Run,
    stage: Stage,
    before: int,
    machine: Machine,
    settings: Settings,
    classes: Sequence[str],
    signals: StopSignals,
    threads: ThreadControl | None = None,
) -> BestEpoch:
    """Train until the stage ends; raises KeyboardInterrupt at a signal and DivergenceError, with the checkpoints in place.

    `before` is the number of epochs of earlier stages; `threads` changes the number of CPU threads where needed. The stage is
    resumed from a `last.ckpt` in its folder.
    """
    log.info(f"{stage.title}: {set_trainable(module.network, stage.trainable)}, rate {stage.lr:g}")
    module.network.train()
    make_faster(module.network, machine)
    patience, min_delta = settings.trainer.patience, settings.trainer.min_delta
    keeper = Checkpoints(run.checkpoints / stage.name, monitor=module.monitor, patience=patience, min_delta=min_delta)
    last = str(keeper.last) if keeper.last.is_file() else None
    if last:
        log.info(f"resuming from {last}; the interrupted epoch is repeated")
    shown = _callbacks(data, run=run, stage=stage, before=before, machine=machine, settings=settings, classes=classes)
    with quiet_lightning(), signals.in_loop():
        trainer = pl.Trainer(
            max_epochs=stage.epochs,
            gradient_clip_val=settings.optim.gradient_clip_val or None,
            callbacks=[*shown, *([threads] if threads else []), keeper],
            logger=make_loggers(settings.trainer.loggers, run, task_of(settings)),
            **_trainer_options(machine, settings.trainer, root=run.path),
        )
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    assert keeper.best_score is not None  # a stage has at least one epoch
    return BestEpoch(keeper.best, keeper.best_score, keeper.best_epoch + 1, keeper.epochs)


def make_faster(network: Network, machine: Machine) -> None:
    """Choose the memory layout of a network, and the precision of single layers, that are fastest on this machine."""
    if machine.channels_last:
        network.to(memory_format=torch.channels_last)
    if machine.device == "cpu" and machine.precision == "bf16-mixed":
        to_float32(network)


def _callbacks(
    data: SliceData, *, run: Run, stage: Stage, before: int, machine: Machine, settings: Settings, classes: Sequence[str]
) -> list[pl.Callback]:
    throughput = Throughput()
    record = EpochRecorder(
        Curves(run.curves),
        stage=stage,
        before=before,
        throughput=throughput,
        settings=plain_settings(asdict(settings)),
    )
    shown = settings.trainer
    pictures = TensorBoardPictures(
        data=data,
        classes=classes,
        images=shown.images,
        before=before,
        histograms=shown.histograms,
    )
    callbacks: list[pl.Callback] = [DivergenceGuard(), throughput, record, pictures]
    if settings.optim.ema_decay:  # after the pictures, which are drawn before the trained weights are restored
        callbacks.append(EMAWeightAveraging(decay=settings.optim.ema_decay))
    if is_first():
        callbacks.append(EpochProgress(stage=stage, every=1 if machine.device == "cpu" else 20))
    return callbacks


def _trainer_options(machine: Machine, settings: TrainerSettings, *, root: Path) -> dict[str, Any]:
    return {
        "accelerator": machine.device,
        "devices": machine.devices,
        "num_nodes": machine.num_nodes,
        "strategy": _data_parallel() if machine.world > 1 else "auto",
        "precision": machine.precision,
        "benchmark": machine.device == "gpu",
        "limit_train_batches": settings.limit_batches,
        "limit_val_batches": settings.limit_batches,
        "default_root_dir": root,
        "log_every_n_steps": 1,  # scalars are logged per epoch: without it Lightning warns of fewer than 50 steps
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "use_distributed_sampler": False,
    }


def _data_parallel() -> DDPStrategy:
    """Return a DDP strategy that does not copy batch norms from the first process at each forward pass.

    They are averaged before validation instead (`TaskModule.on_validation_epoch_start`): the validation shares may differ in
    length, and a process with one more batch would wait for the others forever.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {"gradient_as_bucket_view": True, name: False}
    return DDPStrategy(**options)


log = logging.getLogger("bts.training")


class StopSignals:
    """Ctrl-C and SIGTERM during a run; `name` is that of the first one received, or None.

    Lightning finishes the step and leaves its loop at SIGTERM, on every device. Ctrl-C is turned into SIGTERM, as Lightning's
    own reaction to it is `sys.exit(1)` in the middle of a step. Outside the loop both simply interrupt.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._in_loop = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        first, self.name = self.name is None, self.name or signal.Signals(number).name
        if not self._in_loop or (not first and number == signal.SIGINT):
            raise KeyboardInterrupt
        if first:
            log.info(f"{self.name} received: stopping after this step (send it again to stop immediately)")
        if number == signal.SIGINT:
            signal.raise_signal(signal.SIGTERM)

    @contextlib.contextmanager
    def watched(self) -> Iterator[StopSignals]:
        """Catch both signals inside the block; outside the main thread they are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._received) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def in_loop(self) -> Iterator[None]:
        """Mark the block in which Lightning's loop runs; however Lightning ends it, KeyboardInterrupt is raised."""
        self._in_loop = True
        try:
            yield
        except (SIGTERMException, SystemExit) as end:
            if self.name is None and not isinstance(end, SIGTERMException):
                raise
            self.name = self.name or "SIGTERM"
            raise KeyboardInterrupt from end
        finally:
            self._in_loop = False
