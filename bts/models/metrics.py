"""Validation scores during training, as sums over batches and devices.

These serve the curves and the choice of the best epoch. The scores that are reported come from `bts.evaluation`, per case.
"""

from __future__ import annotations

import torch
from torch import Tensor


class MaskScores:
    """Mean Dice and IoU per slice, added up in one tensor.

    A slice counts 1 if truth and prediction are both empty, 0 if only one is. Slices without a mask do not count.

    Attributes:
        totals: (3,) sums of Dice, of IoU, and of slices; with several devices, to be summed over them before `compute`.
    """

    def __init__(self, *, threshold: float = 0.5, device: torch.device | str = "cpu") -> None:
        self.threshold = threshold
        self.totals = torch.zeros(3, dtype=_precision(device), device=device)

    def reset(self) -> None:
        """Reset the sums."""
        self.totals.zero_()

    def update(self, logits: Tensor, truth: Tensor, has_mask: Tensor | None = None) -> None:
        """Add a batch: `logits` and `truth` (B, 1, H, W), `has_mask` (B,) bool or None for all."""
        dice, iou = overlap(logits.detach().float().sigmoid() > self.threshold, truth > 0.5)
        counted = torch.ones_like(dice) if has_mask is None else has_mask.to(dice)
        batch = torch.stack([(dice * counted).sum(), (iou * counted).sum(), counted.sum()])
        self.totals += batch.to(self.totals)

    def compute(self) -> dict[str, float]:
        """Return `dice` and `iou`; NaN where no slice was counted."""
        dice, iou, count = self.totals.tolist()
        return {"dice": dice / count if count else float("nan"), "iou": iou / count if count else float("nan")}


def overlap(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return Dice and IoU (B,) of two boolean masks (B, 1, H, W); both are 1 where both masks are empty."""
    predicted, truth = predicted.flatten(1), truth.flatten(1)
    both = (predicted & truth).sum(1).double() if predicted.device.type != "mps" else (predicted & truth).sum(1).float()
    either = (predicted | truth).sum(1).to(both)
    empty = either == 0
    either = either.clamp(min=1)
    return torch.where(empty, 1.0, 2 * both / (either + both)), torch.where(empty, 1.0, both / either)


class ClassScores:
    """Accuracy, balanced accuracy and macro F1 out of a confusion matrix.

    Attributes:
        totals: (K, K) slices, row the truth, column the prediction; with several devices, to be summed over them too.
    """

    def __init__(self, *, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.totals = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def reset(self) -> None:
        """Reset the sums."""
        self.totals.zero_()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: `logits` (B, K), `labels` (B,) int64, -1 where unknown (not counted)."""
        K = len(self.totals)
        known = labels >= 0
        cell = labels.clamp(min=0) * K + logits.detach().argmax(1)
        counts = torch.zeros(K * K, dtype=torch.int64, device=cell.device).scatter_add_(0, cell, known.to(torch.int64))
        self.totals += counts.view(K, K).to(self.totals.device)

    def compute(self) -> dict[str, float]:
        """Return `accuracy`, `balanced_accuracy` and `f1`; NaN where no slice was counted.

        Balanced accuracy is the mean recall over the classes that occur in the truth; macro F1 the mean over the classes that
        occur in truth or prediction.
        """
        matrix = self.totals.cpu().double()
        right, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        occurs, named = truth > 0, truth + predicted > 0
        return {
            "accuracy": _ratio(right.sum(), truth.sum()),
            "balanced_accuracy": float((right[occurs] / truth[occurs]).mean()),
            "f1": float((2 * right[named] / (truth + predicted)[named]).mean()),
        }


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if whole else float("nan")


def _precision(device: torch.device | str) -> torch.dtype:
    return torch.float32 if torch.device(device).type == "mps" else torch.float64  # Apple's GPUs have no 64 bits
