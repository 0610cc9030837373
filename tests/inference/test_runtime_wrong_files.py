"""Exported files that are damaged or not from bts are refused in one line before anything is computed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.exported import CARD_KEY, card_in
from bts.inference.runtimes.onnx_metadata import read_metadata
from bts.models.architecture import Architecture
from bts.models.card import ModelCard, to_json

CARD = ModelCard(
    task="cls",
    name="a card",
    architecture=Architecture("cls", size=32, num_classes=2).to_dict(),
    preprocessing=Preprocessing(size=32, crop_brain=False).to_dict(),
    classes=["meningioma", "glioma"],
    weights_sha256="0" * 64,
)


def write_file(path: Path, *, side: int = 32, inputs: str = "image", output: str = "class_logits", **metadata: str) -> Path:
    """Write an ONNX file that hands its input on."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [inputs], [output])],
        "handed on",
        [helper.make_tensor_value_info(inputs, TensorProto.FLOAT, ["batch", 1, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1, side, side])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_file(tmp_path / "good.onnx", **{CARD_KEY: to_json(CARD)})


def test_metadata_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = {"empty": "", "long": "x" * 70_000, "accents": "méningiome, Грудь", "lines": "a\nb"}
    assert read_metadata(write_file(tmp_path / "m.onnx", **told)) == told
    assert read_metadata(write_file(tmp_path / "n.onnx")) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"no protobuf at all", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff" * 40, bytes(64), b"PK\x03\x04" + bytes(30)],
)
def test_a_file_that_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"model.onnx: not an ONNX file") as error:
        open_runtime("onnx", path, device="cpu")
    assert "\n" not in str(error.value)


def test_a_file_cut_short_is_refused_wherever_the_cut_is(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    for length in range(1, len(whole) - 1, 7):
        part = tmp_path / "part.onnx"
        part.write_bytes(whole[:length])
        with pytest.raises(RequestError, match=r"part.onnx: "):
            card_in(part)


def test_a_file_without_a_card_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not exported by `bts export`: it has no model card"):
        open_runtime("onnx", write_file(tmp_path / "m.onnx"), device="cpu")


def test_a_damaged_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"m.onnx: not valid JSON"):
        open_runtime("onnx", write_file(tmp_path / "m.onnx", **{CARD_KEY: "{"}), device="cpu")


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"outputs class_logits, expected class_logits, class_prob, cam, features"),
        ({"output": "dogs"}, r"outputs dogs, expected class_logits, class_prob, cam, features"),
        ({"inputs": "x"}, r"inputs x \[.*1, 32, 32\], expected image \[batch, 1, 32, 32\]"),
        ({"side": 64}, r"inputs image \[.*1, 64, 64\], expected image \[batch, 1, 32, 32\]"),
    ],
)
def test_other_inputs_or_outputs_are_refused(tmp_path: Path, name: str, changes: dict[str, object], message: str) -> None:
    path = write_file(tmp_path / "m.onnx", **changes, **{CARD_KEY: to_json(CARD)})
    with pytest.raises(RequestError, match=message):
        open_runtime(name, path, device="cpu")


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_graph_that_the_library_cannot_run_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["absent"], ["class_logits"])],
        "unknown",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 32, 32])],
        [helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, ["batch", 1, 32, 32])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CARD_KEY: to_json(CARD)})
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(RequestError, match=r"m.onnx: .* can't open it \(.*\): export it again") as error:
        open_runtime(name, tmp_path / "m.onnx", device="cpu")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone.onnx: no such file: export a model with `bts export MODEL`"):
        open_runtime("onnx", tmp_path / "gone.onnx", device="cpu")


@pytest.mark.parametrize(("text", "message"), [("<net>", "no OpenVINO file"), ("<net/>", "it has no model card")])
def test_an_openvino_file_that_is_none_of_ours_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.xml").write_text(text)
    with pytest.raises(RequestError, match=message):
        open_runtime("openvino", tmp_path / "model.xml", device="cpu")
