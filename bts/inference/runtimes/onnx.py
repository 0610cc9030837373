"""ONNX Runtime: runs an exported file, without torch."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from bts.errors import RequestError
from bts.inference.parallel import requested_threads, threads_per_worker
from bts.inference.runtimes.base import RawOutput
from bts.inference.runtimes.exported import (
    INPUT,
    Exported,
    as_input,
    as_raw_output,
    check_before_opening,
    check_signature,
    find_exported,
    wanted_outputs,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ERRORS_ONLY = 3


class OnnxRuntime:
    """An exported ONNX file on a CPU, or on a GPU with onnxruntime-gpu."""

    name = "onnx"

    def __init__(self, exported: Exported, *, device: str = "auto", workers: int = 1) -> None:
        self.session, self.device, self.why = open_session(exported, device=device, workers=workers)
        self.file, self.card = exported.file, exported.card
        self.outputs = wanted_outputs(self.card.task)
        self.versions = {"onnxruntime": _library().__version__}

    @classmethod
    def open(cls, place: Path, *, device: str = "auto", workers: int = 1) -> OnnxRuntime:
        """Open an exported file, or the one in a model folder; raises `RequestError`."""
        return cls(find_exported("onnx", place), device=device, workers=workers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Device, reason and file."""
        return (f"onnx on {self.device}: {self.why}; {self.file}",)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Run a batch (B, S, S) uint8."""
        found = self.session.run(self.outputs, {INPUT: as_input(images)})
        return as_raw_output(dict(zip(self.outputs, found, strict=True)), cam_class=cam_class)


def open_session(exported: Exported, *, device: str, workers: int = 1) -> tuple[InferenceSession, str, str]:
    """Return a session, its device, and why that device.

    Raises:
        RequestError: onnxruntime is not installed, the device is not there, or the file is damaged or contradicts its card.
    """
    library = _library()
    check_before_opening(exported.file)
    device, why = choose_device(device, providers=library.get_available_providers())
    options = library.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads_per_worker(workers) or requested_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would slow another model's down
    on_gpu = device.startswith("cuda")
    providers = [(CUDA, {"device_id": int(device.partition(":")[2] or 0)}), CPU] if on_gpu else [CPU]
    try:
        session = library.InferenceSession(str(exported.file), options, providers=providers)
    except Exception as error:  # the library's errors have no other common base
        reason = " ".join(str(error).split())
        raise RequestError(f"{exported.file}: ONNX Runtime can't open it ({reason}): export it again") from error
    if on_gpu and CUDA not in session.get_providers():  # it falls back without an error
        raise RequestError(f"device '{device}': ONNX Runtime could not start CUDA there: use `--device cpu`")
    check_signature(
        exported,
        inputs={each.name: list(each.shape) for each in session.get_inputs()},
        outputs=[each.name for each in session.get_outputs()],
    )
    return session, device, why


def choose_device(device: str, *, providers: list[str]) -> tuple[str, str]:
    """Return the device and why it was chosen.

    Raises:
        RequestError: for an unknown name, or a GPU that this onnxruntime can't use.
    """
    kind, _, number = device.partition(":")
    if device == "auto":
        return ("cuda", "this onnxruntime has CUDA") if CUDA in providers else ("cpu", "this onnxruntime has no CUDA")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise RequestError(f"unknown device '{device}': choose one of auto, cpu, cuda, cuda:1")
    if kind == "cuda" and CUDA not in providers:
        raise RequestError(
            f"device '{device}': this onnxruntime has no CUDA: use `--device cpu` or `--runtime torch`, or take onnxruntime-gpu"
        )
    return device, "requested"


def _library() -> ModuleType:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise RequestError("runtime 'onnx' is not installed: pip install 'bts[onnx]', or use `--runtime torch`") from error
    return onnxruntime
