"""Running scores of training, on tables small enough to check by eye."""

from __future__ import annotations

import math

import pytest
import torch

from bts.models.metrics import ClassScores, MaskScores, overlap

EMPTY, ONE, LEFT, TOP, ALL = (
    torch.tensor(mask, dtype=torch.bool).view(1, 1, 2, 2)
    for mask in ([0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1])
)


@pytest.mark.parametrize(
    ("predicted", "truth", "dice", "iou"),
    [
        (EMPTY, EMPTY, 1, 1),
        (EMPTY, ONE, 0, 0),
        (ONE, EMPTY, 0, 0),
        (LEFT, LEFT, 1, 1),
        (LEFT, TOP, 1 / 2, 1 / 3),
        (ONE, ALL, 2 / 5, 1 / 4),
        (ALL, LEFT, 2 / 3, 1 / 2),
    ],
)
def test_overlap_of_two_masks(predicted: torch.Tensor, truth: torch.Tensor, dice: float, iou: float) -> None:
    found = overlap(predicted, truth)
    assert [float(value) for value in found] == pytest.approx([dice, iou])


def test_mask_scores_are_means_over_the_slices_that_have_a_mask() -> None:
    scores = MaskScores()
    logits = torch.cat([LEFT, ONE, EMPTY]).float() * 10 - 5
    scores.update(logits, torch.cat([TOP, ALL, ALL]).float(), torch.tensor([True, True, False]))
    assert scores.compute() == pytest.approx({"dice": (1 / 2 + 2 / 5) / 2, "iou": (1 / 3 + 1 / 4) / 2})


def test_the_threshold_is_on_the_probability() -> None:
    scores = MaskScores(threshold=0.8)
    scores.update(torch.full((1, 1, 2, 2), 1.0), EMPTY.float())  # sigmoid(1) = 0.73: not drawn
    assert scores.compute()["dice"] == 1


def test_class_scores_of_a_small_table() -> None:
    scores = ClassScores(num_classes=3)
    truth = torch.tensor([0, 0, 0, 0, 1, 1, -1])
    named = torch.tensor([0, 0, 0, 1, 1, 0, 2])
    scores.update(torch.nn.functional.one_hot(named, 3).float(), truth)
    assert scores.totals.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    # recalls 3/4 and 1/2 (no slice of the third class, nobody names it); F1 6/8 and 2/4
    assert scores.compute() == pytest.approx({"accuracy": 4 / 6, "balanced_accuracy": 5 / 8, "f1": 5 / 8})


def test_a_class_that_is_only_named_lowers_f1() -> None:
    scores = ClassScores(num_classes=2)
    scores.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    # class 0: recall 1/2, F1 2/3; class 1 is named once, never right
    assert scores.compute() == pytest.approx({"accuracy": 1 / 2, "balanced_accuracy": 1 / 2, "f1": (2 / 3 + 0) / 2})


def test_nothing_counted_is_no_number_and_reset_forgets() -> None:
    masks, classes = MaskScores(), ClassScores(num_classes=2)
    masks.update(torch.zeros(1, 1, 2, 2), ONE.float())
    classes.update(torch.zeros(1, 2), torch.tensor([0]))
    masks.reset()
    classes.reset()
    assert all(math.isnan(value) for value in (*masks.compute().values(), *classes.compute().values()))


def test_the_sums_of_two_devices_give_the_scores_of_one() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(7, 1, 8, 8), (torch.rand(7, 1, 8, 8) > 0.6).float()
    scores, labels = torch.randn(7, 3), torch.randint(0, 3, (7,))
    whole_masks, whole_classes = MaskScores(), ClassScores(num_classes=3)
    whole_masks.update(logits, truth)
    whole_classes.update(scores, labels)
    masks, classes = MaskScores(), ClassScores(num_classes=3)
    for part in (slice(0, 4), slice(4, 7)):
        one_masks, one_classes = MaskScores(), ClassScores(num_classes=3)
        one_masks.update(logits[part], truth[part])
        one_classes.update(scores[part], labels[part])
        masks.totals += one_masks.totals
        classes.totals += one_classes.totals
    assert masks.compute() == pytest.approx(whole_masks.compute(), abs=1e-12)
    assert classes.compute() == whole_classes.compute()
