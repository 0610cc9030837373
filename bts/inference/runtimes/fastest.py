"""Which runtime answers fastest here? Decided by what is installed, what is exported and what computes, nothing is imported.

Only those that answer as PyTorch does to float precision: a model's threshold, temperature and scores were found with it.
OpenVINO in its own precision is faster still on some CPUs, but moves numbers (docs/howto-export.md): it is taken where it is
asked for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bts.errors import RequestError
from bts.inference.runtimes.exported import file_in, find_exported, is_exported

AUTO = "auto"
ON_CPU = ("openvino-f32", "onnx", "torch")
"""From fast to slow, as measured on two cores."""
ON_GPU = ("torch", "onnx")
PACKAGES = {"openvino-f32": "openvino", "onnx": "onnxruntime", "torch": "torch"}
NVIDIA = "/dev/nvidia0"


class Picked(NamedTuple):
    """A runtime's name, and why it was picked; None where it was asked for."""

    name: str
    why: str | None


def pick_runtime(name: str, place: Path, *, device: str) -> Picked:
    """Return the runtime of that name, or for `auto` the fastest that can answer from a model folder or an exported file.

    Raises:
        RequestError: `auto`, and none can answer; each with its reason.
    """
    if name != AUTO:
        return Picked(name, None)
    on_gpu = device.startswith("cuda") or (device == "auto" and os.path.exists(NVIDIA))
    passed: list[str] = []
    for each in ON_GPU if on_gpu else ON_CPU:
        reason = why_not(each, place)
        if reason is None:
            slower = f"; {'; '.join(passed)}" if passed else ""
            return Picked(each, f"runtime {each}: the fastest on a {'GPU' if on_gpu else 'CPU'} that can answer here{slower}")
        passed.append(f"not {each}: {reason}")
    raise RequestError(f"{place}: no runtime can answer here: {'; '.join(passed)}")


def kind_of(name: str) -> str:
    """Return the kind of file that a runtime answers from."""
    return name.removesuffix("-f32")


def why_not(name: str, place: Path) -> str | None:
    """Return why a runtime can't answer from a place, or None where it can."""
    if find_spec(PACKAGES[name]) is None:
        return "not installed" if name == "torch" else f"not installed (pip install 'bts[{kind_of(name)}]')"
    if name == "torch":
        return "it answers from a model folder" if is_exported(place) else None
    if not is_exported(place) and file_in(place, kind_of(name)) is None:
        return "not exported (`bts export MODEL`)"
    try:
        find_exported(kind_of(name), place)
    except RequestError as error:
        return str(error)
    return None
