"""Quantisation to eight bits: convolutions, in ranges found on slices; the closing layers stay in floats."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bts.atomic import replacing
from bts.errors import RequestError
from bts.export.base import Trained, Written, file_at, writing
from bts.export.check import check_pictures, compare
from bts.export.onnx import make_onnx
from bts.inference.runtimes.exported import CARD_KEY, INPUT, as_input
from bts.inference.runtimes.onnx import OnnxRuntime
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.card import published, to_json

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

NAME = "model.int8.onnx"
CLOSING = ("mask_prob", "cam")
"""Outputs whose last convolution is not quantised: 256 steps are too few for a probability or a map."""
FEWEST = 8


def write_int8(model: Trained, out: Path | None, *, pictures: np.ndarray) -> Written:
    """Write an ONNX file whose convolutions compute in eight bits (static quantisation, weights by channel).

    Args:
        model: the trained model.
        out: file or folder; None writes `model.int8.onnx` beside the model.
        pictures: (N, S, S) uint8, slices as the network sees them, on which the ranges of values are found.

    Raises:
        RequestError: too few pictures, a library is missing, the place can't be written to, or an answer is not finite.
    """
    if len(pictures) < FEWEST:
        raise RequestError(f"{len(pictures)} slices to find the ranges of values on: at least {FEWEST} are needed")
    path = file_at(out, usual=model.folder / NAME)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            quantise(make_onnx(model), part, pictures=pictures)
            label(part, model)
            reference, answers = TorchRuntime(model.network, model.card, device="cpu"), OnnxRuntime.open(part, device="cpu")
            compare(reference, answers, check_pictures(model.card))  # finite, or refused; how near, only scores can tell
    size = path.stat().st_size / 2**20
    return Written(path, (f"{path}: {size:.1f} MiB, ranges from {len(pictures)} slices",))


def quantise(proto: ModelProto, path: Path, *, pictures: np.ndarray) -> None:
    """Write the graph with its convolutions in eight bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        """Hands out one picture after another."""

        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next input, None behind the last."""
            picture = next(self.left, None)
            return None if picture is None else {INPUT: as_input(picture[None])}

    with _quiet():
        quantize_static(
            proto,
            str(path),
            Pictures(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=last_convolutions(proto.graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def last_convolutions(graph: GraphProto) -> list[str]:
    """Return the names of the last convolutions in front of the mask and of the maps."""
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for name in CLOSING:
        node = makers.get(name)
        while node is not None and node.op_type != "Conv":
            node = makers.get(node.input[0])
        if node is not None:
            found.append(node.name)
    return found


def label(path: Path, model: Trained) -> None:
    """Write into the file that it is the eight-bit form of its model; results name it so."""
    import onnx

    proto = onnx.load(path)
    del proto.graph.value_info[:]
    metadata = {entry.key: entry.value for entry in proto.metadata_props if not entry.key.startswith("onnx.")}
    metadata[CARD_KEY] = to_json(replace(published(model.card), name=f"{model.card.name} in int8"))
    del proto.metadata_props[:]
    for name, text in metadata.items():
        proto.metadata_props.add(key=name, value=text)
    path.write_bytes(proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of the quantiser, which is for its own next release, from a user who can't act on it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
