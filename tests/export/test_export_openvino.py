"""OpenVINO's two files: they carry the card, answer as PyTorch does, and belong together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bts.errors import RequestError
from bts.export import openvino as exporting
from bts.export.formats import export_model
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.exported import card_in
from bts.models.folder import read_card

PICTURES = np.random.default_rng(0).integers(0, 256, size=(3, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(exported_models: dict[str, Path], graph_beside: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(exported_models["joint"], tmp_path_factory.mktemp("openvino") / "model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "make_onnx", graph_beside)
        export_model(folder, format="openvino")
    return folder


def test_two_files_lie_beside_the_weights_and_carry_the_card(folder: Path) -> None:
    names = ["model.bin", "model.json", "model.onnx", "model.safetensors", "model.xml"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert card_in(folder / "model.xml") == read_card(folder)


def test_weights_keep_their_32_bits(folder: Path) -> None:
    weights, whole = (folder / "model.bin").stat().st_size, (folder / "model.safetensors").stat().st_size
    assert weights > 0.9 * whole


def test_it_goes_before_the_onnx_file_and_answers_as_pytorch_does(folder: Path) -> None:
    runtime = open_runtime("openvino-f32", folder, device="cpu")
    assert runtime.file.name == "model.xml"
    truth, found = open_runtime("torch", folder, device="cpu").run(PICTURES), runtime.run(PICTURES)
    for name in ("mask_prob", "class_logits", "cam", "features"):
        here, there = getattr(truth, name), getattr(found, name)
        assert np.abs(here - there).max() <= 1e-4 * max(1.0, np.abs(here).max())


def test_the_two_files_are_enough(folder: Path, tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(folder / f"model{suffix}", tmp_path / f"brain{suffix}")
    assert open_runtime("openvino", tmp_path / "brain.xml", device="cpu").run(PICTURES).class_logits.shape == (3, 3)


def test_one_file_without_the_other_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.xml", tmp_path / "model.xml")
    with pytest.raises(RequestError, match=r"model.xml: it is not opened .*model.bin has 0") as error:
        open_runtime("openvino", tmp_path / "model.xml", device="cpu")
    assert "\n" not in str(error.value)


def test_a_missing_library_is_told_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"format 'openvino' needs openvino: pip install 'bts\[onnx,openvino\]'"):
        export_model(folder, format="openvino")
