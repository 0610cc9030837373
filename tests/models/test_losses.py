"""Losses against values computed by hand, also where no truth is known."""

from __future__ import annotations

import math

import pytest
import torch

from bts.models.losses import ClassificationLoss, JointLoss, SegmentationLoss, balanced_weights

TRUTH = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])  # (1, 1, 2, 2)


def test_an_undecided_mask_costs_what_a_hand_computes() -> None:
    total, parts = SegmentationLoss(dice_weight=2.0, bce_weight=3.0)(torch.zeros(1, 1, 2, 2), TRUTH)
    # p = 1/2 everywhere: 2 x 1 shared + 1 over 2 + 2 + 1; cross-entropy ln 2 a pixel
    assert float(parts["dice"]) == pytest.approx(1 - 3 / 5)
    assert float(parts["bce"]) == pytest.approx(math.log(2))
    assert float(total) == pytest.approx(2 * 0.4 + 3 * math.log(2))


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


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    counts = [708, 1426, 930]
    weights = balanced_weights(counts)
    sums = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert sums == pytest.approx([sum(counts) / 3] * 3)
    assert balanced_weights([4, 0, 4]) == [1.0, 0.0, 1.0]


# ---- both losses

UNDECIDED_MASK = 1 - 3 / 5 + math.log(2)
"""Dice and cross-entropy of a mask of probability 0.5 over TRUTH: half of 2 + 2 pixels overlaps, one is added to both terms."""
UNDECIDED_CLASS = math.log(3)
"""Cross-entropy of equal logits of three classes."""


def undecided() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(2, 1, 2, 2, requires_grad=True), torch.zeros(2, 3, requires_grad=True)


def known(*, masks: tuple[bool, bool] = (True, True), labels: tuple[int, int] = (0, 2)) -> dict[str, torch.Tensor]:
    return {"truth": TRUTH.repeat(2, 1, 1, 1), "has_mask": torch.tensor(masks), "labels": torch.tensor(labels)}


def test_the_joint_loss_is_the_weighted_sum() -> None:
    total, parts = JointLoss(SegmentationLoss(), ClassificationLoss(), cross_entropy_weight=0.5)(*undecided(), **known())
    assert total.item() == pytest.approx(UNDECIDED_MASK + 0.5 * UNDECIDED_CLASS)
    assert {name: pytest.approx(value.item()) for name, value in parts.items()} == {
        "dice": 0.4,
        "bce": math.log(2),
        "cross_entropy": UNDECIDED_CLASS,
    }


@pytest.mark.parametrize(
    ("truths", "mask_learns", "class_learns"),
    [
        ({"masks": (False, True)}, [False, True], [True, True]),
        ({"labels": (-1, 2)}, [True, True], [False, True]),
        ({"masks": (False, False)}, [False, False], [True, True]),
    ],
)
def test_a_slice_without_one_truth_contributes_by_the_other(
    truths: dict, mask_learns: list[bool], class_learns: list[bool]
) -> None:
    mask, classes = undecided()
    JointLoss(SegmentationLoss(), ClassificationLoss())(mask, classes, **known(**truths))[0].backward()
    assert mask.grad is not None
    assert classes.grad is not None
    assert [bool(each.any()) for each in mask.grad] == mask_learns
    assert [bool(each.any()) for each in classes.grad] == class_learns
