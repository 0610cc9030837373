"""Eight bits: smaller, near the model, named for what it is, and answered by the same runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bts.errors import RequestError
from bts.export import int8
from bts.export.base import Trained, Written
from bts.export.int8 import last_convolutions, write_int8
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import load_network, read_card

PICTURES = np.random.default_rng(0).integers(0, 256, size=(12, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(exported_models: dict[str, Path]) -> Trained:
    return Trained(exported_models["joint"], *load_network(exported_models["joint"]))


@pytest.fixture(scope="module")
def written(model: Trained, graph_beside: Callable, tmp_path_factory: pytest.TempPathFactory) -> Written:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "make_onnx", graph_beside)
        return write_int8(model, tmp_path_factory.mktemp("int8"), pictures=PICTURES)


def test_it_is_one_smaller_file(written: Written, model: Trained) -> None:
    assert [path.name for path in written.path.parent.iterdir()] == ["model.int8.onnx"]
    assert written.path.stat().st_size < 0.5 * (model.folder / "model.onnx").stat().st_size
    assert "ranges from 12 slices" in written.notes[0]


def test_it_answers_near_the_model(written: Written, model: Trained) -> None:
    truth = open_runtime("torch", model.folder, device="cpu").run(PICTURES, cam_class=0)
    found = open_runtime("onnx", written.path, device="cpu").run(PICTURES, cam_class=0)
    for name in ("mask_prob", "class_logits", "cam", "features"):
        here, there = getattr(truth, name), getattr(found, name)
        error = np.abs(here - there).mean() / np.abs(here).max()
        assert 0 < error < 0.1


def test_results_name_it_for_what_it_is(written: Written, model: Trained) -> None:
    card = open_runtime("onnx", written.path, device="cpu").card
    assert card.name == f"{model.card.name} in int8"
    assert card.weights_sha256 == read_card(model.folder).weights_sha256


def test_what_closes_mask_and_map_stays_in_floats(written: Written, model: Trained) -> None:
    proto = onnx.load(written.path)
    closing = last_convolutions(onnx.load(model.folder / "model.onnx").graph)
    assert len(closing) == 2
    makers = {name: node.op_type for node in proto.graph.node for name in node.output}
    weights = {node.name: makers.get(node.input[1]) for node in proto.graph.node if node.op_type == "Conv"}
    assert {name for name, maker in weights.items() if maker != "DequantizeLinear"} == set(closing)


def test_too_few_slices_are_refused(model: Trained, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="3 slices to find the ranges of values on: at least 8 are needed"):
        write_int8(model, tmp_path, pictures=PICTURES[:3])
    assert list(tmp_path.iterdir()) == []
