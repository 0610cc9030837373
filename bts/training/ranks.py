"""Which of the processes of a training is this, and how do all of them find the one run folder?

Two ways lead here: torchrun (or SLURM with torchrun) starts every process with `RANK` set, or Lightning starts the others
from the first one, which hands the folder on in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from bts.errors import RequestError
from bts.training.device import Machine

HANDED_ON = "BTS_RUN_FOLDER"
"""Environment variable in which the first process tells those that Lightning starts where the run is."""


def is_first() -> bool:
    """Return whether this process writes files and logs: the only one, or rank 0."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) or 0) == 0


def started_from_outside() -> bool:
    """Return whether torchrun started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "TORCHELASTIC_RUN_ID" in os.environ


def shared_folder(make: Callable[[], Path], machine: Machine) -> Path:
    """Return the folder that the first process gets from `make`, in every process.

    Raises in every process, as RequestError, what `make` raised in the first.
    """
    if started_from_outside():
        return _broadcast(make, machine)
    if not is_first():
        return Path(os.environ[HANDED_ON])
    folder = make()
    os.environ[HANDED_ON] = str(folder)
    return folder


def _broadcast(make: Callable[[], Path], machine: Machine) -> Path:
    if not dist.is_initialized():
        # Lightning takes over a group that stands already; it needs gloo for our words and nccl for the gradients
        dist.init_process_group("cpu:gloo,cuda:nccl" if machine.device == "gpu" else "gloo")
    told: list[str | None] = [None, None]
    if is_first():
        try:
            told[0] = str(make())
        except RequestError as error:
            told[1] = str(error)
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    if told[0] is None:
        raise RequestError(str(told[1]))
    return Path(told[0])
