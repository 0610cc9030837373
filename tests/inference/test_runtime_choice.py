"""Runtime that `auto` picks, and the reasons against the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bts.data.slice import Slice
from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.inference.runtimes import catalogue
from bts.inference.runtimes.catalogue import choose_runtime


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogue, "NVIDIA", str(tmp_path / "no such device"))


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(catalogue, "find_spec", lambda name: object() if name in names else None)


def test_what_is_asked_for_is_taken_as_it_is(tmp_path: Path) -> None:
    assert choose_runtime("onnx", tmp_path / "anything", device="cpu") == ("onnx", None)


def test_the_fastest_that_is_installed_is_taken(exported_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported_models["cls"]
    installed(monkeypatch, "openvino", "onnxruntime", "torch")
    assert choose_runtime("auto", folder, device="auto").name == "openvino-f32"
    installed(monkeypatch, "onnxruntime", "torch")
    name, why = choose_runtime("auto", folder, device="cpu")
    assert name == "onnx"
    assert str(why).startswith("runtime onnx: the fastest available on a CPU; ")
    assert str(why).endswith("; not openvino-f32: not installed (pip install 'bts[openvino]')")
    installed(monkeypatch, "torch")
    assert choose_runtime("auto", folder, device="auto").name == "torch"


def test_without_an_exported_file_torch_answers_and_it_is_said_why(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "openvino", "onnxruntime", "torch")
    folder = Path(shutil.copytree(exported_models["cls"], tmp_path / "model"))
    (folder / "model.onnx").unlink()
    name, why = choose_runtime("auto", folder, device="auto")
    assert name == "torch"
    assert "not onnx: not exported (`bts export MODEL`)" in str(why)


def test_an_export_of_other_weights_is_passed_over(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "onnxruntime", "torch")
    folder = Path(shutil.copytree(exported_models["cls"], tmp_path / "model"))
    shutil.copy(exported_models["joint"] / "model.onnx", folder / "model.onnx")
    name, why = choose_runtime("auto", folder, device="auto")
    assert name == "torch"
    assert "exported from other weights than the folder's" in str(why)


def test_on_a_gpu_torch_goes_first(exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "openvino", "onnxruntime", "torch")
    assert choose_runtime("auto", exported_models["cls"], device="cuda:1").name == "torch"
    (tmp_path / "gpu").touch()
    monkeypatch.setattr(catalogue, "NVIDIA", str(tmp_path / "gpu"))
    assert choose_runtime("auto", exported_models["cls"], device="auto").name == "torch"
    assert choose_runtime("auto", exported_models["cls"], device="cpu").name == "openvino-f32"


def test_where_none_can_answer_each_says_why(exported_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "torch")
    with pytest.raises(RequestError, match=r"no runtime is available: not openvino-f32: not installed .*; not torch: it needs"):
        choose_runtime("auto", exported_models["cls"] / "model.onnx", device="auto")


def test_a_predictor_tells_which_runtime_it_took_and_why(exported_models: dict[str, Path]) -> None:
    predictor = Predictor.load(seg=exported_models["seg"], cls=exported_models["cls"], runtime="auto")
    told = [note for note in predictor.notes if note.startswith("runtime openvino-f32: the fastest available on a CPU")]
    assert len(told) == 1
    item = Slice(image=np.random.default_rng(1).random((70, 50)), source="file", path="scan.png")
    assert predictor.predict(item).runtime == "openvino-f32 on cpu in f32"
