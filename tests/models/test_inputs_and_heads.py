"""Input channels, normalisation, class heads and the small CNN, as the architecture says."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from bts.errors import RequestError
from bts.models.alignment import cell_offset_px
from bts.models.architecture import Architecture
from bts.models.base import IMAGENET_MEANS, IMAGENET_STDS
from bts.models.encoders import Encoder
from bts.models.freeze import set_trainable
from bts.models.networks import build_network, create_network

SMALL = "test_resnet"


def cls(encoder: str = SMALL, **values: object) -> Architecture:
    return Architecture("cls", encoder, size=64, num_classes=3, **values)  # type: ignore[arg-type]


# ---- the input


@pytest.mark.parametrize(
    ("normalisation", "low", "high"),
    [("unit", 0.0, 1.0), ("imagenet", -0.449 / 0.226, 0.551 / 0.226)],
)
def test_black_and_white_become_what_the_normalisation_says(normalisation: str, low: float, high: float) -> None:
    network = build_network(cls(normalisation=normalisation))
    x = torch.zeros(1, 1, 64, 64)
    x[..., 32:] = 1
    seen = network.normalise(x)
    assert float(seen.min()) == pytest.approx(low, abs=1e-5)
    assert float(seen.max()) == pytest.approx(high, abs=1e-5)


def test_three_channels_are_normalised_each_by_imagenet_s_own() -> None:
    network = build_network(cls(in_channels=3, normalisation="imagenet"))
    seen = network.normalise(torch.full((1, 1, 64, 64), 0.5))
    assert seen.shape == (1, 3, 64, 64)
    expected = [(0.5 - mean) / std for mean, std in zip(IMAGENET_MEANS, IMAGENET_STDS, strict=True)]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(expected)


def test_three_equal_channels_compute_what_summed_kernels_do() -> None:
    """With one mean for all channels a grey network whose first kernels are the sum over RGB is the same function."""
    three = build_network(cls("resnet18", in_channels=3, input_mean=0.5, input_std=0.5)).eval()
    grey = build_network(cls("resnet18", input_mean=0.5, input_std=0.5)).eval()
    state = three.state_dict()
    state["encoder.body.conv1.weight"] = state["encoder.body.conv1.weight"].sum(1, keepdim=True)
    grey.load_state_dict(state)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(three(x).class_logits, grey(x).class_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("values", [{"in_channels": 3, "normalisation": "imagenet"}, {"normalisation": "unit"}])
def test_the_architecture_comes_back_from_its_model_card_with_the_same_answers(values: dict[str, object]) -> None:
    network = build_network(cls(**values)).eval()
    again = create_network(Architecture.from_dict(json.loads(json.dumps(network.architecture.to_dict())))).eval()
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(x).class_logits, again(x).class_logits)


# ---- heads


def test_hidden_layers_stand_between_the_pooled_maps_and_the_classes() -> None:
    network = build_network(cls("resnet18", hidden=(16, 8), head_norm=True, dropout=0.4))
    kinds = [nn.BatchNorm1d, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.BatchNorm1d, nn.Linear]
    assert [type(step) for step in network.class_head] == kinds
    assert [step.out_features for step in network.class_head if isinstance(step, nn.Linear)] == [16, 8, 3]
    assert {step.p for step in network.class_head if isinstance(step, nn.Dropout)} == {0.4}


def test_a_head_with_hidden_layers_learns_alone() -> None:
    network = build_network(cls(hidden=(16,), head_norm=True))
    set_trainable(network, "head")
    learning = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"class_head"}


# ---- the small CNN


def test_the_small_cnn_is_the_published_one() -> None:
    network = build_network(cls("cnn_scratch", hidden=(256,), dropout=0.3)).eval()
    layers = [
        (type(module), getattr(module, "out_channels", getattr(module, "out_features", None))) for module in network.modules()
    ]
    assert [width for kind, width in layers if kind is nn.Conv2d] == [32, 64, 128]
    assert [width for kind, width in layers if kind is nn.Linear] == [256, 3]
    with torch.no_grad():
        output = network(torch.rand(2, 1, 64, 96))
    assert output.features.shape == (2, 128, 8, 12)
    assert output.class_logits.shape == (2, 3)


@pytest.mark.parametrize("what", ["head", "last_block", "last:3", "all"])
def test_the_small_cnn_can_be_frozen_in_every_way(what: str) -> None:
    network = build_network(cls("cnn_scratch", hidden=(256,)))
    assert set_trainable(network, what).startswith(what)
    last = any(parameter.requires_grad for parameter in network.encoder.body.blocks[-1].parameters())
    assert last == (what != "head")


def test_a_cell_of_the_small_cnn_looks_at_its_own_place() -> None:
    """Kernels of 3 and halvings of 2 are both symmetric about their cell, so nothing is moved."""
    assert cell_offset_px(Encoder("cnn_scratch", top=True), size=64) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("task", ["seg", "joint"])
def test_no_decoder_fits_the_small_cnn(task: str) -> None:
    with pytest.raises(RequestError, match="halves the picture 3 times, a decoder needs 5 halvings: use it for classification"):
        build_network(Architecture(task, "cnn_scratch", size=64, num_classes=0 if task == "seg" else 3))


def test_the_small_cnn_has_no_imagenet_weights() -> None:
    with pytest.raises(RequestError, match="there are no ImageNet weights for encoder 'cnn_scratch'"):
        build_network(cls("cnn_scratch"), weights="imagenet")


def test_a_misspelt_small_cnn_is_suggested() -> None:
    with pytest.raises(RequestError, match=r"unknown encoder 'cnn_scrach' \(did you mean 'cnn_scratch'\?\)"):
        build_network(cls("cnn_scrach"))


def test_its_blocks_halve_by_the_maximum() -> None:
    maps = Encoder("cnn_scratch", top=True)(torch.rand(1, 1, 64, 64))
    assert all(before.shape[-1] == 2 * after.shape[-1] for before, after in pairwise(maps))


def test_weights_that_expect_another_input_are_told(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = timm.create_model("test_resnet").state_dict()
    save_file(
        {key: value.contiguous() for key, value in state.items()}, path, metadata={"input_mean": "0.5", "input_std": "0.5"}
    )
    as_the_weights, unlike = (
        build_network(cls(in_channels=3, normalisation=name), weights=path) for name in ("weights", "imagenet")
    )
    assert float(as_the_weights.input_mean) == 0.5
    assert unlike.input_mean.flatten().tolist() == pytest.approx(IMAGENET_MEANS)
    assert unlike.weights_note.endswith("the input is normalised as 'imagenet' says all the same")
    assert "all the same" not in as_the_weights.weights_note
    assert torch.equal(unlike.encoder.state_dict()["body.model.conv1.0.weight"], state["conv1.0.weight"])
