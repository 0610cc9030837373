"""Training losses on logits, computed in 32 bits: soft Dice and cross-entropy of masks, cross-entropy of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from bts.registry import Registry

UNKNOWN = -1
"""Label of a slice whose class is unknown; it does not contribute to the classification loss."""


class MaskLoss(nn.Module):
    """Base of the losses of masks.

    Args:
        dice_weight: `loss.dice_weight` of the settings.
        bce_weight: `loss.bce_weight` of the settings.
    """

    def __init__(self, *, dice_weight: float = 1.0, bce_weight: float = 1.0) -> None:
        super().__init__()
        self.dice_weight, self.bce_weight = dice_weight, bce_weight

    def forward(self, logits: Tensor, truth: Tensor, has_mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted parts, which are logged under their names.

        Args:
            logits: (B, 1, H, W) in any precision; the loss is computed in 32 bits, also inside autocast.
            truth: (B, 1, H, W), 0 or 1.
            has_mask: (B,) bool or None; slices without a mask do not contribute, a batch without any gives 0 with a zero
                gradient.
        """
        raise NotImplementedError


class ClassLoss(nn.Module):
    """Base of the losses of classes.

    Args:
        class_weights: weight per class, or None.
    """

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Sequence[float] | Tensor | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted parts, which are logged under their names.

        Args:
            logits: (B, K) in any precision; the loss is computed in 32 bits, also inside autocast.
            labels: (B,) int64; -1 where unknown. A batch without any label gives 0 with a zero gradient.
        """
        raise NotImplementedError


mask_losses: Registry[type[MaskLoss]] = Registry("loss of masks", base=MaskLoss)
class_losses: Registry[type[ClassLoss]] = Registry("loss of classes", base=ClassLoss)


@mask_losses.register("dice_bce")
class SegmentationLoss(MaskLoss):
    """Weighted sum of soft Dice (Milletari 2016, through MONAI) and binary cross-entropy.

    Dice is computed per slice and then averaged, as the score is; over the batch, large tumours would hide small ones. One
    pixel is added to numerator and denominator (`smooth_nr = smooth_dr = 1`): it is negligible for a tumour of hundreds of
    pixels, and for an empty mask the loss decreases with the number of predicted pixels, where the usual 1e-5 would leave it
    flat at 1.

    Args:
        dice_weight: weight of the soft Dice.
        bce_weight: weight of the cross-entropy.
    """

    def __init__(self, *, dice_weight: float = 1.0, bce_weight: float = 1.0) -> None:
        super().__init__(dice_weight=dice_weight, bce_weight=bce_weight)
        self.soft_dice = DiceLoss(sigmoid=True, batch=False, smooth_nr=1.0, smooth_dr=1.0, reduction="none")

    def forward(self, logits: Tensor, truth: Tensor, has_mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts `dice` and `bce`."""
        with torch.autocast(logits.device.type, enabled=False):
            logits, truth = logits.float(), truth.float()
            dice = self.soft_dice(logits, truth).flatten(1).mean(1)  # (B,)
            bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten(1).mean(1)  # (B,)
            parts = {"dice": _mean(dice, has_mask), "bce": _mean(bce, has_mask)}
            return self.dice_weight * parts["dice"] + self.bce_weight * parts["bce"], parts


@class_losses.register("cross_entropy")
class ClassificationLoss(ClassLoss):
    """Cross-entropy over the slices whose class is known, optionally weighted by class."""

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its part `cross_entropy` (the same number)."""
        with torch.autocast(logits.device.type, enabled=False):
            total = F.cross_entropy(logits.float(), labels, weight=self.class_weights, ignore_index=UNKNOWN, reduction="sum")
            known = (labels != UNKNOWN).float()
            if self.class_weights is not None:
                known = known * self.class_weights[labels.clamp(min=0)]
            loss = total / known.sum().clamp(min=1e-12)
            return loss, {"cross_entropy": loss}


class JointLoss(nn.Module):
    """Sum of the loss of masks and the loss of classes; a slice without one of the two truths contributes by the other.

    Args:
        mask_loss: loss of masks.
        class_loss: loss of classes.
        cross_entropy_weight: weight of the loss of classes.
    """

    def __init__(self, mask_loss: MaskLoss, class_loss: ClassLoss, *, cross_entropy_weight: float = 1.0) -> None:
        super().__init__()
        self.mask_loss, self.class_loss, self.cross_entropy_weight = mask_loss, class_loss, cross_entropy_weight

    def forward(
        self, mask_logits: Tensor, class_logits: Tensor, *, truth: Tensor, has_mask: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted parts `dice`, `bce` and `cross_entropy`.

        Args:
            mask_logits: (B, 1, H, W).
            class_logits: (B, K).
            truth: (B, 1, H, W), 0 or 1.
            has_mask: (B,) bool, whether the truth is known.
            labels: (B,) int64; -1 where unknown.
        """
        of_masks, parts = self.mask_loss(mask_logits, truth, has_mask)
        of_classes, more = self.class_loss(class_logits, labels)
        return of_masks + self.cross_entropy_weight * of_classes, parts | more


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Return a weight per class, n / (K x count), so that all classes have the same total; 0 for a class without slices.

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
