"""Model folders give back the network that was put in, and every damaged one is refused in a line."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.export.formats import export_model
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.folder import ModelCard, load_network, read_card, update_card, write_model_folder
from bts.models.networks import build_network


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build_network(Architecture("joint", "mobilenetv2_035", size=64, num_classes=3, channels=(8, 8, 8, 4, 4))).eval()


def card_of(network: Network) -> ModelCard:
    return ModelCard(
        task=network.architecture.task,
        name="small",
        architecture=network.architecture.to_dict(),
        preprocessing=Preprocessing(size=64, crop_brain=False).to_dict(),
        classes=["a", "b", "c"],
        trained_on="nothing",
    )


@pytest.fixture
def folder(network: Network, tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "model", card_of(network), network.state_dict())
    return tmp_path / "model"


def test_a_network_comes_back_bit_for_bit(network: Network, folder: Path) -> None:
    again, card = load_network(folder)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(network(x), again(x), strict=True):
            assert torch.equal(ours, theirs)
    assert not again.training
    assert again.architecture == network.architecture
    assert card == read_card(folder)
    assert card.fingerprint == card.weights_sha256[:16]


def test_the_folder_holds_a_readable_card_and_safetensors_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    text = (folder / "model.json").read_text()
    assert text.startswith('{\n  "format": 3,\n  "task": "joint",\n  "name": "small",')
    values = json.loads(text)
    assert values["operating_point"] == {"threshold": 0.5, "min_area": 0.0, "flip": False}
    assert {"torch", "timm", "segmentation-models-pytorch"} <= set(values["versions"])
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_channels_last_network_is_saved_like_any_other(network: Network, folder: Path, tmp_path: Path) -> None:
    state = {
        name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in network.state_dict().items()
    }
    card = write_model_folder(tmp_path / "other", card_of(network), state)
    assert card.weights_sha256 == read_card(folder).weights_sha256


def test_the_card_is_read_without_torch(folder: Path) -> None:
    code = (
        "import sys; from bts.models.folder import read_card, update_card; "
        f"update_card({str(folder)!r}, temperature=2.0); card = read_card({str(folder)!r}); "
        "assert card.temperature == 2.0; assert not {'torch', 'timm', 'monai', 'numpy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_what_is_chosen_later_is_changed_alone(folder: Path) -> None:
    before = read_card(folder)
    point: dict[str, float | bool] = {"threshold": 0.4, "min_area": 0.001, "flip": True}
    after = update_card(folder, operating_point=point, cam_scale=2.5, refer_below=0.7, scores={"dice": {"value": 0.8, "n": 12}})
    assert (after.operating_point, after.cam_scale, after.refer_below) == (point, 2.5, 0.7)
    assert after.temperature == before.temperature
    assert after.weights_sha256 == before.weights_sha256
    assert read_card(folder) == after
    load_network(folder)


def test_a_score_that_is_no_number_becomes_null(folder: Path) -> None:
    update_card(folder, scores={"dice": math.nan, "recall": [np.float32(0.5), math.inf], "n": np.int64(3)})
    assert read_card(folder).scores == {"dice": None, "recall": [0.5, None], "n": 3}


def test_a_folder_that_is_there_is_replaced(network: Network, folder: Path) -> None:
    (folder / "left over").touch()
    write_model_folder(folder, card_of(network), network.state_dict())
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]


def change(**values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        card = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({**card, **values}))

    return spoil


def drop(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        card = json.loads((folder / "model.json").read_text())
        del card[name]
        (folder / "model.json").write_text(json.dumps(card))

    return spoil


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def truncate(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def flip_last_bit(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), r"model: no model.json in it: not a model folder"),
        (write("model.json", b"{"), r"model.json: not valid JSON .* the card is damaged"),
        (write("model.json", b"\xff\xfe"), r"model.json: can't be read as text: the card is damaged"),
        (write("model.json", b"[]"), r"model.json: model card of format 'list', expected format 3"),
        (
            change(format=2),
            r"model.json: model card of format 2, expected format 3: train the model again, or export the file again",
        ),
        (change(format=4), r"model.json: model card of format 4, expected format 3: install the version of bts that wrote it"),
        (change(colour="red"), r"model.json: unknown field 'colour'"),
        (drop("weights_sha256"), r"model.json: no field 'weights_sha256'"),
        (change(task="cook"), r"model.json: task: expected 'seg', 'cls' or 'joint', received 'cook'"),
        (change(operating_point={"threshold": 0.5}), r"operating_point: field 'min_area' is missing"),
        (change(temperature=0), r"temperature: expected a number above 0 and up to 1000, received 0"),
        (change(classes=["a", "b"]), r"2 class names, the network has 3 classes"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"model.safetensors: no such file: the model folder is incomplete",
        ),
        (truncate, r"model.safetensors: no whole safetensors file \([\d,]+ bytes, its header tells of [\d,]+\): cut short"),
        (flip_last_bit, r"model.safetensors: [\d,]+ bytes whose SHA-256 is not the card's: cut short or changed"),
        (write("model.safetensors", b""), r"model.safetensors: no whole safetensors file \(0 bytes, a header of 0 bytes\)"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(spoil: Callable[[Path], None], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(RequestError, match=message) as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_task_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"model: a model for task 'joint', one for 'seg' is needed here"):
        read_card(folder, expect="seg")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere: no such model folder; give the folder `model` of a run"):
        read_card(tmp_path / "nowhere")


def test_weights_of_another_network_are_refused(network: Network, tmp_path: Path) -> None:
    card = card_of(network)
    write_model_folder(tmp_path / "model", card, {**network.state_dict(), "class_head.1.bias": torch.zeros(9)})
    with pytest.raises(RequestError, match=r"the weights are not those of the card \(.*class_head.1.bias") as caught:
        load_network(tmp_path / "model")
    assert "\n" not in str(caught.value)


def spoil_weights(folder: Path, value: float) -> None:
    """Write a value into one weight of a folder, with the right SHA-256."""
    weights = load_file(folder / "model.safetensors")
    weights["class_head.1.bias"][1] = value
    save_file(weights, folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    change(weights_sha256=digest)(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded_nor_exported(
    value: float, network: Network, folder: Path, tmp_path: Path
) -> None:
    told = r"^\S+: the weights 'class_head.1.bias' hold NaN or infinity, .*lower learning rate \(--optim.lr\)$"
    spoilt = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    spoilt["class_head.1.bias"][1] = value
    with pytest.raises(RequestError, match=told):
        write_model_folder(tmp_path / "other", card_of(network), spoilt)
    assert not (tmp_path / "other").exists()
    spoil_weights(folder, value)
    with pytest.raises(RequestError, match=told):
        load_network(folder)
    with pytest.raises(RequestError, match=told):
        export_model(folder, format="onnx")
    assert not (folder / "model.onnx").exists()


def test_weights_that_overflow_in_sixteen_bits_are_not_saved(network: Network, tmp_path: Path) -> None:
    state = {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in network.state_dict().items()}
    state["mask_head.weight"] = (network.state_dict()["mask_head.weight"] + 1e5).half()
    with pytest.raises(RequestError, match=r"'mask_head\.weight' hold NaN or infinity"):
        write_model_folder(tmp_path / "other", card_of(network), state)


def test_a_place_that_can_not_be_written_to_is_named(network: Network, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file/model: can't be written \(.*\): choose another place or free disk space"):
        write_model_folder(tmp_path / "file" / "model", card_of(network), network.state_dict())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_the_old_folder_whole(
    code: int, network: Network, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> int:
        raise OSError(code, "no room or no right")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        with pytest.raises(RequestError, match="model: can't be written"):
            write_model_folder(folder, card_of(network), network.state_dict())
        with pytest.raises(RequestError, match="model: can't be written"):
            update_card(folder, temperature=3.0)
    assert load_network(folder)[1].temperature == 1.0
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_threshold_of_uncertain_masks_is_kept(folder: Path) -> None:
    update_card(folder, uncertain_mask_below=0.75)
    assert read_card(folder).uncertain_mask_below == 0.75
