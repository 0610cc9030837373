"""Initial weights from a finished model: what is taken, what stays random, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.models import bundled_model
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.fine_tune import find_model, refuse_weights, start_network
from bts.models.folder import ModelCard, write_model_folder
from bts.models.networks import build_network

CLASSES = ["a", "b", "c"]
JOINT = Architecture(
    "joint", "mobilenetv2_035", size=64, num_classes=3, channels=(8, 8, 8, 4, 4), input_mean=0.4, input_std=0.3
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    torch.manual_seed(0)
    network = build_network(JOINT)
    folder = tmp_path_factory.mktemp("run") / "model"
    preprocessing = Preprocessing(size=64, crop_brain=False).to_dict()
    card = ModelCard(
        task="joint", name="x", architecture=JOINT.to_dict(), preprocessing=preprocessing, classes=CLASSES, trained_on="x"
    )
    write_model_folder(folder, card, network.state_dict())
    return network, folder


def is_same(ours: Network, theirs: Network, part: str) -> bool:
    one, other = ours.get_submodule(part).state_dict(), theirs.get_submodule(part).state_dict()
    return all(name in other and torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("named", ["folder", "run", "file"])
def test_the_same_network_takes_every_part(source: tuple[Network, Path], named: str) -> None:
    network, folder = source
    weights = {"folder": folder, "run": folder.parent, "file": folder / "model.safetensors"}[named]
    started = start_network(JOINT, weights=str(weights), classes=CLASSES)
    ours, theirs = started.state_dict(), network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "random" not in started.weights_note


def test_other_classes_start_with_a_new_class_head(source: tuple[Network, Path]) -> None:
    network, folder = source
    started = start_network(JOINT, weights=str(folder), classes=["c", "b", "a"])
    assert [is_same(started, network, part) for part in ("encoder", "decoder", "mask_head", "class_head")] == [
        True,
        True,
        True,
        False,
    ]
    assert started.weights_note.endswith("class head start from random weights")


@pytest.mark.parametrize(("task", "kept"), [("seg", ["encoder", "decoder", "mask_head"]), ("cls", ["encoder"])])
def test_other_tasks_take_the_parts_that_they_share(source: tuple[Network, Path], task: str, kept: list[str]) -> None:
    network, folder = source
    classes = 0 if task == "seg" else 3
    started = start_network(
        Architecture(task, "mobilenetv2_035", size=64, num_classes=classes, channels=(8, 8, 8, 4, 4)),  # type: ignore[arg-type]
        weights=str(folder),
        classes=CLASSES,
    )
    parts = [name for name, part in started.named_children() if part.state_dict()]
    assert [name for name in parts if name in dict(network.named_children()) and is_same(started, network, name)] == kept


def test_the_input_is_normalised_as_the_model_was_trained(source: tuple[Network, Path]) -> None:
    started = start_network(
        Architecture("cls", "mobilenetv2_035", size=64, num_classes=3), weights=str(source[1]), classes=CLASSES
    )
    assert (float(started.input_mean), float(started.input_std)) == pytest.approx((0.4, 0.3))


def test_a_bundled_model_is_found_by_its_name(
    source: tuple[Network, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "small-model").symlink_to(source[1])
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path)
    assert find_model("small-model") == tmp_path / "small-model"
    with pytest.raises(RequestError, match=r"smal-model: no such weights \(did you mean 'small-model'\?\)"):
        refuse_weights("smal-model", "mobilenetv2_035")


def test_a_model_with_another_encoder_is_refused_with_its_name(source: tuple[Network, Path]) -> None:
    with pytest.raises(
        RequestError, match=r"'mobilenetv2_035', expected 'resnet10t': fine-tune with --model\.encoder mobilenetv2_035"
    ):
        refuse_weights(str(source[1]), "resnet10t")


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_words_that_name_no_file_are_not_looked_up(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / weights).mkdir()
    (tmp_path / weights / "model.json").touch()
    monkeypatch.chdir(tmp_path)
    refuse_weights(weights, "resnet10t")
    assert find_model(weights) is None
