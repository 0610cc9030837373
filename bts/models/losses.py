"""What does training minimise? Soft Dice and cross-entropy on masks; cross-entropy on classes. On logits, always in 32 bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn
from torch.nn import functional as F

UNKNOWN = -1
"""Label of a slice whose class is not known: it adds nothing to the classification loss."""


class SegmentationLoss(nn.Module):
    """Weighted sum of soft Dice (Milletari 2016, through MONAI) and binary cross-entropy.

    Dice is taken slice by slice and then averaged, as the score is; taken over the batch, large tumours would hide small ones.
    One pixel is added above and below (`smooth_nr = smooth_dr = 1`): beside a tumour of hundreds of pixels it is nothing, and a
    slice with an empty mask gets a loss that falls as fewer pixels are drawn, where the usual 1e-5 would leave it flat at 1.

    Args:
        dice: weight of the soft Dice.
        bce: weight of the cross-entropy.
        focal_gamma: a pixel whose truth has probability p costs (1 - p)^gamma of its cross-entropy (Lin 2017, through MONAI);
            0 is plain cross-entropy.
    """

    def __init__(self, *, dice: float = 1.0, bce: float = 1.0, focal_gamma: float = 0.0) -> None:
        super().__init__()
        self.dice_weight, self.bce_weight = dice, bce
        self.cross_entropy = FocalLoss(gamma=focal_gamma, reduction="none")
        self.soft_dice = DiceLoss(sigmoid=True, batch=False, smooth_nr=1.0, smooth_dr=1.0, reduction="none")

    def forward(self, logits: Tensor, truth: Tensor, has_mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted parts.

        Args:
            logits: (B, 1, H, W) in any precision; computed on in 32 bits, also inside autocast.
            truth: (B, 1, H, W), 0 or 1.
            has_mask: (B,) bool or None; a slice without a mask adds nothing, a batch without any gives 0 with a zero gradient.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, truth = logits.float(), truth.float()
            dice = self.soft_dice(logits, truth).flatten(1).mean(1)  # (B,)
            bce = self.cross_entropy(logits, truth).flatten(1).mean(1)  # (B,)
            parts = {"dice": _mean(dice, has_mask), "bce": _mean(bce, has_mask)}
            return self.dice_weight * parts["dice"] + self.bce_weight * parts["bce"], parts


class ClassificationLoss(nn.Module):
    """Cross-entropy over the slices whose class is known, optionally weighted by class and smoothed (Szegedy 2016)."""

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Sequence[float] | Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its part `cross_entropy` (the same number).

        Args:
            logits: (B, K) in any precision; computed on in 32 bits, also inside autocast.
            labels: (B,) int64; -1 where unknown. A batch without any label gives 0 with a zero gradient.
        """
        with torch.autocast(logits.device.type, enabled=False):
            total = F.cross_entropy(
                logits.float(),
                labels,
                weight=self.class_weights,
                ignore_index=UNKNOWN,
                label_smoothing=self.label_smoothing,
                reduction="sum",
            )
            known = (labels != UNKNOWN).float()
            if self.class_weights is not None:
                known = known * self.class_weights[labels.clamp(min=0)]
            loss = total / known.sum().clamp(min=1e-12)
            return loss, {"cross_entropy": loss}


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Return a weight a class, n / (K x count), so that every class weighs the same in sum; a class without slices gets 0.

    >>> balanced_weights([10, 20, 10])
    [1.3333333333333333, 0.6666666666666666, 1.3333333333333333]
    """
    present = sum(1 for count in counts if count)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


def _mean(values: Tensor, has_mask: Tensor | None) -> Tensor:
    if has_mask is None:
        return values.mean()
    weights = has_mask.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1.0)
