"""Model folders with weights in sixteen bits, small enough for the package; they compute in 32 bits.

Folder and ONNX file hold the same sixteen-bit weights, so both give the same answers, to float precision.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bts.atomic import replacing
from bts.export.base import Trained, writing
from bts.export.check import Differences, check_pictures, compare, require_equal
from bts.export.onnx import check_onnx, make_onnx
from bts.inference.runtimes.exported import FILES
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.card import ModelCard, published
from bts.models.folder import load_network, write_model_folder

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 0.1
"""Largest difference of an answer that rounding may make, as a share of the largest value: at the rim of a mask, a probability
near a half moves by some hundredths, and no pixel that is clearly inside or outside moves at all."""


def write_half_folder(source: Path, out: Path, *, name: str) -> tuple[ModelCard, Differences]:
    """Write a model folder with weights in sixteen bits; return its card and how far its answers are from the original's.

    Kernels and matrices are rounded (11 significant bits). Biases, batch norms and their statistics are few and stay.

    Args:
        source: model folder.
        out: model folder to write.
        name: what results call the model.

    Raises:
        RequestError: no model there, the place can't be written to, or the answers differ by more than `TOLERANCE`.
    """
    network, card = load_network(source)
    rounded = {key: to_half(value) for key, value in network.state_dict().items()}
    card = write_model_folder(out, replace(published(card), name=name), rounded)
    small, _ = load_network(out)
    whole, half = (TorchRuntime(each, card, device="cpu") for each in (network, small))
    differences = compare(whole, half, check_pictures(card))
    require_equal(differences, what="the model in sixteen bits", tolerance=TOLERANCE)
    return card, differences


def write_half_onnx(folder: Path) -> Differences:
    """Write `model.onnx` into a folder of `write_half_folder`, its weights in sixteen bits too, and compare it with PyTorch.

    Raises:
        RequestError: a library is missing, the place can't be written to, or the answers differ.
    """
    network, card = load_network(folder)
    model = Trained(folder, network, card)
    path = folder / FILES["onnx"][0]
    with writing(folder), replacing(path) as part:
        part.write_bytes(store_in_half(make_onnx(model, fold=False)).SerializeToString())
        differences = check_onnx(model, part)
    return differences


def store_in_half(proto: ModelProto) -> ModelProto:
    """Return the graph with every 32-bit weight that sixteen bits hold exactly stored so, and widened where it is used."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        narrow = values.astype(np.float16)
        if values.dtype == np.float32 and values.ndim >= 2 and np.array_equal(narrow, values):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(narrow, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def to_half(values: torch.Tensor) -> torch.Tensor:
    """Return weights of two or more dimensions in 16 bits, and everything else as it is."""
    return values.half() if values.dtype == torch.float32 and values.ndim >= 2 else values
