"""Does each truth teach its own half of the joint network, and do learned weights settle where a hand computes?"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bts.models.joint_loss import JointLoss
from bts.models.losses import ClassificationLoss, SegmentationLoss

TRUTH = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]).repeat(2, 1, 1, 1)  # (2, 1, 2, 2)
MASK = 1 - 3 / 5 + math.log(2)
"""Dice and cross-entropy of an undecided mask over TRUTH: half of 2 + 2 pixels is shared, one is added above and below."""
CLASS = math.log(3)
"""Cross-entropy of an undecided answer among three classes."""


def undecided() -> tuple[Tensor, Tensor]:
    return torch.zeros(2, 1, 2, 2, requires_grad=True), torch.zeros(2, 3, requires_grad=True)


def joint_loss(*, cross_entropy: float = 1.0, learned: bool = False) -> JointLoss:
    return JointLoss(SegmentationLoss(), ClassificationLoss(), cross_entropy=cross_entropy, learned=learned)


def known(*, masks: tuple[bool, bool] = (True, True), labels: tuple[int, int] = (0, 2)) -> dict[str, Tensor]:
    return {"truth": TRUTH, "has_mask": torch.tensor(masks), "labels": torch.tensor(labels)}


def test_fixed_weights_add_up() -> None:
    total, parts = joint_loss(cross_entropy=0.5)(*undecided(), **known())
    assert total.item() == pytest.approx(MASK + 0.5 * CLASS)
    assert {name: pytest.approx(value.item()) for name, value in parts.items()} == {
        "dice": 0.4,
        "bce": math.log(2),
        "cross_entropy": CLASS,
    }


@pytest.mark.parametrize("learned", [False, True])
def test_a_slice_without_a_mask_teaches_the_class_alone(learned: bool) -> None:
    mask, classes = undecided()
    total, _ = joint_loss(learned=learned)(mask, classes, **known(masks=(False, True)))
    total.backward()
    assert mask.grad is not None
    assert classes.grad is not None
    assert [bool(each.any()) for each in mask.grad] == [False, True]
    assert [bool(each.any()) for each in classes.grad] == [True, True]


@pytest.mark.parametrize("learned", [False, True])
def test_a_slice_without_a_label_teaches_the_mask_alone(learned: bool) -> None:
    mask, classes = undecided()
    total, _ = joint_loss(learned=learned)(mask, classes, **known(labels=(-1, 2)))
    total.backward()
    assert mask.grad is not None
    assert classes.grad is not None
    assert [bool(each.any()) for each in mask.grad] == [True, True]
    assert [bool(each.any()) for each in classes.grad] == [False, True]


def test_a_batch_without_a_truth_leaves_its_learned_weight_alone() -> None:
    for missing, row in ((known(masks=(False, False)), 0), (known(labels=(-1, -1)), 1)):
        loss = joint_loss(learned=True)
        total, _ = loss(*undecided(), **missing)
        total.backward()
        assert loss.log_variances is not None
        assert loss.log_variances.grad is not None
        assert float(loss.log_variances.grad[row]) == 0
        assert float(loss.log_variances.grad[1 - row]) != 0
        assert math.isfinite(total.item())


def test_learned_weights_begin_as_fixed_ones() -> None:
    fixed, learned = (joint_loss(learned=learned)(*undecided(), **known())[0] for learned in (False, True))
    assert learned.item() == pytest.approx(fixed.item())


def test_learned_weights_come_to_rest_at_half_the_inverse_of_each_loss() -> None:
    loss = joint_loss(learned=True)
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total, _ = loss(*(each.detach() for each in undecided()), **known())
        total.backward()
        return total

    optimizer.step(closure)
    _, parts = loss(*undecided(), **known())
    assert parts["weight_mask"].item() == pytest.approx(1 / (2 * MASK), rel=1e-3)
    assert parts["weight_class"].item() == pytest.approx(1 / (2 * CLASS), rel=1e-3)
