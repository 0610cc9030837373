"""How do two losses become one? With fixed weights, or with weights that are learned beside the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bts.models.losses import UNKNOWN, ClassificationLoss, SegmentationLoss


class JointLoss(nn.Module):
    """Sum of the loss on masks and the loss on classes; a slice that lacks one of the two truths teaches by the other.

    With `learned`, each loss L is weighted by its own uncertainty (Kendall, Gal and Cipolla 2018): exp(-s) L + s / 2, where
    s, the logarithm of a variance, is a parameter. It starts at 0, so that training begins as with fixed weights; at rest the
    weight is 1 / (2 L). A batch without any truth for a loss leaves its s alone.

    Args:
        masks: loss on masks, with its own weights of Dice and cross-entropy.
        classes: loss on classes.
        cross_entropy: factor on the loss on classes; learned weights come on top of it.
        learned: whether the two weights are learned.
    """

    log_variances: nn.Parameter | None

    def __init__(
        self, masks: SegmentationLoss, classes: ClassificationLoss, *, cross_entropy: float = 1.0, learned: bool = False
    ) -> None:
        super().__init__()
        self.masks, self.classes, self.cross_entropy = masks, classes, cross_entropy
        self.register_parameter("log_variances", nn.Parameter(torch.zeros(2)) if learned else None)

    def forward(
        self, mask_logits: Tensor, class_logits: Tensor, *, truth: Tensor, has_mask: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted parts `dice`, `bce`, `cross_entropy`; learned weights as `weight_...` beside them.

        Args:
            mask_logits: (B, 1, H, W).
            class_logits: (B, K).
            truth: (B, 1, H, W), 0 or 1.
            has_mask: (B,) bool, whose truth counts.
            labels: (B,) int64; -1 where unknown.
        """
        of_masks, parts = self.masks(mask_logits, truth, has_mask)
        of_classes, more = self.classes(class_logits, labels)
        of_classes = self.cross_entropy * of_classes
        if self.log_variances is None:
            return of_masks + of_classes, parts | more
        weights = torch.exp(-self.log_variances)
        known = torch.stack([has_mask.any(), (labels != UNKNOWN).any()]).to(weights)
        total = (known * (weights * torch.stack([of_masks, of_classes]) + self.log_variances / 2)).sum()
        return total, parts | more | {"weight_mask": weights[0], "weight_class": weights[1]}
