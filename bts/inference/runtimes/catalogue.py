"""All runtimes, and the choice of the fastest one that is available.

Each runtime is imported when it is opened and not before, so that none loads another's library. The choice looks at what is
installed, what is exported and the device, and imports nothing. It only considers runtimes that match PyTorch to float
precision, as thresholds, temperature and scores were found with it: OpenVINO in its own precision is faster on some CPUs, but
changes numbers (docs/howto-export.md), so it is used only where it is asked for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bts.errors import RequestError
from bts.inference.runtimes.base import Runtime, runtimes
from bts.inference.runtimes.exported import file_in, find_exported, is_exported

AUTO = "auto"
ON_CPU = ("openvino-f32", "onnx", "torch")
"""From fast to slow, as measured on two cores."""
ON_GPU = ("torch", "onnx")
PACKAGES = {"openvino-f32": "openvino", "onnx": "onnxruntime", "torch": "torch"}
NVIDIA = "/dev/nvidia0"


@runtimes.register("torch")
def open_torch(place: Path, device: str, workers: int) -> Runtime:
    """Open a model folder with PyTorch."""
    if is_exported(place):
        raise RequestError(f"{place}: runtime 'torch' needs a model folder: use `--runtime auto`, or name the folder")
    from bts.inference.runtimes.pytorch import TorchRuntime

    return TorchRuntime.open(place, device=device, workers=workers)


@runtimes.register("onnx")
def open_onnx(place: Path, device: str, workers: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with ONNX Runtime."""
    from bts.inference.runtimes.onnx import OnnxRuntime

    return OnnxRuntime.open(place, device=device, workers=workers)


@runtimes.register("openvino")
def open_openvino(place: Path, device: str, workers: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with OpenVINO in the precision of its choice."""
    from bts.inference.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime.open(place, device=device, workers=workers)


@runtimes.register("openvino-f32")
def open_openvino_f32(place: Path, device: str, workers: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with OpenVINO in full precision."""
    from bts.inference.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime.open(place, device=device, name="openvino-f32", workers=workers)


def open_runtime(name: str, folder: Path, *, device: str, workers: int = 1) -> Runtime:
    """Open a model folder or exported file with a runtime, for that many concurrent callers.

    Raises:
        RequestError: the runtime is unknown (with the nearest name) or can't be used there, or the class at an import path
            such as `my_package.MyRuntime` is no runtime.
    """
    found = runtimes.find(name)
    if not isinstance(found, type):
        return found(folder, device, workers)
    if not hasattr(found, "open"):
        raise RequestError(f"runtime '{name}': the class has no class method `open(place, device, workers)`")
    opened: Runtime = found.open(folder, device, workers)
    return opened


class RuntimeChoice(NamedTuple):
    """Name of a runtime, and why it was selected; None if the user selected it."""

    name: str
    why: str | None


def choose_runtime(name: str, place: Path, *, device: str) -> RuntimeChoice:
    """Return the runtime of that name, or for `auto` the fastest that can run a model folder or an exported file.

    Raises:
        RequestError: `auto`, and none can; each with its reason.
    """
    if name != AUTO:
        return RuntimeChoice(name, None)
    on_gpu = device.startswith("cuda") or (device == "auto" and os.path.exists(NVIDIA))
    passed: list[str] = []
    for each in ON_GPU if on_gpu else ON_CPU:
        reason = unavailable_reason(each, place)
        if reason is None:
            slower = f"; {'; '.join(passed)}" if passed else ""
            return RuntimeChoice(each, f"runtime {each}: the fastest available on a {'GPU' if on_gpu else 'CPU'}{slower}")
        passed.append(f"not {each}: {reason}")
    raise RequestError(f"{place}: no runtime is available: {'; '.join(passed)}")


def kind_of(name: str) -> str:
    """Return the kind of exported file that a runtime needs."""
    return name.removesuffix("-f32")


def unavailable_reason(name: str, place: Path) -> str | None:
    """Return why a runtime can't run the model in a place, or None where it can."""
    if find_spec(PACKAGES[name]) is None:
        return "not installed" if name == "torch" else f"not installed (pip install 'bts[{kind_of(name)}]')"
    if name == "torch":
        return "it needs a model folder" if is_exported(place) else None
    if not is_exported(place) and file_in(place, kind_of(name)) is None:
        return "not exported (`bts export MODEL`)"
    try:
        find_exported(kind_of(name), place)
    except RequestError as error:
        return str(error)
    return None
