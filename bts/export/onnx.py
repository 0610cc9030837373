"""Export to one ONNX file: network, probabilities and Grad-CAM in a graph, with the model card in its metadata."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import bts
from bts.atomic import replacing
from bts.errors import RequestError
from bts.export.base import Trained, Written, file_at, writing
from bts.export.check import Differences, check_pictures, compare, require_equal
from bts.export.graph import ExportGraph
from bts.glossary import DISCLAIMER
from bts.inference.runtimes.exported import CARD_KEY, FILES, INPUT, OUTPUTS, outputs_of
from bts.inference.runtimes.onnx import OnnxRuntime
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.card import ModelCard, published, to_json

if TYPE_CHECKING:
    from onnx import ModelProto

NEEDED = ("onnx", "onnxscript", "onnxruntime")
EXAMPLES = 2
"""Pictures in the batch that is traced: with one, its size would be taken for a constant."""
INPUT_TEXT = "(B, 1, S, S) float32 in [0, 1]: the bytes that the preprocessing makes, divided by 255"


def write_onnx(model: Trained, out: Path | None) -> Written:
    """Write `model.onnx`, beside the weights unless another file is given, and compare it with PyTorch.

    Raises:
        RequestError: a library is missing, the place can't be written to, or the answers differ.
    """
    path = file_at(out, usual=model.folder / FILES["onnx"][0])
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        proto = make_onnx(model)
        with replacing(path) as part:
            part.write_bytes(proto.SerializeToString())
            differences = check_onnx(model, part)
    size = path.stat().st_size / 2**20
    what = f"{path}: {size:.1f} MiB, one input '{INPUT}', outputs {', '.join(each.name for each in proto.graph.output)}"
    return Written(path, (what, f"largest difference from PyTorch: {differences}"))


def check_onnx(model: Trained, file: Path) -> Differences:
    """Return how far an ONNX file's answers are from PyTorch's; raises `RequestError` where that is too far."""
    answers = OnnxRuntime.open(file, device="cpu")
    differences = compare(TorchRuntime(model.network, model.card, device="cpu"), answers, check_pictures(model.card))
    require_equal(differences, what="the ONNX file")
    return differences


def make_onnx(model: Trained, *, fold: bool = True) -> ModelProto:
    """Return the graph of a model with its card, unchecked.

    Args:
        model: the trained model.
        fold: whether batch norms become part of the convolutions before them; without, every weight stays as it was trained.

    Raises:
        RequestError: onnx or onnxscript is missing, or the network can't be traced.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise RequestError(f"format 'onnx' needs {' and '.join(missing)}: pip install 'bts[onnx]'")
    graph = ExportGraph(model.network, model.card)
    try:
        with _quiet():
            program = trace(graph, side=int(model.card.preprocessing["size"]), fold=fold)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        encoder, line = model.network.architecture.encoder, str(error).strip().splitlines()[0]
        raise RequestError(
            f"encoder '{encoder}' can't be written as ONNX ({line}): choose another, or stay with torch"
        ) from error
    proto = program.model_proto
    _forget_the_machine(proto)
    _describe(proto, model.card)
    return proto


def trace(graph: ExportGraph, *, side: int, fold: bool = True) -> torch.onnx.ONNXProgram:
    """Return the operations of a graph, for a batch of any size."""
    examples = torch.linspace(0, 1, EXAMPLES * side * side).reshape(EXAMPLES, 1, side, side)
    program = torch.onnx.export(
        graph,
        (examples,),
        dynamo=True,
        input_names=[INPUT],
        output_names=list(graph.names),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
        optimize=fold,
    )
    assert program is not None  # with dynamo there always is one
    return program


def _forget_the_machine(proto: ModelProto) -> None:
    """Take out what the exporter notes at every operation: stack traces, with paths of the machine that exported."""
    del proto.graph.value_info[:]
    del proto.graph.metadata_props[:]
    for each in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        del each.metadata_props[:]
        each.doc_string = ""


def _describe(proto: ModelProto, card: ModelCard) -> None:
    """Write into the file what is needed to feed it, to read its answers, and to know what it is."""
    proto.producer_name, proto.producer_version = "bts", bts.__version__
    proto.graph.name = card.name
    proto.doc_string = f"{card.intended_use} {DISCLAIMER}"
    proto.graph.input[0].doc_string = INPUT_TEXT
    for each in proto.graph.output:
        each.doc_string = OUTPUTS[each.name]
    metadata = {
        CARD_KEY: to_json(published(card)),
        "classes": json.dumps(card.classes),
        "preprocessing": json.dumps(card.preprocessing),
        "input": INPUT_TEXT,
        **{f"output {name}": OUTPUTS[name] for name in outputs_of(card.task)},
    }
    for name, text in metadata.items():
        proto.metadata_props.add(key=name, value=text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch and its exporter tell their own developers from a user who can't act on it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
