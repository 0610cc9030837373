from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fake_models import write_model

from bts.errors import RequestError
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.pytorch import choose_device
from bts.models.folder import load_network

PICTURES = np.random.default_rng(0).integers(0, 256, size=(3, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {task: write_model(root / task, task) for task in ("seg", "cls", "joint")}


@pytest.mark.parametrize("task", ["seg", "cls", "joint"])
def test_a_model_folder_answers_what_its_task_promises_in_shape_and_range(folders, task):
    raw = open_runtime("torch", folders[task], device="cpu").run(PICTURES)
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
        assert raw.cam.shape == (3, 2, 2)
        assert raw.cam.min() >= 0


def test_a_joint_model_s_map_is_finer_than_grad_cam(tmp_path):
    grad_cam = open_runtime("torch", write_model(tmp_path / "old", "joint"), device="cpu")
    hires_cam = open_runtime("torch", write_model(tmp_path / "new", "joint", cell_offset_px=-15.5), device="cpu")
    one, other = grad_cam.run(PICTURES), hires_cam.run(PICTURES)
    assert one.cam.shape == (3, 2, 2)
    assert other.cam.shape == (3, 16, 16)
    assert np.array_equal(one.class_logits, other.class_logits)
    assert "HiResCAM" not in " ".join(grad_cam.notes)
    assert "HiResCAM" in " ".join(hires_cam.notes)


def test_the_network_sees_the_bytes_divided_by_255(folders):
    network, _ = load_network(folders["cls"])
    with torch.no_grad():
        expected = network(torch.from_numpy(PICTURES[:, None] / np.float32(255))).class_logits
    assert np.allclose(open_runtime("torch", folders["cls"], device="cpu").run(PICTURES).class_logits, expected, atol=1e-5)


def test_mirrored_pictures_that_share_memory_are_taken(folders):
    runtime = open_runtime("torch", folders["seg"], device="cpu")
    assert np.array_equal(runtime.run(PICTURES[:, :, ::-1]).mask_prob, runtime.run(PICTURES[:, :, ::-1].copy()).mask_prob)


def test_the_device_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == ("cpu", "no CUDA device found")
    assert choose_device("cpu") == ("cpu", "asked for")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"A100 number {number}")
    assert choose_device("auto") == ("cuda", "A100 number 0 found")
    assert choose_device("cuda:1") == ("cuda:1", "asked for")
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


def test_truncated_weights_are_refused_in_one_line(folders, tmp_path):
    folder = write_model(tmp_path / "m", "cls")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RequestError, match=r"model\.safetensors") as error:
        open_runtime("torch", folder, device="cpu")
    assert "\n" not in str(error.value)


def test_several_threads_get_the_answers_of_one(folders):
    runtime = open_runtime("torch", folders["joint"], device="cpu", lanes=3)
    pictures = [picture[None] for picture in PICTURES]
    alone = [runtime.run(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(runtime.run, pictures))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.mask_prob, other.mask_prob)
        assert np.array_equal(one.cam, other.cam)
