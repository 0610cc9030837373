"""Choice of device, precision and memory layout, each with its reason, and the run folder shared by all processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from bts.errors import RequestError
from bts.settings import TrainerSettings

Device = Literal["cpu", "gpu", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def choose_device(accelerator: Literal["auto", "cpu", "gpu", "mps"]) -> tuple[Device, str]:
    """Return the kind of device and the reason; raises RequestError where the one asked for is not there."""
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator != "auto":
        if not there[accelerator]:
            raise RequestError(
                f"trainer.accelerator {accelerator}: this machine has no such device that torch can use: "
                "take `--trainer.accelerator cpu` (or auto)"
            )
        return accelerator, "asked for"
    if there["gpu"]:
        return "gpu", f"{torch.cuda.get_device_name()} found"
    return ("mps", "Apple GPU found") if there["mps"] else ("cpu", "no GPU found")


def choose_precision(precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"], device: Device) -> tuple[Precision, str]:
    """Return the precision and the reason: bf16 only where the processor computes in it, never emulated."""
    if precision == "16-mixed" and device == "cpu":
        raise RequestError("trainer.precision 16-mixed: a CPU can't train in float16: take bf16-mixed, 32-true or auto")
    if precision != "auto":
        return precision, "asked for"
    if device == "gpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device == "cpu" and cpu_computes_bf16()
    return ("bf16-mixed", "the processor computes in bf16") if native else ("32-true", "the processor does not compute in bf16")


def cpu_computes_bf16() -> bool:
    """Return True where the CPU has bf16 dot products (AVX-512 BF16 or AMX); elsewhere bf16 is slower than 32 bits."""
    # torch says it only through private names, which older releases lack
    probes = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(probe() for probe in probes if probe is not None)


def choose_layout(*, device: Device, precision: Precision) -> tuple[bool, str]:
    """Return whether to use the channels-last memory layout, and the reason."""
    if device == "mps":
        return False, "not known to help there"
    if precision == "32-true" and device == "gpu":
        return False, "helps GPUs in 16 bits only"
    return True, "the convolutions there are written for it"


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes, with the lines that say why."""

    device: Device
    precision: Precision
    channels_last: bool
    devices: int
    num_nodes: int
    lines: tuple[str, ...]

    @property
    def world(self) -> int:
        """Processes that train together."""
        return self.devices * self.num_nodes


def choose_machine(settings: TrainerSettings) -> Machine:
    """Return device, precision and layout for the settings; raises RequestError for what this machine can't do."""
    device, why_device = choose_device(settings.accelerator)
    there = torch.cuda.device_count() if device == "gpu" else 1
    if device == "gpu" and settings.devices > there:
        raise RequestError(
            f"trainer.devices {settings.devices}: this machine has {there} GPU(s): take at most that many, or -1"
        )
    devices = there if settings.devices == -1 else settings.devices
    precision, why_precision = choose_precision(settings.precision, device)
    channels_last, why_layout = choose_layout(device=device, precision=precision)
    layout = "channels last" if channels_last else "channels first"
    lines = (
        f"device: {device} ({why_device}), {devices} per node, {settings.num_nodes} node(s)",
        f"precision: {precision} ({why_precision})",
        f"memory layout: {layout} ({why_layout})",
    )
    return Machine(device, precision, channels_last, devices, settings.num_nodes, lines)


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
