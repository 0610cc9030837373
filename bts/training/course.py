"""How is one stage run: Lightning's loop with our callbacks, from its start or from where it was interrupted?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from bts.models.freeze import set_trainable
from bts.runs import Run
from bts.settings import TrainerSettings
from bts.training.bar import Bar
from bts.training.checkpoints import Checkpoints
from bts.training.curves import Curves
from bts.training.datamodule import SliceData
from bts.training.device import Machine
from bts.training.interrupt import StopSignals
from bts.training.log import quiet_lightning
from bts.training.module import TaskModule
from bts.training.record import Record, Throughput
from bts.training.stages import Stage

log = logging.getLogger("bts.training")


@dataclass(frozen=True)
class Best:
    """The best epoch of a stage so far: its checkpoint, score and number (from 1), and the epochs run."""

    checkpoint: Path
    score: float | None
    epoch: int
    epochs: int


def run_stage(
    module: TaskModule,
    data: SliceData,
    *,
    run: Run,
    stage: Stage,
    before: int,
    machine: Machine,
    settings: TrainerSettings,
    clip: float,
    signals: StopSignals,
    callbacks: Sequence[pl.Callback] = (),
) -> Best:
    """Train until the stage ends by itself; raises KeyboardInterrupt at a signal, with the checkpoints in place.

    `before` is the number of epochs of earlier stages. A `last.ckpt` in the stage's folder is gone on from.
    """
    log.info(f"stage {stage.number}: {set_trainable(module.network, stage.trainable)}, rate {stage.lr:g}")
    module.network.train()
    if machine.channels_last:
        module.network.to(memory_format=torch.channels_last)
    keeper = Checkpoints(run.checkpoints / stage.name, monitor=module.monitor, patience=settings.patience)
    throughput = Throughput()
    record = Record(Curves(run.curves), stage=stage.number, before=before, throughput=throughput)
    bar = Bar(stage=f"stage {stage.number}", refresh_rate=1 if machine.device == "cpu" else 20)
    last = str(keeper.last) if keeper.last.is_file() else None
    with quiet_lightning(), signals.in_loop():
        trainer = pl.Trainer(
            max_epochs=stage.epochs,
            gradient_clip_val=clip or None,
            callbacks=[throughput, record, *callbacks, bar, keeper],
            **_trainer_options(machine, settings, root=run.path),
        )
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    return Best(keeper.best, keeper.best_score, keeper.best_epoch + 1, trainer.current_epoch)


def _trainer_options(machine: Machine, settings: TrainerSettings, *, root: Path) -> dict[str, Any]:
    return {
        "accelerator": machine.device,
        "devices": machine.devices,
        "num_nodes": machine.nodes,
        "precision": machine.precision,
        "benchmark": machine.device == "gpu",
        "limit_train_batches": settings.limit_batches,
        "limit_val_batches": settings.limit_batches,
        "default_root_dir": root,
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
