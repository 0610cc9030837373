"""Frozen parts: exactly the named part is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.freeze import layers_in_order, set_trainable
from bts.models.networks import build_network


def network_of(task: str, encoder: str) -> Network:
    torch.manual_seed(0)
    classes = 0 if task == "seg" else 3
    return build_network(Architecture(task, encoder, size=64, num_classes=classes, channels=(8, 8, 8, 4, 4)))  # type: ignore[arg-type]


def learning(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def beginning(network: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in network.named_parameters() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("encoder", "block"),
    [
        ("resnet18", ("encoder.body.layer4.",)),
        ("resnet50", ("encoder.body.layer4.",)),
        ("tu-resnet18", ("encoder.body.model.layer4.",)),
        ("mobilenetv2_100", ("encoder.body.model.blocks.5.", "encoder.body.model.blocks.6.", "encoder.top.")),
        ("efficientnet_b0", ("encoder.body.model.blocks.5.", "encoder.body.model.blocks.6.", "encoder.top.")),
        ("test_convnext", ("encoder.body.model.stages_3.",)),
        ("vgg11", ("encoder.body.features.16.", "encoder.body.features.18.")),  # the two convolutions before the last pooling
    ],
)
def test_the_last_block_is_the_encoders_last_stage(encoder: str, block: tuple[str, ...]) -> None:
    network = network_of("cls", encoder)
    set_trainable(network, "last_block")
    assert learning(network) == beginning(network, *block, "class_head.")


@pytest.mark.parametrize("task", ["seg", "cls", "joint"])
def test_the_head_is_all_but_the_encoder(task: str) -> None:
    network = network_of(task, "test_resnet")
    set_trainable(network, "head")
    assert learning(network) == {name for name, _ in network.named_parameters()} - beginning(network, "encoder.")


def test_all_thaws_everything_again() -> None:
    network = network_of("cls", "test_resnet")
    set_trainable(network, "last:1")
    set_trainable(network, "all")
    assert learning(network) == {name for name, _ in network.named_parameters()}


def test_the_last_layers_are_counted_in_the_order_of_the_forward_pass() -> None:
    network = network_of("cls", "mobilenetv2_035")
    expected = ["class_head.1", "encoder.top.bn2", "encoder.top.conv_head", "encoder.body.model.blocks.6.0.bn3"]
    for count in range(1, 5):
        set_trainable(network, f"last:{count}")
        assert learning(network) == beginning(network, *(f"{name}." for name in expected[:count]))


def test_every_layer_with_parameters_is_counted_once() -> None:
    network = network_of("joint", "test_convnext")
    counted = [id(parameter) for layer in layers_in_order(network) for parameter in layer.parameters(recurse=False)]
    assert sorted(counted) == sorted(id(parameter) for parameter in network.parameters())


def test_the_description_counts_parameters_and_layers() -> None:
    network = network_of("cls", "mobilenetv2_035")
    whole = sum(parameter.numel() for parameter in network.parameters())
    learned = 3 * 1280 + 3  # the linear head
    line = set_trainable(network, "head")
    assert line.startswith(f"head: 3,843 of {whole:,} parameters ({learned / whole:.1%}) in 1 of ")
    assert line.endswith(" layers are trained")


def test_a_frozen_batch_norm_keeps_its_statistics_in_training() -> None:
    network = network_of("cls", "resnet18")
    set_trainable(network, "last_block")
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([parameter for parameter in network.parameters() if parameter.requires_grad], lr=0.1)
    network(torch.rand(2, 1, 64, 64)).class_logits.square().sum().backward()
    optimiser.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    free = ("encoder.body.layer4.", "class_head.")
    assert changed
    assert all(name.startswith(free) for name in changed)
    assert "encoder.body.layer4.0.bn1.running_mean" in changed


def test_freezing_neither_switches_the_mode_nor_leaves_gradients() -> None:
    network = network_of("joint", "test_resnet")
    for mode in (True, False):
        network.train(mode)
        set_trainable(network, "last_block")
        assert network.training is mode
        assert network.class_head.training is mode
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "last_blok",
            r"^trainable: expected all, head, last_block or last:N, such as last:10, received 'last_blok'$",
        ),
        ("last:0", r"^trainable: expected last:1 to last:\d+ for this network, received 'last:0'$"),
        ("last:many", r"^trainable: expected last:1 to last:\d+ for this network, received 'last:many'$"),
        ("last:9999", r"^trainable: expected last:1 to last:\d+ for this network, received 'last:9999'$"),
    ],
)
def test_a_part_that_is_none_is_refused(what: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        set_trainable(network_of("cls", "test_resnet"), what)
