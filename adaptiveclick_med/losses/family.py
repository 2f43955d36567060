"""The losses that the adaptive focal loss is compared with (Tables VI, VII of the paper), and their short names."""

from __future__ import annotations

from typing import Any, Optional

import torch.nn.functional as F
from monai.utils.enums import LossReduction
from torch import Tensor

from adaptiveclick_med.losses.adaptive_focal import AdaptiveFocalLoss
from adaptiveclick_med.losses.base import MaskLoss, masked_mean
from adaptiveclick_med.losses.overlap import DiceLoss, SoftIoULoss

__all__ = [
    "LOSSES",
    "BalancedCrossEntropyLoss",
    "BinaryCrossEntropyLoss",
    "FocalLoss",
    "NormalizedFocalLoss",
    "PolyLoss",
    "WeightedCrossEntropyLoss",
    "get_loss",
]


class FocalLoss(AdaptiveFocalLoss):
    """Focal loss (Lin et al., ICCV 2017): AdaptiveClick (IEEE TNNLS 2024), Eq. 2, in Tables VI, VII "FL".

    The adaptive focal loss with ADA and AGR off and alpha 0: the mean over pixels of (1 - p_t)^gamma (-log p_t).

    Args:
        gamma: exponent, at least 0.
        class_balance: weight of the foreground in [0, 1]; the background has the rest. ``None``: both have 1.
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: as :class:`AdaptiveFocalLoss` does.

    Example:
        >>> import torch
        >>> round(FocalLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # 0.5 * 0.5 ** 2 * log 2
        0.0866
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_balance: Optional[float] = 0.5,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(gamma, 0.0, 0.0, False, False, class_balance, ignore_value, reduction)


class BinaryCrossEntropyLoss(FocalLoss):
    """Binary cross-entropy: AdaptiveClick (IEEE TNNLS 2024), Eq. 1, in Tables VI, VII "BCE".

    The focal loss with gamma 0 and no class balance: the mean over pixels of -log p_t.

    Args:
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: as :class:`AdaptiveFocalLoss` does.

    Example:
        >>> import torch
        >>> round(BinaryCrossEntropyLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # log 2
        0.6931
    """

    def __init__(self, ignore_value: Optional[float] = None, reduction: LossReduction | str = "mean") -> None:
        super().__init__(0.0, None, ignore_value, reduction)


class NormalizedFocalLoss(AdaptiveFocalLoss):
    """Normalised focal loss (Sofiiuk et al., ICCV 2019): AdaptiveClick (IEEE TNNLS 2024), Tables VI, VII "NFL".

    The adaptive focal loss with ADA off, AGR on, delta 0 and alpha 0: the weights (1 - p_t)^gamma are scaled to the
    mean 1, with no gradient through the scale. The alpha 0.5 of the papers on this loss is ``class_balance`` here.

    Args:
        gamma: exponent, at least 0.
        class_balance: weight of the foreground in [0, 1]; the background has the rest. ``None``: both have 1.
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: as :class:`AdaptiveFocalLoss` does.

    Example:
        >>> import torch
        >>> round(NormalizedFocalLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # 0.5 * log 2
        0.3466
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_balance: Optional[float] = 0.5,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(gamma, 0.0, 0.0, False, True, class_balance, ignore_value, reduction)


class PolyLoss(AdaptiveFocalLoss):
    """Poly loss (Leng et al., ICLR 2022): AdaptiveClick (IEEE TNNLS 2024), Eq. 3, in Tables VI, VII "PL".

    The adaptive focal loss with ADA and AGR off: the mean over pixels of
    (1 - p_t)^gamma (-log p_t) + alpha (1 - p_t)^(gamma + 1).

    Args:
        gamma: exponent, at least 0.
        class_balance: weight of the foreground in [0, 1]; the background has the rest. ``None``: both have 1.
        alpha: weight of the polynomial term.
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: as :class:`AdaptiveFocalLoss` does.

    Example:
        >>> import torch
        >>> round(PolyLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # 0.0866 + 0.5 * 0.5 ** 3
        0.1491
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_balance: Optional[float] = 0.5,
        alpha: float = 1.0,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(gamma, 0.0, alpha, False, False, class_balance, ignore_value, reduction)


class BalancedCrossEntropyLoss(MaskLoss):
    """Balanced cross-entropy (Xie and Tu, ICCV 2015): AdaptiveClick (IEEE TNNLS 2024), Tables VI, VII "Balanced CE".

    The mean over pixels of -[a y log p + b (1 - y) log(1 - p)] with the weights a and b of the two classes.

    Args:
        positive_weight: weight a of the foreground, at least 0.
        negative_weight: weight b of the background, at least 0.
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: when a weight is negative or ``reduction`` unknown; in the call, when the shapes differ or have
            fewer than three dimensions.

    Example:
        >>> import torch
        >>> loss = BalancedCrossEntropyLoss(positive_weight=3, negative_weight=1)
        >>> round(loss(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])).item(), 4)  # (3 + 1) / 2 * log 2
        1.3863
    """

    def __init__(
        self,
        positive_weight: float = 3.0,
        negative_weight: float = 1.0,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(ignore_value=ignore_value, reduction=reduction)
        for name, value in (("positive_weight", positive_weight), ("negative_weight", negative_weight)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        self.positive_weight = float(positive_weight)
        self.negative_weight = float(negative_weight)

    def values(self, logits: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute the weighted cross-entropy of each mask; see :meth:`MaskLoss.values`."""
        positive = self.positive_weight * target * F.logsigmoid(logits)
        negative = self.negative_weight * (1.0 - target) * F.logsigmoid(-logits)
        return masked_mean(-(positive + negative), valid)


class WeightedCrossEntropyLoss(BalancedCrossEntropyLoss):
    """Weighted cross-entropy: AdaptiveClick (IEEE TNNLS 2024), Tables VI, VII "WBCE".

    Balanced cross-entropy with the weight of the background fixed at 1.

    Args:
        positive_weight: weight of the foreground, at least 0.
        ignore_value: as in :class:`AdaptiveFocalLoss`.
        reduction: as in :class:`AdaptiveFocalLoss`.

    Shapes:
        logits, target: [B, C, *spatial]; output: scalar, or [B, C] with reduction ``"none"``.

    Raises:
        ValueError: as :class:`BalancedCrossEntropyLoss` does.

    Example:
        >>> import torch
        >>> round(WeightedCrossEntropyLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # 3 * log 2
        2.0794
    """

    def __init__(
        self,
        positive_weight: float = 3.0,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(positive_weight, 1.0, ignore_value, reduction)


LOSSES: dict[str, type[MaskLoss]] = {
    "afl": AdaptiveFocalLoss,
    "bce": BinaryCrossEntropyLoss,
    "bce_balanced": BalancedCrossEntropyLoss,
    "dice": DiceLoss,
    "fl": FocalLoss,
    "iou": SoftIoULoss,
    "nfl": NormalizedFocalLoss,
    "pl": PolyLoss,
    "wbce": WeightedCrossEntropyLoss,
}
"""The losses on masks by their short names."""


def get_loss(name: str, **kwargs: Any) -> MaskLoss:
    """Build a loss on masks from its short name.

    Args:
        name: a key of :data:`LOSSES`.
        kwargs: arguments of that loss.

    Returns:
        The loss.

    Raises:
        ValueError: when the name is unknown.
        TypeError: when the loss has no such argument.

    Example:
        >>> get_loss("fl", gamma=1.0).gamma
        1.0
    """
    if name not in LOSSES:
        raise ValueError(f"name must be one of {', '.join(map(repr, LOSSES))}, got {name!r}.")
    return LOSSES[name](**kwargs)
