"""Parameter-randomisation check: which weights change, and how dependent maps are told from others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bts.evaluation.randomisation import check_randomisation, map_similarity, randomise


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.class_head = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))


def changed(first: nn.Module, second: nn.Module) -> list[bool]:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return [not torch.equal(one, other) for one, other in pairs]


@pytest.mark.parametrize(("share", "layers"), [(0.0, 1), (1 / 3, 2), (2 / 3, 3), (1.0, 4)])
def test_layers_are_drawn_anew_from_the_head_backwards(share: float, layers: int) -> None:
    network = Small()
    nn.init.constant_(network.body[1].weight, 2.0)
    other, count = randomise(network, share=share, seed=3)
    assert count == layers
    first, last = network.body[0].weight, other.body[0].weight
    assert torch.equal(first, last) == (share < 1)
    assert not torch.equal(network.class_head[1].weight, other.class_head[1].weight)


def test_the_trained_network_and_the_random_state_stay_as_they_are() -> None:
    network = Small()
    before = [value.clone() for value in network.state_dict().values()]
    state = torch.get_rng_state()
    first, _ = randomise(network, share=1.0, seed=5)
    second, _ = randomise(network, share=1.0, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, other) for one, other in zip(before, network.state_dict().values(), strict=True))
    assert not any(changed(first, second))


def test_a_map_is_like_itself_and_unlike_its_opposite() -> None:
    ramp = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert map_similarity(ramp, ramp * 3) == pytest.approx((1, 1))
    correlation, similarity = map_similarity(ramp, 15 - ramp)
    assert correlation == pytest.approx(-1)
    assert similarity < 0.6


def test_a_flat_map_has_nothing_in_common_with_any() -> None:
    assert map_similarity(np.zeros((4, 4)), np.eye(4)) == (0, 0)


def test_what_has_no_map_is_not_checked() -> None:
    assert check_randomisation(object(), [], []) is None
