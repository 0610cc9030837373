"""Registry of export formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bts.errors import RequestError
from bts.export.base import Trained, Written
from bts.inference.model_selection import model_folder
from bts.inference.runtimes.exported import is_exported
from bts.registry import Registry

Exporter = Callable[[Trained, Path | None], Written]
"""Takes a model and where to write, None for the usual place; writes all or nothing; raises `RequestError`."""

formats: Registry[Exporter] = Registry("format")


def export_model(model: str | Path, *, format: str, out: str | Path | None = None) -> Written:
    """Write a trained model in another format, checked against PyTorch.

    Args:
        model: model folder or run folder.
        format: `onnx`, `openvino` or `monai-bundle`.
        out: output path; None writes beside the model.

    Raises:
        RequestError: no such model or format, a library that is not installed, a place that can't be written to, or an export
            that differs from the model.
    """
    exporter = formats[format]
    folder = model_folder(model)
    if is_exported(folder):
        raise RequestError(f"{folder}: already exported: give the model folder or run that it was exported from")
    from bts.models.folder import load_network

    network, card = load_network(folder)
    return exporter(Trained(folder, network, card), None if out is None else Path(out))


@formats.register("onnx")
def export_onnx(model: Trained, out: Path | None) -> Written:
    """Write one ONNX file."""
    from bts.export.onnx import write_onnx

    return write_onnx(model, out)


@formats.register("openvino")
def export_openvino(model: Trained, out: Path | None) -> Written:
    """Write OpenVINO's two files."""
    from bts.export.openvino import write_openvino

    return write_openvino(model, out)


@formats.register("monai-bundle")
def export_bundle(model: Trained, out: Path | None) -> Written:
    """Write the folder of a MONAI bundle."""
    from bts.export.bundle import write_bundle

    return write_bundle(model, out)
