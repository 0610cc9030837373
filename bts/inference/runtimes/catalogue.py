"""Which runtimes are there? Each is imported when it is opened and not before, so that none drags in another's library."""

from __future__ import annotations

from pathlib import Path

from bts.inference.runtimes.base import Runtime, runtimes


@runtimes.register("torch")
def open_torch(folder: Path, device: str) -> Runtime:
    """Open a model folder with PyTorch."""
    from bts.inference.runtimes.pytorch import TorchRuntime

    return TorchRuntime.open(folder, device=device)


def open_runtime(name: str, folder: Path, *, device: str) -> Runtime:
    """Open a model folder with the runtime of that name; raises `RequestError`, with the nearest name for an unknown one."""
    return runtimes[name](folder, device)
