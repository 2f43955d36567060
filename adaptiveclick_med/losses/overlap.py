"""The losses on the overlap of two masks: soft IoU and Dice."""

from __future__ import annotations

from typing import Optional

import torch
from monai.utils.enums import LossReduction
from torch import Tensor

from adaptiveclick_med.losses.base import MaskLoss

__all__ = ["DiceLoss", "SoftIoULoss"]


class SoftIoULoss(MaskLoss):
    """Soft IoU loss (Rahman and Wang, ISVC 2016): AdaptiveClick (IEEE TNNLS 2024), Tables VI, VII "Soft IoU".

    1 - sum p y / sum (p + y - p y), the sums over the pixels of a mask.

    Args:
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: when ``reduction`` is unknown; in the call, when the shapes differ or have fewer than three
            dimensions.

    Example:
        >>> import torch
        >>> round(SoftIoULoss()(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])).item(), 4)  # 1 - 0.5 / 1.5
        0.6667
    """

    def __init__(self, ignore_value: Optional[float] = None, reduction: LossReduction | str = "mean") -> None:
        super().__init__(ignore_value=ignore_value, reduction=reduction)

    def values(self, logits: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute the soft IoU loss of each mask; see :meth:`MaskLoss.values`."""
        probability = logits.sigmoid()
        if valid is not None:
            probability = probability.masked_fill(~valid, 0.0)
        intersection = (probability * target).sum(2)
        union = probability.sum(2) + target.sum(2) - intersection
        loss = 1.0 - intersection / (union + 1e-8)
        if valid is not None:
            loss = torch.where(valid.any(2), loss, torch.zeros_like(loss))
        return loss


class DiceLoss(MaskLoss):
    """Dice loss: AdaptiveClick (IEEE TNNLS 2024), Eq. 21.

    1 - (2 sum p y + 1) / (sum p + sum y + 1), the sums over the pixels of a mask.

    Args:
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: when ``reduction`` is unknown; in the call, when the shapes differ or have fewer than three
            dimensions.

    Example:
        >>> import torch
        >>> round(DiceLoss()(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])).item(), 4)  # 1 - 2 / 3
        0.3333
    """

    def __init__(self, ignore_value: Optional[float] = None, reduction: LossReduction | str = "mean") -> None:
        super().__init__(ignore_value=ignore_value, reduction=reduction)

    def values(self, logits: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute the Dice loss of each mask; see :meth:`MaskLoss.values`."""
        probability = logits.sigmoid()
        if valid is not None:
            probability = probability.masked_fill(~valid, 0.0)
        intersection = (probability * target).sum(2)
        return 1.0 - (2.0 * intersection + 1.0) / (probability.sum(2) + target.sum(2) + 1.0)
