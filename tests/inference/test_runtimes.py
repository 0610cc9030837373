"""Contract of every registered runtime, on models of every task; exported files need neither torch nor MONAI."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bts.data.slice import Slice
from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import runtimes
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.card import ModelCard
from bts.models.folder import read_card, update_card

TASKS = ("seg", "cls", "joint")
EXPORTED = sorted(set(runtimes) - {"torch"})
"""Runtimes that run an exported file."""
PICTURES = np.random.default_rng(0).integers(0, 256, size=(3, 64, 64), dtype=np.uint8)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", runtimes)
def test_the_raw_output_of_a_task_has_its_shapes_and_ranges(exported_models: dict[str, Path], name: str, task: str) -> None:
    runtime = open_runtime(name, exported_models[task], device="cpu")
    raw = runtime.run(PICTURES)
    assert (raw.mask_prob is None) == (task == "cls")
    assert (raw.class_logits is None) == (raw.cam is None) == (raw.features is None) == (task == "seg")
    for values in raw:
        assert values is None or (values.dtype == np.float32 and len(values) == 3 and np.isfinite(values).all())
    if raw.mask_prob is not None:
        assert raw.mask_prob.shape == (3, 64, 64)
        assert raw.mask_prob.min() >= 0
        assert raw.mask_prob.max() <= 1
    if raw.class_logits is not None:
        assert raw.class_logits.shape == (3, 3)
        side = 64 // 4 if task == "joint" else 64 // 32  # a joint model's map is on the grid on which its mask is pooled
        assert raw.cam.shape == (3, side, side)
        assert raw.cam.min() >= 0
        assert raw.features.ndim == 2
    assert runtime.name == name
    assert runtime.card == read_card(exported_models[task])
    assert runtime.versions
    assert any(name in note for note in runtime.notes)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["onnx", "openvino-f32"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_runtime_in_full_precision_equals_pytorch(exported_models: dict[str, Path], name: str, task: str, count: int) -> None:
    truth = open_runtime("torch", exported_models[task], device="cpu")
    other = open_runtime(name, exported_models[task], device="cpu")
    for cam_class in (None, 0, 1, 2) if task != "seg" else (None,):
        expected = truth.run(PICTURES[:count], cam_class=cam_class)
        received = other.run(PICTURES[:count], cam_class=cam_class)
        for output, here, there in zip(expected._fields, expected, received, strict=True):
            if here is not None:
                assert np.abs(here - there).max() <= 1e-4 * max(1.0, np.abs(here).max()), output


@pytest.mark.parametrize("task", TASKS)
def test_openvino_s_own_precision_is_close(exported_models: dict[str, Path], task: str) -> None:
    truth = open_runtime("torch", exported_models[task], device="cpu").run(PICTURES, cam_class=0)
    found = open_runtime("openvino", exported_models[task], device="cpu").run(PICTURES, cam_class=0)
    for here, there in zip(truth, found, strict=True):
        if here is not None:  # bf16 has 8 bits; the worst pixel of a random network says little, so the mean is looked at
            assert np.abs(here - there).mean() <= 0.01 * max(1.0, np.abs(here).max())


@pytest.mark.parametrize("name", runtimes)
def test_mirrored_views_are_accepted(exported_models: dict[str, Path], name: str) -> None:
    runtime = open_runtime(name, exported_models["seg"], device="cpu")
    assert np.array_equal(runtime.run(PICTURES[:, :, ::-1]).mask_prob, runtime.run(PICTURES[:, :, ::-1].copy()).mask_prob)


@pytest.mark.parametrize("name", runtimes)
def test_threads_get_the_outputs_of_single_calls(exported_models: dict[str, Path], name: str) -> None:
    runtime = open_runtime(name, exported_models["joint"], device="cpu", workers=3)
    single = [runtime.run(picture[None]) for picture in PICTURES]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda picture: runtime.run(picture[None]), PICTURES))
    for one, other in zip(single, together, strict=True):
        np.testing.assert_array_equal(one.mask_prob, other.mask_prob)
        np.testing.assert_array_equal(one.cam, other.cam)


@pytest.mark.parametrize("name", runtimes)
def test_batches_of_different_sizes_follow_one_another(exported_models: dict[str, Path], name: str) -> None:
    runtime = open_runtime(name, exported_models["cls"], device="cpu")
    together = runtime.run(PICTURES).class_logits
    assert np.allclose(runtime.run(PICTURES[:1]).class_logits, together[:1], atol=0.05)
    assert np.allclose(runtime.run(PICTURES).class_logits, together, atol=1e-6), "an output is not overwritten by the next"


@pytest.mark.parametrize("where", ["model folder", "file alone"])
@pytest.mark.parametrize("name", ["onnx", "openvino-f32"])
def test_a_predictor_predicts_the_same_with_another_runtime(
    exported_models: dict[str, Path], tmp_path: Path, name: str, where: str
) -> None:
    place = exported_models["joint"]
    if where == "file alone":
        place = Path(shutil.copy(place / "model.onnx", tmp_path / "brain.onnx"))
    item = Slice(image=np.random.default_rng(1).random((70, 50)), source="file", path="scan.png")
    truth = Predictor.load(joint=exported_models["joint"], device="cpu").predict(item)
    found = Predictor.load(joint=place, device="cpu", runtime=name).predict(item)
    assert found.label == truth.label
    assert np.allclose(found.class_prob, truth.class_prob, atol=1e-4)
    assert np.allclose(found.mask_prob, truth.mask_prob, atol=1e-4)
    assert np.allclose(found.cam, truth.cam, atol=1e-4)
    assert found.models == truth.models, "the same weights have the same identity"
    assert found.runtime.startswith(name)


def test_the_folder_s_card_decides_also_after_the_export(exported_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_models["seg"], tmp_path / "model"))
    update_card(folder, operating_point={"threshold": 0.25, "min_area": 0.0, "flip": True})
    assert open_runtime("onnx", folder, device="cpu").card.operating_point["threshold"] == 0.25
    assert open_runtime("onnx", folder / "model.onnx", device="cpu").card.operating_point["threshold"] == 0.5


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_file_needs_neither_torch_nor_monai(exported_models: dict[str, Path], name: str) -> None:
    code = f"""
import sys
import numpy as np
from bts.data.slice import Slice
from bts.inference.predictor import Predictor
item = Slice(image=np.random.default_rng(1).random((70, 50)), source="file", path="scan.png")
print(Predictor.load(joint={str(exported_models["joint"])!r}, runtime={name!r}, device="cpu").predict(item).label)
heavy = {{"torch", "monai", "timm", "onnx", "lightning", "segmentation_models_pytorch"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in read_card(exported_models["joint"]).classes


def test_the_error_for_a_folder_without_an_export_names_the_command(exported_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_models["cls"], tmp_path / "model"))
    (folder / "model.onnx").unlink()
    with pytest.raises(RequestError, match=r"no model.onnx in it: make it with `bts export .*model --format onnx`"):
        open_runtime("onnx", folder, device="cpu")
    with pytest.raises(RequestError, match=r"no model.xml in it: make it with `bts export .*model --format openvino`"):
        open_runtime("openvino", folder, device="cpu")


@pytest.mark.parametrize("name", EXPORTED)
def test_an_export_of_other_weights_is_refused(exported_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exported_models["cls"], tmp_path / "model"))
    card = json.loads((folder / "model.json").read_text()) | {"weights_sha256": "0" * 64}
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(RequestError, match=r"model.onnx: exported from other weights than the folder's: .* again"):
        open_runtime(name, folder, device="cpu")


def test_an_export_with_another_class_map_is_refused(exported_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_models["joint"], tmp_path / "model"))
    update_card(folder, cell_offset_px=3.0)
    with pytest.raises(RequestError, match=r"model.onnx: computes its class map differently from the folder's: .* again"):
        open_runtime("onnx", folder, device="cpu")


def test_torch_refuses_an_exported_file(exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="runtime 'torch' needs a model folder: use `--runtime auto`"):
        Predictor.load(cls=exported_models["cls"] / "model.onnx")


def test_an_exported_file_of_another_task_is_refused(exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="a model for task 'cls', one for 'seg' is needed here"):
        Predictor.load(seg=exported_models["cls"] / "model.onnx", runtime="onnx")


def test_onnx_runtime_refuses_openvino_s_format(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(RequestError, match=r"runtime 'onnx' needs a file .onnx: use `--runtime openvino`"):
        open_runtime("onnx", tmp_path / "model.xml", device="cpu")


@pytest.mark.parametrize(("name", "library", "extra"), [("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")])
def test_a_runtime_that_is_not_installed_names_its_extra(
    exported_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RequestError, match=rf"runtime '{name}' is not installed: pip install 'bts\[{extra}\]', or use"):
        open_runtime(name, exported_models["cls"], device="cpu")


@pytest.mark.parametrize("name", EXPORTED)
def test_a_gpu_that_the_runtime_cannot_use_is_refused(exported_models: dict[str, Path], name: str) -> None:
    with pytest.raises(RequestError, match="use `--device cpu` or `--runtime torch`"):
        open_runtime(name, exported_models["cls"], device="cuda")


def test_an_unknown_runtime_gets_the_nearest_one(exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match=r"unknown runtime 'openvin' \(did you mean 'openvino'\?\)"):
        open_runtime("openvin", exported_models["cls"], device="cpu")


def test_every_field_of_the_card_comes_back_from_the_file(exported_models: dict[str, Path]) -> None:
    card = open_runtime("onnx", exported_models["joint"] / "model.onnx", device="cpu").card
    assert isinstance(card, ModelCard)
    assert card == read_card(exported_models["joint"])
