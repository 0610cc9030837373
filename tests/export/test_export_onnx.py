"""One ONNX file: what it holds, that it answers as PyTorch does, and that nothing is left of an export that fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bts.errors import RequestError
from bts.export import onnx as exporting
from bts.export.check import Differences, check_pictures, compare, require_equal
from bts.export.formats import export_model
from bts.inference.runtimes.base import RawOutput
from bts.inference.runtimes.exported import OUTPUTS, card_in, outputs_of
from bts.models.folder import load_network, read_card

TASKS = ("seg", "cls", "joint")
PICTURES = np.random.default_rng(0).random((3, 1, 64, 64), dtype=np.float32)


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize("task", TASKS)
def test_a_file_has_one_picture_in_and_the_outputs_of_its_task(exported_models: dict[str, Path], task: str) -> None:
    found = session(exported_models[task] / "model.onnx")
    assert [(each.name, each.shape[1:], each.type) for each in found.get_inputs()] == [("image", [1, 64, 64], "tensor(float)")]
    assert [each.name for each in found.get_outputs()] == list(outputs_of(task))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_of_any_size_is_answered_as_by_the_network(exported_models: dict[str, Path], task: str, batch: int) -> None:
    network, card = load_network(exported_models[task])
    x = PICTURES[:batch]
    with torch.no_grad():
        truth = network(torch.from_numpy(x))
    found = dict(zip(outputs_of(task), session(exported_models[task] / "model.onnx").run(None, {"image": x}), strict=True))
    if task != "cls":
        assert np.abs(found["mask_prob"] - truth.mask_logits.sigmoid().numpy()).max() < 1e-5
        assert found["mask_prob"].min() < 0.1
        assert found["mask_prob"].max() > 0.9, "a mask of one value would prove nothing"
    if task != "seg":
        assert np.allclose(found["class_logits"], truth.class_logits, rtol=1e-4, atol=1e-5)
        assert np.allclose(found["class_prob"], torch.softmax(truth.class_logits / card.temperature, 1), atol=1e-5)
        assert np.allclose(found["features"], truth.features.mean((2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_file_alone_tells_how_to_feed_it_and_what_it_answers(exported_models: dict[str, Path], task: str) -> None:
    card = read_card(exported_models[task])
    file = exported_models[task] / "model.onnx"
    assert card_in(file) == card
    told = session(file).get_modelmeta().custom_metadata_map
    assert json.loads(told["preprocessing"]) == card.preprocessing
    assert json.loads(told["classes"]) == card.classes
    assert all(told[f"output {name}"] == OUTPUTS[name] for name in outputs_of(task))
    assert "Not a medical device" in onnx.load(file).doc_string


def test_the_weights_lie_inside_and_no_path_of_the_machine_does(exported_models: dict[str, Path]) -> None:
    folder = exported_models["joint"]
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx", "model.safetensors"]
    proto = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert not any(each.external_data for each in proto.graph.initializer)
    content = (folder / "model.onnx").read_bytes()
    for path in (Path(exporting.__file__).parents[2], Path(torch.__file__).parent):
        assert str(path).encode() not in content
    assert b"stack_trace" not in content


def test_the_difference_from_pytorch_is_told(
    exported_models: dict[str, Path], graph_beside: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "make_onnx", graph_beside)
    written = export_model(exported_models["cls"], format="onnx", out=tmp_path / "made" / "classes.onnx")
    assert written.path == tmp_path / "made" / "classes.onnx"
    assert [path.name for path in written.path.parent.iterdir()] == ["classes.onnx"]
    assert "largest difference from PyTorch: class_logits " in written.notes[1]
    assert "cam " in written.notes[1]


def spoil(monkeypatch: pytest.MonkeyPatch, folder: Path, value: float) -> None:
    """Let the exporter make a file with one weight changed."""
    proto = onnx.load(folder / "model.onnx")

    def made(_model: object) -> onnx.ModelProto:
        kernel = next(each for each in proto.graph.initializer if each.name.endswith("class_head.1.weight"))
        values = np.frombuffer(kernel.raw_data, np.float32).copy()
        values[::7] = value
        kernel.raw_data = values.tobytes()
        return proto

    monkeypatch.setattr(exporting, "make_onnx", made)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, "differs from PyTorch"), (float("nan"), "the exported file gives values that are no")],
)
def test_a_file_that_answers_otherwise_is_not_left_behind(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, message: str
) -> None:
    folder = copy_of(exported_models["cls"], tmp_path)
    before = (folder / "model.onnx").read_bytes()
    spoil(monkeypatch, folder, value)
    with pytest.raises(RequestError, match=message):
        export_model(folder, format="onnx")
    assert (folder / "model.onnx").read_bytes() == before, "the earlier export stays as it was"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx", "model.safetensors"]


class Saying:
    """A runtime that gives one answer to everything."""

    name, device, notes, versions = "saying", "nowhere", (), {}

    def __init__(self, card: object, **values: list) -> None:
        self.card, self.values = card, {name: np.asarray(value, np.float32) for name, value in values.items()}

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        return RawOutput(**self.values)


def test_differences_are_shares_of_the_largest_value_and_a_mask_s_are_probabilities(exported_models: dict[str, Path]) -> None:
    card = read_card(exported_models["joint"])
    one = Saying(card, mask_prob=[[[0.5]]], class_logits=[[8.0, -10.0, 0.0]], cam=[[[0.0]]], features=[[4.0]])
    other = Saying(card, mask_prob=[[[0.25]]], class_logits=[[8.0, -9.0, 0.0]], cam=[[[0.125]]], features=[[4.0]])
    found = compare(one, other, np.zeros((2, 1, 1), np.uint8))
    assert found.by_output == {"mask_prob": 0.25, "class_logits": pytest.approx(0.1), "cam": 0.125, "features": 0.0}
    assert found.largest == 0.25
    with pytest.raises(RequestError, match=r"it differs from PyTorch \(mask_prob 2.5e-01, .*nothing was written"):
        require_equal(found, what="it")


def test_a_difference_that_is_no_number_is_over_any_tolerance() -> None:
    with pytest.raises(RequestError):
        require_equal(Differences({"mask_prob": float("nan")}, 1), what="it")


def test_a_network_whose_answers_are_not_finite_is_refused(exported_models: dict[str, Path]) -> None:
    card = read_card(exported_models["seg"])
    good, bad = Saying(card, mask_prob=[[[0.5]]]), Saying(card, mask_prob=[[[float("inf")]]])
    with pytest.raises(RequestError, match="mask_prob: PyTorch gives values that are not finite: the model is not exported"):
        compare(bad, good, np.zeros((1, 1, 1), np.uint8))


def test_the_pictures_of_the_check_are_of_many_kinds(exported_models: dict[str, Path]) -> None:
    pictures = check_pictures(read_card(exported_models["cls"]))
    assert pictures.shape[1:] == (64, 64)
    assert pictures.dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 8


def test_an_unknown_format_gets_the_nearest_one(exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match=r"unknown format 'onxx' \(did you mean 'onnx'\?\)"):
        export_model(exported_models["cls"], format="onxx")


def test_what_is_exported_already_is_not_exported_again(exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="already exported: give the model folder"):
        export_model(exported_models["cls"] / "model.onnx", format="onnx")


def test_a_missing_library_is_told_with_its_extra(exported_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(RequestError, match=r"format 'onnx' needs onnxscript: pip install 'bts\[onnx\]'"):
        export_model(exported_models["cls"], format="onnx")


def test_a_place_that_cannot_be_written_to_is_told(exported_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(RequestError, match=r"file.*: can't be written .*choose another --out"):
        export_model(exported_models["cls"], format="onnx", out=tmp_path / "file" / "model.onnx")
