"""Attention gates and decoder of the attention U-Net."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.decoders import AdditiveGate
from bts.models.networks import build_network


def gate_of(*, theta: float, phi: float, psi: float, bias: float) -> AdditiveGate:
    """A gate on one channel each, with known numbers."""
    gate = AdditiveGate(skip_channels=2, signal_channels=1)
    with torch.no_grad():
        nn.init.constant_(gate.theta.weight, theta)
        nn.init.constant_(gate.phi.weight, phi)
        nn.init.zeros_(gate.phi.bias)
        nn.init.constant_(gate.psi.weight, psi)
        nn.init.constant_(gate.psi.bias, bias)
    return gate


def test_a_gate_that_asks_for_nothing_weighs_every_pixel_the_same() -> None:
    skip = torch.rand(1, 2, 4, 4)
    gated = gate_of(theta=1, phi=1, psi=0, bias=0)(skip, torch.rand(1, 1, 2, 2))
    torch.testing.assert_close(gated, skip / 2)  # sigmoid(0)


def test_a_gates_weight_is_the_papers_formula() -> None:
    skip, signal = torch.full((1, 2, 2, 2), 0.25), torch.full((1, 1, 1, 1), 2.0)
    alpha = gate_of(theta=2, phi=3, psi=0.5, bias=-3).weights(skip, signal)
    # theta: 2 x (0.25 + 0.25) = 1; phi: 3 x 2 = 6; psi: 0.5 x 7 - 3 = 0.5
    torch.testing.assert_close(alpha, torch.full((1, 1, 2, 2), 0.5).sigmoid())


def test_a_gate_opens_where_the_decoder_looks() -> None:
    signal = torch.zeros(1, 1, 4, 4)
    signal[..., :2] = 5
    alpha = gate_of(theta=0, phi=1, psi=2, bias=-5).weights(torch.rand(1, 2, 8, 8), signal)
    assert alpha.shape == (1, 1, 8, 8)
    assert alpha[..., :3].min() > 0.9
    assert alpha[..., 5:].max() < 0.1


@pytest.mark.parametrize(("attention", "gates"), [("additive", 4), ("none", 0)])
def test_attention_is_on_every_skip_as_chosen(attention: str, gates: int) -> None:
    network = build_network(
        Architecture("seg", "resnet18", size=64, attention=attention, channels=(32, 32, 16, 16, 16))  # type: ignore[arg-type]
    )
    assert sum(isinstance(module, AdditiveGate) for module in network.modules()) == gates


def test_a_transformer_without_maps_at_stride_two_has_one_gate_less() -> None:
    network = build_network(Architecture("seg", "test_convnext", size=64, channels=(8, 8, 8, 8, 8)))
    assert sum(isinstance(module, AdditiveGate) for module in network.modules()) == 3


@pytest.mark.parametrize("task", ["seg", "joint"])
def test_three_decoder_blocks_give_logits_at_full_resolution(task: Task) -> None:
    classes = 0 if task == "seg" else 3
    network = build_network(Architecture(task, "test_resnet", size=64, channels=(8, 8, 8), num_classes=classes)).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 64, 64)).mask_logits
    assert logits.shape == (1, 1, 64, 64)
    steps = logits.diff(dim=-1)[..., 2:62].unflatten(-1, (15, 4))[..., :3]  # between the middles of two coarse places
    assert steps.abs().max() > 0
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps))  # linear interpolation by four


@pytest.mark.parametrize("task", ["seg", "joint"])
def test_four_decoder_blocks_give_interpolated_logits_at_full_resolution(task: Task) -> None:
    classes = 0 if task == "seg" else 3
    network = build_network(Architecture(task, "test_resnet", size=64, channels=(8, 8, 8, 8), num_classes=classes)).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 64, 64)).mask_logits
    assert logits.shape == (1, 1, 64, 64)
    steps = logits.diff(dim=-1)[..., 1:-1]  # between two coarse places, within one, between two, ... without the borders
    between, within = steps[..., 0::2], steps[..., 1::2]
    assert between.abs().max() > 0
    torch.testing.assert_close(within, (between[..., :-1] + between[..., 1:]) / 2)  # linear interpolation by two


def test_the_attention_unet_learns_a_square() -> None:
    torch.manual_seed(0)
    network = build_network(Architecture("seg", "test_resnet", size=32, channels=(16, 16, 8, 8, 8))).train()
    x, truth = torch.rand(4, 1, 32, 32) / 4, torch.zeros(4, 1, 32, 32)
    for i in range(4):
        x[i, 0, 4 * i : 4 * i + 12, 8:20] += 0.7
        truth[i, 0, 4 * i : 4 * i + 12, 8:20] = 1
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(x).mask_logits, truth).backward()
        optimiser.step()
    found = network(x).mask_logits > 0
    assert ((found == truth.bool()).float().mean()) > 0.97
