"""OpenVINO: runs an exported ONNX file or its own format, without torch; the fastest runtime on a CPU.

By default OpenVINO computes in bf16 on CPUs that support it: about twice as fast, and class logits change by about 1% of their
range. Runtime `openvino` allows that, `openvino-f32` asks for full precision, as a comparison with PyTorch requires.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
    outputs_of,
    wanted_outputs,
)

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model

LARGEST_OUTPUT = 2**28
"""Values that one layer of an exported graph gives for one picture, where OpenVINO knows their number before it runs."""
SHORT = {"bfloat16": "bf16", "float32": "f32", "float16": "f16"}


class OpenVinoRuntime:
    """An exported file on the CPU.

    Attributes:
        device: with the precision that OpenVINO computes in, `"cpu in bf16"`.
    """

    def __init__(self, exported: Exported, *, device: str = "auto", name: str = "openvino", workers: int = 1) -> None:
        self.name = name
        self.file, self.card = exported.file, exported.card
        self.compiled = compile_model(exported, device=device, full_precision=name.endswith("-f32"), workers=workers)
        self._requests = _requests(self.compiled, workers)
        self.precision = _precision(self.compiled)
        self.device = f"cpu in {self.precision}"
        self.outputs = wanted_outputs(self.card.task)
        self.versions = {"openvino": _library().__version__.split("-")[0]}

    @classmethod
    def open(cls, place: Path, *, device: str = "auto", name: str = "openvino", workers: int = 1) -> OpenVinoRuntime:
        """Open an exported file, or the one in a model folder; raises `RequestError`."""
        return cls(find_exported("openvino", place), device=device, name=name, workers=workers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Device, precision and file."""
        chosen = "" if self.name.endswith("-f32") else " (OpenVINO's choice for this CPU, `openvino-f32` asks for f32)"
        return (f"{self.name} on the CPU in {self.precision}{chosen}; {self.file}",)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Run a batch (B, S, S) uint8."""
        request = self._requests.get()  # one per worker: a request serves one caller at a time
        try:
            with serialise_first_call():
                found = request.infer({INPUT: as_input(images)})
            return as_raw_output({name: found[name] for name in self.outputs}, cam_class=cam_class)
        finally:
            self._requests.put(request)


def compile_model(exported: Exported, *, device: str, full_precision: bool, workers: int = 1) -> CompiledModel:
    """Return a file compiled for this CPU.

    Raises:
        RequestError: openvino is not installed, another device is asked for, or the file is damaged or contradicts its card.
    """
    _library()
    if device not in ("auto", "cpu"):
        raise RequestError(
            f"device '{device}': runtime 'openvino' computes on the CPU: use `--device cpu` or `--runtime torch`"
        )
    check_before_opening(exported.file)
    settings: dict[str, Any] = {"NUM_STREAMS": workers} if workers > 1 else {"PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": "f32"} if full_precision else {}
    threads = threads_per_worker(workers) * workers or requested_threads()
    settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    try:
        core = _core()
        model = core.read_model(exported.file)
        _check_sizes(exported.file, model)
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise RequestError(f"{exported.file}: OpenVINO can't open it ({_reason(error)}): export it again") from error
    check_signature(exported, inputs=_shapes(model.inputs), outputs=[_name(each, exported) for each in model.outputs])
    return compiled


def _check_sizes(file: Path, model: Model) -> None:
    """Raise `RequestError` where a layer gives more values than any of a network; sides that are not known count as 1."""
    for layer in model.get_ops():
        for output in layer.outputs():
            shape = output.partial_shape
            sides = () if shape.rank.is_dynamic else (1 if side.is_dynamic else side.get_length() for side in shape)
            if (count := math.prod(sides)) > LARGEST_OUTPUT:
                raise RequestError(
                    f"{file}: a layer '{layer.get_type_name()}' of {count:,} values, at most {LARGEST_OUTPUT:,} are computed: "
                    "export or copy it again"
                )


def _requests(compiled: CompiledModel, workers: int) -> SimpleQueue[InferRequest]:
    waiting: SimpleQueue[InferRequest] = SimpleQueue()
    for _ in range(workers):
        waiting.put(compiled.create_infer_request())
    return waiting


def _shapes(inputs: list[Any]) -> dict[str, list[object]]:
    return {each.any_name: [None if side.is_dynamic else side.get_length() for side in each.partial_shape] for each in inputs}


def _name(output: Any, exported: Exported) -> str:
    """Return the known one of an output's names, or any: OpenVINO keeps several where a value has several."""
    ours = output.names & set(outputs_of(exported.card.task))
    return min(ours) if ours else str(output.any_name)


def _precision(compiled: CompiledModel) -> str:
    name = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return SHORT.get(name, name)


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return (lines or [type(error).__name__])[0]


_first, _answered = Lock(), Event()


@contextmanager
def serialise_first_call() -> Iterator[None]:
    """Serialise the first call of OpenVINO in this process.

    The first call with an array makes OpenVINO's binding import NumPy. If two threads do so at once, one waits for the other's
    lock while holding the interpreter's lock, for which the other waits: a deadlock.
    """
    if _answered.is_set():
        yield
        return
    with _first:
        yield
        _answered.set()


@cache
def _core() -> Core:
    """Return the only OpenVINO core of this process, which is never released.

    A core installs a signal stack in the calling thread and restores the former one when it is released. If two overlap, the
    second restores the stack of the first after that is gone: the next Ctrl-C would end in a segmentation fault.
    """
    return _library().Core()


def _library() -> ModuleType:
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise RequestError(
            "runtime 'openvino' is not installed: pip install 'bts[openvino]', or use `--runtime torch`"
        ) from error
    return openvino
