"""Are the losses the numbers that a hand computes, also where there is nothing to learn from?"""

from __future__ import annotations

import math

import pytest
import torch

from bts.models.losses import ClassificationLoss, SegmentationLoss, balanced_weights

TRUTH = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])  # (1, 1, 2, 2)


def test_an_undecided_mask_costs_what_a_hand_computes() -> None:
    total, parts = SegmentationLoss(dice=2.0, bce=3.0)(torch.zeros(1, 1, 2, 2), TRUTH)
    # p = 1/2 everywhere: 2 x 1 shared + 1 over 2 + 2 + 1; cross-entropy ln 2 a pixel
    assert float(parts["dice"]) == pytest.approx(1 - 3 / 5)
    assert float(parts["bce"]) == pytest.approx(math.log(2))
    assert float(total) == pytest.approx(2 * 0.4 + 3 * math.log(2))


def test_a_focal_exponent_takes_weight_off_easy_pixels() -> None:
    logits = torch.tensor([[[[math.log(3), 0.0], [0.0, math.log(3)]]]])  # truth has 3/4, 1/2, 1/2 and 1/4
    _, parts = SegmentationLoss(focal_gamma=2.0)(logits, TRUTH)
    costs = [0.25**2 * math.log(4 / 3), 0.5**2 * math.log(2), 0.5**2 * math.log(2), 0.75**2 * math.log(4)]
    assert float(parts["bce"]) == pytest.approx(sum(costs) / 4)


def test_a_right_mask_costs_nothing_and_a_wrong_one_everything() -> None:
    loss = SegmentationLoss()
    _, right = loss((TRUTH - 0.5) * 80, TRUTH)
    _, wrong = loss((0.5 - TRUTH) * 80, TRUTH)
    assert float(right["dice"]) == pytest.approx(0, abs=1e-6)
    assert float(wrong["dice"]) == pytest.approx(1 - 1 / 5)
    assert float(right["bce"]) == pytest.approx(0, abs=1e-6)
    assert float(wrong["bce"]) == pytest.approx(40)


def test_dice_is_taken_slice_by_slice() -> None:
    logits, truth = torch.zeros(2, 1, 2, 2), torch.cat([TRUTH, torch.zeros_like(TRUTH)])
    _, parts = SegmentationLoss()(logits, truth)
    # second slice: nothing shared, 1 over 2 + 0 + 1
    assert float(parts["dice"]) == pytest.approx(((1 - 3 / 5) + (1 - 1 / 3)) / 2)


def test_an_empty_truth_rewards_drawing_less() -> None:
    loss, empty = SegmentationLoss(), torch.zeros(1, 1, 8, 8)
    dice = [float(loss(torch.full((1, 1, 8, 8), level), empty)[1]["dice"]) for level in (0.0, -2.0, -4.0, -8.0)]
    assert dice == sorted(dice, reverse=True)
    assert dice[-1] < 0.05


def test_a_slice_without_a_mask_adds_nothing() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(3, 1, 4, 4, requires_grad=True), (torch.rand(3, 1, 4, 4) > 0.5).float()
    loss = SegmentationLoss()
    some, _ = loss(logits, truth, torch.tensor([True, False, True]))
    alone, _ = loss(logits[[0, 2]], truth[[0, 2]])
    torch.testing.assert_close(some, alone)
    some.backward()
    assert logits.grad[1].abs().max() == 0


def test_a_batch_without_any_mask_is_zero_with_a_zero_gradient() -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    total, _ = SegmentationLoss()(logits, torch.zeros(2, 1, 4, 4), torch.tensor([False, False]))
    total.backward()
    assert total == 0
    assert logits.grad.abs().max() == 0


def test_losses_are_computed_in_32_bits_inside_autocast() -> None:
    logits = torch.tensor([[[[3.0, -3.0], [8.0, -8.0]]]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        mask, parts = SegmentationLoss()(logits, TRUTH)
        classes, _ = ClassificationLoss()(logits.view(2, 2), torch.tensor([0, 1]))
    assert {mask.dtype, classes.dtype, *(part.dtype for part in parts.values())} == {torch.float32}
    torch.testing.assert_close(mask, SegmentationLoss()(logits.float(), TRUTH)[0])


def test_an_unknown_label_adds_nothing() -> None:
    logits = torch.tensor([[2.0, 0.0], [5.0, -5.0], [0.0, 0.0]])
    loss, parts = ClassificationLoss()(logits, torch.tensor([0, -1, 1]))
    # -ln(e^2 / (e^2 + 1)) and ln 2
    assert float(loss) == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
    assert parts["cross_entropy"] is loss


@pytest.mark.parametrize("class_weights", [None, [1.0, 3.0]])
def test_a_batch_without_any_label_is_zero_with_a_zero_gradient(class_weights: list[float] | None) -> None:
    logits = torch.randn(2, 2, requires_grad=True)
    loss, _ = ClassificationLoss(class_weights=class_weights)(logits, torch.tensor([-1, -1]))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_class_weights_weigh_the_mean() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    loss, _ = ClassificationLoss(class_weights=[1.0, 3.0])(logits, torch.tensor([0, 1]))
    # ln 2 once and -ln(1 / (e^2 + 1)) three times, over 1 + 3
    assert float(loss) == pytest.approx((math.log(2) + 3 * math.log(1 + math.exp(2))) / 4)


def test_smoothing_moves_its_share_to_all_classes() -> None:
    loss, _ = ClassificationLoss(label_smoothing=0.2)(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    # target (0.9, 0.1)
    assert float(loss) == pytest.approx(0.9 * math.log(1 + math.exp(-2)) + 0.1 * math.log(1 + math.exp(2)))


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    counts = [708, 1426, 930]
    weights = balanced_weights(counts)
    sums = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert sums == pytest.approx([sum(counts) / 3] * 3)
    assert balanced_weights([4, 0, 4]) == [1.0, 0.0, 1.0]
