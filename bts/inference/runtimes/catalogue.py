"""Which runtimes are there? Each is imported when it is opened and not before, so that none drags in another's library."""

from __future__ import annotations

from pathlib import Path

from bts.errors import RequestError
from bts.inference.runtimes.base import Runtime, runtimes
from bts.inference.runtimes.exported import is_exported


@runtimes.register("torch")
def open_torch(place: Path, device: str, lanes: int) -> Runtime:
    """Open a model folder with PyTorch."""
    if is_exported(place):
        raise RequestError(f"{place}: runtime 'torch' answers from a model folder: take `--runtime auto`, or name the folder")
    from bts.inference.runtimes.pytorch import TorchRuntime

    return TorchRuntime.open(place, device=device, lanes=lanes)


@runtimes.register("onnx")
def open_onnx(place: Path, device: str, lanes: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with ONNX Runtime."""
    from bts.inference.runtimes.onnx import OnnxRuntime

    return OnnxRuntime.open(place, device=device, lanes=lanes)


@runtimes.register("openvino")
def open_openvino(place: Path, device: str, lanes: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with OpenVINO in the precision that it chooses."""
    from bts.inference.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime.open(place, device=device, lanes=lanes)


@runtimes.register("openvino-f32")
def open_openvino_f32(place: Path, device: str, lanes: int) -> Runtime:
    """Open an exported file, or a model folder that holds one, with OpenVINO in full precision."""
    from bts.inference.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime.open(place, device=device, name="openvino-f32", lanes=lanes)


def open_runtime(name: str, folder: Path, *, device: str, lanes: int = 1) -> Runtime:
    """Open a model folder with the runtime of that name, for that many callers at once.

    Raises:
        RequestError: no such runtime (with the nearest name), or it can't answer there.
    """
    return runtimes[name](folder, device, lanes)
