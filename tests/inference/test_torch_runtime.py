"""PyTorch runtime: its input, its device, and damaged weights."""

import numpy as np
import pytest
import torch
from fake_models import write_model

from bts.errors import RequestError
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.pytorch import choose_device
from bts.models.folder import load_network

PICTURES = np.random.default_rng(0).integers(0, 256, size=(3, 64, 64), dtype=np.uint8)


def test_a_joint_model_s_map_is_finer_than_grad_cam(tmp_path):
    grad_cam = open_runtime("torch", write_model(tmp_path / "old", "joint"), device="cpu")
    hires_cam = open_runtime("torch", write_model(tmp_path / "new", "joint", cell_offset_px=-15.5), device="cpu")
    one, other = grad_cam.run(PICTURES), hires_cam.run(PICTURES)
    assert one.cam.shape == (3, 2, 2)
    assert other.cam.shape == (3, 16, 16)
    assert np.array_equal(one.class_logits, other.class_logits)
    assert "HiResCAM" not in " ".join(grad_cam.notes)
    assert "HiResCAM" in " ".join(hires_cam.notes)


def test_the_network_sees_the_bytes_divided_by_255(exported_models):
    network, _ = load_network(exported_models["cls"])
    with torch.no_grad():
        expected = network(torch.from_numpy(PICTURES[:, None] / np.float32(255))).class_logits
    assert np.allclose(
        open_runtime("torch", exported_models["cls"], device="cpu").run(PICTURES).class_logits, expected, atol=1e-5
    )


def test_the_device_comes_with_its_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == ("cpu", "no CUDA device found")
    assert choose_device("cpu") == ("cpu", "requested")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"A100 number {number}")
    assert choose_device("auto") == ("cuda", "A100 number 0 found")
    assert choose_device("cuda:1") == ("cuda:1", "requested")
    with pytest.raises(RequestError, match="'cuda:2': 2 CUDA devices found"):
        choose_device("cuda:2")


def test_a_gpu_asked_for_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match=r"'cuda': 0 CUDA devices found: use `--device cpu` or auto"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(RequestError, match=r"unknown device .*: choose one of auto, cpu, cuda, cuda:1"):
        choose_device(name)


def test_truncated_weights_are_refused_in_one_line(tmp_path):
    folder = write_model(tmp_path / "m", "cls")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RequestError, match=r"model\.safetensors") as error:
        open_runtime("torch", folder, device="cpu")
    assert "\n" not in str(error.value)
