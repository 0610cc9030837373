"""A model in sixteen bits: half the size, and the same answers from folder and ONNX file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bts.errors import RequestError
from bts.export.check import check_pictures, compare
from bts.inference.runtimes.onnx import OnnxRuntime
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.folder import load_network, read_card
from tools.half_precision import store_in_half, write_half_folder, write_half_onnx


@pytest.fixture(scope="module")
def small(exported_models: dict[str, Path], made_once: Callable[..., Path]) -> Path:
    def write(root: Path) -> None:
        write_half_folder(exported_models["cls"], root / "small", name="small")
        write_half_onnx(root / "small")

    return made_once("half", write) / "small"


def size_of(file: Path) -> int:
    return file.stat().st_size


def test_both_files_are_about_half_as_large(small: Path, exported_models: dict[str, Path]) -> None:
    whole = exported_models["cls"]
    assert size_of(small / "model.safetensors") < 0.6 * size_of(whole / "model.safetensors")
    assert size_of(small / "model.onnx") < 0.75 * size_of(whole / "model.onnx")  # the graph itself weighs something here


def test_the_card_is_the_original_s_under_the_new_name(small: Path, exported_models: dict[str, Path]) -> None:
    before, after = read_card(exported_models["cls"]), read_card(small)
    assert after == replace(before, name="small", weights_sha256=after.weights_sha256)
    assert after.weights_sha256 != before.weights_sha256


def test_weights_move_by_no_more_than_half_a_step_of_sixteen_bits(small: Path, exported_models: dict[str, Path]) -> None:
    whole, small = (load_network(folder)[0].state_dict() for folder in (exported_models["cls"], small))
    for name, values in whole.items():
        assert small[name].dtype == values.dtype
        if values.ndim >= 2:
            largest = 2.0**-11 * values.abs() + 2.0**-25  # relative above the smallest normal number, absolute below
            assert ((small[name] - values).abs() <= largest).all(), name
        else:
            assert torch.equal(small[name], values), name


def test_the_onnx_file_answers_as_the_folder_does(small: Path) -> None:
    differences = compare(
        TorchRuntime.open(small, device="cpu"), OnnxRuntime.open(small, device="cpu"), check_pictures(read_card(small))
    )
    assert differences.largest < 1e-4


def test_a_weight_that_sixteen_bits_do_not_hold_stays_as_it_is() -> None:
    onnx = pytest.importorskip("onnx")
    exact, inexact = np.full((2, 2), 0.5, np.float32), np.full((2, 2), 0.1, np.float32)
    weights = [onnx.numpy_helper.from_array(values, name) for name, values in (("exact", exact), ("inexact", inexact))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["exact", "inexact"], ["sum"])],
        "sum",
        [],
        [onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, (2, 2))],
        weights,
    )
    stored = store_in_half(onnx.helper.make_model(graph))
    onnx.checker.check_model(stored)
    kinds = {each.name: each.data_type for each in stored.graph.initializer}
    assert kinds == {"exact.half": onnx.TensorProto.FLOAT16, "inexact": onnx.TensorProto.FLOAT}


def test_answers_that_differ_are_refused(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.half_precision.to_half", lambda values: values * 1.5 if values.ndim >= 2 else values)
    with pytest.raises(RequestError, match="the model in sixteen bits differs from PyTorch"):
        write_half_folder(exported_models["cls"], tmp_path / "small", name="small")


def test_weights_cut_short_are_told_in_one_line(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "small")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(RequestError, match=r"no whole safetensors file .*: cut short or changed") as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)
