"""Does the class head of the joint network look at the tumour, and leave the mask alone?"""

from __future__ import annotations

import pytest
import torch

from bts.models.architecture import Architecture
from bts.models.joint import JointNetwork, mask_weights
from bts.models.networks import build_network

EMPTY, FULL = -20.0, 20.0


@pytest.fixture(scope="module")
def network() -> JointNetwork:
    torch.manual_seed(0)
    built = build_network(
        Architecture("joint", "test_resnet", size=128, classes=3, channels=(8, 8, 8, 4, 4), dropout=0.5)
    ).eval()
    assert isinstance(built, JointNetwork)
    return built


def logits_of(*, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.full((1, 1, 128, 128), EMPTY)
    mask[..., rows, columns] = FULL
    return mask


def test_an_empty_mask_means_the_whole_slice() -> None:
    weights = mask_weights(logits_of(rows=slice(0, 0), columns=slice(0, 0)))
    torch.testing.assert_close(weights, torch.full((1, 1, 4, 4), 1 / 16))


def test_an_unsure_mask_means_the_whole_slice_too() -> None:
    torch.testing.assert_close(mask_weights(torch.full((1, 1, 128, 128), -0.1)), torch.full((1, 1, 4, 4), 1 / 16))


def test_a_mask_inside_one_place_of_the_grid_takes_all_the_weight() -> None:
    weights = mask_weights(logits_of(rows=slice(40, 56), columns=slice(72, 88)))[0, 0]
    assert weights[1, 2] > 0.99  # rows 32 to 63, columns 64 to 95; the rim of 8 pixels stays inside
    assert float(weights.sum()) == pytest.approx(1)


def test_the_rim_of_a_mask_reaches_the_neighbours() -> None:
    weights = mask_weights(logits_of(rows=slice(32, 64), columns=slice(64, 96)))[0, 0]
    # the place itself is full (1024 pixels); each neighbour at a side has a strip of 8 of its 32 rows or columns
    assert float(weights[0, 2] / weights[1, 2]) == pytest.approx(8 / 32, rel=0.01)
    assert float(weights[1, 1] / weights[1, 2]) == pytest.approx(8 / 32, rel=0.01)
    assert float(weights[0, 1] / weights[1, 2]) == pytest.approx(8 * 8 / 32**2, rel=0.01)


def test_weights_sum_to_one_for_any_mask() -> None:
    torch.manual_seed(0)
    weights = mask_weights(torch.randn(5, 1, 64, 96) * torch.tensor([0.01, 0.1, 1, 10, 100]).view(5, 1, 1, 1))
    torch.testing.assert_close(weights.sum((1, 2, 3)), torch.ones(5))
    assert weights.min() > 0


def test_the_maps_are_pooled_over_the_slice_and_over_the_mask(network: JointNetwork) -> None:
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, 1, 2], features[0, 1, 3, 3] = 16.0, 16.0
    pooled = network.pool(features, logits_of(rows=slice(40, 56), columns=slice(72, 88)))
    torch.testing.assert_close(pooled, torch.tensor([[1.0, 1.0, 16.0, 0.0]]), atol=0.1, rtol=0)


def test_the_class_does_not_bend_the_mask(network: JointNetwork) -> None:
    network.zero_grad()
    network(torch.rand(2, 1, 128, 128)).classes.sum().backward()
    touched = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert touched == {"encoder", "class_head"}


def test_cam_weights_are_the_sum_of_the_two_pooled_gradients(network: JointNetwork) -> None:
    with torch.no_grad():
        output = network(torch.rand(1, 1, 128, 128))
        mask = logits_of(rows=slice(30, 70), columns=slice(10, 50))
    features = output.features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(features, mask)[0, 1], features)
    pooled = network.pool(output.features, mask).requires_grad_()
    (short,) = torch.autograd.grad(network.classify(pooled)[0, 1], pooled)
    places = features.shape[-2] * features.shape[-1]
    torch.testing.assert_close(gradient.mean((2, 3)), short.view(1, network.pools, -1).sum(1) / places)


def test_pooling_without_a_mask_is_a_programming_error(network: JointNetwork) -> None:
    with pytest.raises(ValueError, match="hand over the mask logits"):
        network.head(torch.zeros(1, 96, 4, 4))
