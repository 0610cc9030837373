"""Joint network: the class head averages over the mask, and leaves the mask alone."""

from __future__ import annotations

import pytest
import torch

from bts.models.architecture import Architecture
from bts.models.joint import FINE, JointNetwork, dilated_mask, mask_weights, regions, spread
from bts.models.networks import build_network

EMPTY, FULL = -20.0, 20.0


@pytest.fixture(scope="module")
def network() -> JointNetwork:
    torch.manual_seed(0)
    built = build_network(
        Architecture("joint", "test_resnet", size=128, num_classes=3, channels=(8, 8, 8, 4, 4), dropout=0.5, mask_dilation_px=8)
    ).eval()
    assert isinstance(built, JointNetwork)
    return built


def logits_of(*, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.full((1, 1, 128, 128), EMPTY)
    mask[..., rows, columns] = FULL
    return mask


def test_an_empty_mask_means_the_whole_slice() -> None:
    weights = mask_weights(logits_of(rows=slice(0, 0), columns=slice(0, 0)), mask_dilation_px=8)
    torch.testing.assert_close(weights, torch.full((1, 1, 4, 4), 1 / 16))


def test_an_unsure_mask_means_the_whole_slice_too() -> None:
    torch.testing.assert_close(
        mask_weights(torch.full((1, 1, 128, 128), -0.1), mask_dilation_px=8), torch.full((1, 1, 4, 4), 1 / 16)
    )


def test_a_mask_inside_one_place_of_the_grid_takes_all_the_weight() -> None:
    weights = mask_weights(logits_of(rows=slice(40, 56), columns=slice(72, 88)), mask_dilation_px=8)[0, 0]
    assert weights[1, 2] > 0.99  # rows 32 to 63, columns 64 to 95; the rim of 8 pixels stays inside
    assert float(weights.sum()) == pytest.approx(1)


def test_the_rim_of_a_mask_reaches_the_neighbours() -> None:
    weights = mask_weights(logits_of(rows=slice(32, 64), columns=slice(64, 96)), mask_dilation_px=8)[0, 0]
    # the place itself is full (1024 pixels); each neighbour at a side has a strip of 8 of its 32 rows or columns
    assert float(weights[0, 2] / weights[1, 2]) == pytest.approx(8 / 32, rel=0.01)
    assert float(weights[1, 1] / weights[1, 2]) == pytest.approx(8 / 32, rel=0.01)
    assert float(weights[0, 1] / weights[1, 2]) == pytest.approx(8 * 8 / 32**2, rel=0.01)


@pytest.mark.parametrize("mask_dilation_px", [0, 4, 8])
def test_a_mask_is_dilated_by_the_number_of_pixels(mask_dilation_px: int) -> None:
    dilated = dilated_mask(logits_of(rows=slice(40, 56), columns=slice(72, 88)), mask_dilation_px=mask_dilation_px)
    assert float(dilated.sum()) == pytest.approx(((16 + 2 * mask_dilation_px) / 4) ** 2, rel=1e-3)  # in cells of 4 pixels


def test_the_dilation_of_the_architecture_is_that_of_the_network() -> None:
    made = JointNetwork(Architecture("joint", "test_resnet", size=128, num_classes=3, mask_dilation_px=4))
    features, mask = torch.rand(1, made.encoder.channels[-1], 4, 4), logits_of(rows=slice(32, 64), columns=slice(64, 96))
    features[..., 1, 2] = 0  # the mask's own place gives nothing: what is left comes from the rim of 4 of its 32 pixels
    features[:, :, 0, 2] = features[:, :, 2, 2] = features[:, :, 1, 1] = features[:, :, 1, 3] = 1
    features[:, :, 0, 1] = features[:, :, 0, 3] = features[:, :, 2, 1] = features[:, :, 2, 3] = 1
    share = (4 * 4 * 32 + 4 * 4 * 4) / ((32 + 8) ** 2)
    assert float(made.pool(features, mask)[0, -1]) == pytest.approx(share, rel=0.01)


def test_the_average_over_the_slice_is_dropped_for_a_share_of_the_training_slices_and_never_in_an_answer() -> None:
    made = JointNetwork(Architecture("joint", "test_resnet", size=64, num_classes=3, slice_dropout=0.75))
    channels = made.encoder.channels[-1]
    features, mask = torch.ones(4000, channels, 2, 2), torch.zeros(4000, 1, 64, 64)
    torch.manual_seed(0)
    by_slice, by_mask = made.train().pool(features, mask).chunk(2, dim=1)
    assert set(by_slice.flatten().tolist()) == {0.0, 4.0}  # a quarter is left, four times as large: the mean stays
    assert bool((by_slice == by_slice[:, :1]).all())  # of a slice all or nothing
    assert float((by_slice[:, 0] == 0).float().mean()) == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(by_mask, torch.ones_like(by_mask))
    torch.testing.assert_close(made.eval().pool(features, mask), torch.ones(4000, 2 * channels))


def test_weights_sum_to_one_for_any_mask() -> None:
    torch.manual_seed(0)
    weights = mask_weights(
        torch.randn(5, 1, 64, 96) * torch.tensor([0.01, 0.1, 1, 10, 100]).view(5, 1, 1, 1), mask_dilation_px=8
    )
    torch.testing.assert_close(weights.sum((1, 2, 3)), torch.ones(5))
    assert weights.min() > 0


def test_the_maps_are_pooled_over_the_slice_and_over_the_mask(network: JointNetwork) -> None:
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, 1, 2], features[0, 1, 3, 3] = 16.0, 16.0
    pooled = network.pool(features, logits_of(rows=slice(40, 56), columns=slice(72, 88)))
    torch.testing.assert_close(pooled, torch.tensor([[1.0, 1.0, 16.0, 0.0]]), atol=0.1, rtol=0)


def test_the_class_does_not_bend_the_mask(network: JointNetwork) -> None:
    network.zero_grad()
    network(torch.rand(2, 1, 128, 128)).class_logits.sum().backward()
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


def asked(network: JointNetwork, mask: torch.Tensor, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Last maps (1, C, 4, 4) that differ everywhere, and the gradient (K, 2C) of a linear head."""
    features = torch.rand(1, network.encoder.last_channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return features, network.class_head[1].weight.detach()


MASKS = {
    "empty": logits_of(rows=slice(0, 0), columns=slice(0, 0)),
    "small": logits_of(rows=slice(40, 56), columns=slice(72, 88)),
    "at the edge": logits_of(rows=slice(0, 50), columns=slice(100, 128)),
    "unsure": torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(1)) * 3,
}


@pytest.mark.parametrize("offset_px", [0.0, -15.5, 15.5, 7.3])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_the_places_add_up_to_the_class_scores_without_their_bias(
    network: JointNetwork, mask: torch.Tensor, offset_px: float
) -> None:
    features, gradient = asked(network, mask)
    shares = network.class_contributions(features, mask, gradient, offset_px=offset_px)
    assert shares.shape == (1, 3, 32, 32)
    with torch.no_grad():
        scores = network.head(features, mask) - network.class_head[1].bias
    torch.testing.assert_close(shares.sum((2, 3)), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_over_a_cell_of_the_last_maps_the_places_add_up_to_gradient_times_activation(
    network: JointNetwork, mask: torch.Tensor
) -> None:
    features, gradient = asked(network, mask)
    shares = network.class_contributions(features, mask, gradient, offset_px=0.0)
    blocks = shares.unflatten(3, (4, FINE)).unflatten(2, (4, FINE)).sum((3, 5))  # (1, K, 4, 4)
    features.requires_grad_()
    for number in range(3):
        (slope,) = torch.autograd.grad(network.head(features, mask)[0, number], features)
        torch.testing.assert_close(blocks[:, number], (slope * features).sum(1).detach(), rtol=1e-4, atol=1e-6)


def test_what_the_mask_gives_lies_in_the_mask_and_what_the_slice_gives_is_spread(network: JointNetwork) -> None:
    mask = MASKS["small"]
    features, gradient = asked(network, mask)
    half = features.shape[1]
    by_slice, by_mask = gradient.clone(), gradient.clone()
    by_slice[:, half:], by_mask[:, :half] = 0, 0
    inside = dilated_mask(mask, mask_dilation_px=8)[0, 0] > 0
    assert float(inside.float().mean()) == (32 * 32) / 128**2  # 16 pixels and a rim of 8 on either side
    drawn = network.class_contributions(features, mask, by_mask, offset_px=-15.5)[0].abs()
    assert (drawn[:, inside].sum(1) > 0.98 * drawn.sum((1, 2))).all()
    even = network.class_contributions(features, mask, by_slice, offset_px=0.0)[0]
    torch.testing.assert_close(even[:, ::FINE, ::FINE], even[:, FINE - 1 :: FINE, FINE - 1 :: FINE])


def test_each_picture_s_own_gradient_gives_what_a_common_one_gives(network: JointNetwork) -> None:
    mask = torch.cat([MASKS["small"], MASKS["unsure"]])
    features, gradient = asked(network, mask)
    features = torch.cat([features, features.flip(2)])
    together = network.class_contributions(features, mask, gradient, offset_px=-15.5)
    apart = network.class_contributions(features, mask, gradient.expand(2, -1, -1), offset_px=-15.5)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


def test_a_place_s_value_is_shared_out_among_the_finer_places_nearest_to_where_it_looks() -> None:
    even = torch.kron(torch.eye(3), torch.full((1, FINE), 1 / FINE))
    torch.testing.assert_close(regions(3, offset_px=0.0), even)
    moved = regions(3, offset_px=-16.0)  # half a place to the left: the first loses half, the last reaches to the edge
    assert [(row > 0).nonzero().flatten().tolist() for row in moved] == [
        list(range(4)),
        list(range(4, 12)),
        list(range(12, 24)),
    ]
    torch.testing.assert_close(moved.sum(1), torch.ones(3))
    between = regions(3, offset_px=-14.0)  # the border lies in the middle of a finer place: each side has half of it
    assert float(between[0, 4] / between[0, 3]) == pytest.approx(0.5)


@pytest.mark.parametrize("offset_px", [-100.0, -15.5, 0.0, 15.5, 100.0])
def test_spreading_keeps_the_sum_of_any_picture(offset_px: float) -> None:
    maps = torch.randn(2, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    found = spread(maps, offset_px=offset_px)
    assert found.shape == (2, 3, 16, 40)
    torch.testing.assert_close(found.sum((2, 3)), maps.sum((2, 3)), rtol=1e-4, atol=1e-5)


def test_mirrored_maps_with_the_offset_mirrored_are_spread_as_the_mirror_image() -> None:
    maps = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    one, other = spread(maps, offset_px=-6.0), spread(maps.flip(2, 3), offset_px=6.0)
    torch.testing.assert_close(one, other.flip(2, 3))
