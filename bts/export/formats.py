"""Into which forms can a trained model be brought, and what does each need? One small file a format, registered here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bts.errors import RequestError
from bts.inference.chosen import model_folder
from bts.inference.runtimes.exported import is_exported
from bts.models.card import ModelCard
from bts.registry import Registry

if TYPE_CHECKING:
    from bts.models.base import Network


@dataclass(frozen=True)
class Trained:
    """A trained model as its folder holds it.

    Attributes:
        folder: the model folder.
        network: in eval mode, on the CPU.
        card: its card.
    """

    folder: Path
    network: Network
    card: ModelCard


@dataclass(frozen=True)
class Written:
    """What an export has left.

    Attributes:
        path: file or folder.
        notes: what to tell the user, a line each.
    """

    path: Path
    notes: tuple[str, ...]


Exporter = Callable[[Trained, Path | None], Written]
"""Takes a model and where to write, None for the usual place; writes all or nothing; raises `RequestError`."""

formats: Registry[Exporter] = Registry("format")


def export_model(model: str | Path, *, format: str, out: str | Path | None = None) -> Written:
    """Write a trained model in another format, checked against PyTorch.

    Args:
        model: model folder or run folder.
        format: `onnx`, `openvino` or `monai-bundle`.
        out: where to; None writes beside the model.

    Raises:
        RequestError: no such model or format, a library that is not installed, a place that can't be written to, or an export
            that does not answer as the model does.
    """
    exporter = formats[format]
    folder = model_folder(model)
    if is_exported(folder):
        raise RequestError(f"{folder}: exported already: name the model folder or run that it comes from")
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


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Tell in one line where and why nothing can be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{place}: can't be written ({reason}): free some room or name another --out") from error


def file_at(out: Path | None, *, usual: Path) -> Path:
    """Return the file that is meant by `--out`: itself where it bears the suffix of the usual one, else that name in it."""
    if out is None:
        return usual
    if out.suffix.lower() == usual.suffix and not out.is_dir():
        return out
    return out / usual.name
