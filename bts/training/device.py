"""Choice of device, precision and memory layout, each with its reason, and the run folder shared by all processes.

Processes start in one of two ways: torchrun (or SLURM with torchrun) starts each with `RANK` set, or Lightning starts the
others from the first one, which passes the run folder on in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from bts.cpu import is_torchrun
from bts.errors import RequestError
from bts.glossary import count_of
from bts.settings import TrainerSettings

Device = Literal["cpu", "gpu", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def choose_device(accelerator: Literal["auto", "cpu", "gpu", "mps"]) -> tuple[Device, str]:
    """Return the kind of device and the reason; raises RequestError if the requested one is not available."""
    available = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator != "auto":
        if not available[accelerator]:
            raise RequestError(
                f"trainer.accelerator {accelerator}: this machine has no such device that torch can use: "
                "use `--trainer.accelerator cpu` (or auto)"
            )
        return accelerator, "requested"
    if available["gpu"]:
        return "gpu", f"{torch.cuda.get_device_name()} found"
    return ("mps", "Apple GPU found") if available["mps"] else ("cpu", "no GPU found")


def choose_precision(precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"], device: Device) -> tuple[Precision, str]:
    """Return the precision and the reason; bf16 only where the processor supports it natively."""
    if precision == "16-mixed" and device == "cpu":
        raise RequestError("trainer.precision 16-mixed: a CPU can't train in float16: use bf16-mixed, 32-true or auto")
    if precision != "auto":
        return precision, "requested"
    if device == "gpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device == "cpu" and cpu_computes_bf16()
    return ("bf16-mixed", "the processor computes in bf16") if native else ("32-true", "the processor does not compute in bf16")


def cpu_computes_bf16() -> bool:
    """Return whether torch uses bf16 dot products of the CPU (AVX-512 BF16 or AMX); without them bf16 is slower than 32 bits.

    `ATEN_CPU_CAPABILITY=avx2` forbids them.
    """
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return False
    # torch exposes this only under private names, which older releases lack
    probes = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(probe() for probe in probes if probe is not None)


def choose_layout(*, device: Device, precision: Precision) -> tuple[bool, str]:
    """Return whether to use the channels-last memory layout, and the reason."""
    if device == "mps":
        return False, "not known to help on this device"
    if precision == "32-true" and device == "gpu":
        return False, "helps GPUs only in 16 bits"
    return True, "convolutions are faster in it"


@dataclass(frozen=True)
class Machine:
    """Device, precision and layout of a run, with log lines that give the reasons."""

    device: Device
    precision: Precision
    channels_last: bool
    devices: int
    num_nodes: int
    lines: tuple[str, ...]

    @property
    def world(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.num_nodes


def choose_machine(settings: TrainerSettings) -> Machine:
    """Return device, precision and layout for the settings; raises RequestError for what this machine does not support."""
    device, why_device = choose_device(settings.accelerator)
    available = torch.cuda.device_count() if device == "gpu" else 1
    if device == "gpu" and settings.devices > available:
        raise RequestError(
            f"trainer.devices {settings.devices}: this machine has {count_of(available, 'GPU')}: use at most that many, or -1"
        )
    devices = available if settings.devices == -1 else settings.devices
    precision, why_precision = choose_precision(settings.precision, device)
    channels_last, why_layout = choose_layout(device=device, precision=precision)
    layout = "channels last" if channels_last else "channels first"
    lines = (
        f"device: {device} ({why_device}), {devices} per node, {count_of(settings.num_nodes, 'node')}",
        f"precision: {precision} ({why_precision})",
        f"memory layout: {layout} ({why_layout})",
    )
    return Machine(device, precision, channels_last, devices, settings.num_nodes, lines)


RUN_FOLDER_VARIABLE = "BTS_RUN_FOLDER"
"""Environment variable in which the first process passes the run folder to those that Lightning starts."""


def is_first() -> bool:
    """Return whether this process writes files and logs: the only one, or rank 0."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) or 0) == 0


def shared_folder(make: Callable[[], Path], machine: Machine) -> Path:
    """Return, in every process, the folder that `make` returns in the first.

    A RequestError of `make` in the first process is raised in every process.
    """
    if is_torchrun():
        return _broadcast(make, machine)
    if not is_first():
        return Path(os.environ[RUN_FOLDER_VARIABLE])
    folder = make()
    os.environ[RUN_FOLDER_VARIABLE] = str(folder)
    return folder


def _broadcast(make: Callable[[], Path], machine: Machine) -> Path:
    if not dist.is_initialized():
        # Lightning uses an existing group; gloo is for the folder's name and nccl for the gradients
        dist.init_process_group("cpu:gloo,cuda:nccl" if machine.device == "gpu" else "gloo")
    folder_or_error: list[str | None] = [None, None]
    if is_first():
        try:
            folder_or_error[0] = str(make())
        except RequestError as error:
            folder_or_error[1] = str(error)
    dist.broadcast_object_list(folder_or_error, src=0, device=torch.device("cpu"))
    if folder_or_error[0] is None:
        raise RequestError(str(folder_or_error[1]))
    return Path(folder_or_error[0])
