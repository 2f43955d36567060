"""The adaptive focal loss, and by its switches the losses that it generalises."""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from monai.utils.enums import LossReduction
from torch import Tensor

from adaptiveclick_med.losses.base import MaskLoss, masked_mean

__all__ = ["AdaptiveFocalLoss"]


class AdaptiveFocalLoss(MaskLoss):
    """Adaptive focal loss (AFL): a focal loss that adapts its exponent and its scale to each mask.

    Lin et al., "AdaptiveClick: Click-Aware Transformer With Adaptive Focal Loss for Interactive Image Segmentation",
    IEEE Transactions on Neural Networks and Learning Systems, 2024, Eqs. 8 to 20. For a mask of N pixels with target
    y, probability p and p_t = y p + (1 - y)(1 - p):

    - adaptive difficulty (ADA, Eqs. 8, 9): gamma_d = gamma + gamma_a, gamma_a = 1 - mean of p_t over the foreground;
      gamma_a = 1 where there is no foreground;
    - adaptive gradient (AGR, Eq. 19): mu = N / sum_i (1 - p_t)^gamma_d (1 + delta gamma_d);
    - the loss of a pixel (Eq. 20): mu (1 - p_t)^gamma_d (-log p_t) + alpha (1 - p_t)^(gamma_d + 1), times the class
      balance, and of a mask: the mean over its pixels.

    Gradients flow neither through gamma_a nor through mu. Foreground is y > 0.5. For soft y, -log p_t stands for
    -[y log p + (1 - y) log(1 - p)], and the class balance is e y + (1 - e)(1 - y) with e = ``class_balance``. Powers
    and mu are computed from log(1 - p_t), so values and gradients are finite for logits of any size. Nothing here
    makes the host wait for the device.

    With ADA and AGR off this is the poly loss, with ``alpha`` 0 also the focal loss, with ``gamma`` 0 also binary
    cross-entropy. With ADA off, AGR on and ``delta`` and ``alpha`` 0 it is the normalised focal loss.

    Args:
        gamma: exponent of the focal loss, at least 0.
        delta: share of the vertical gradient in mu, at least 0.
        alpha: weight of the polynomial term.
        adaptive_difficulty: whether ADA is on; off: gamma_a = 0.
        adaptive_gradient: whether AGR is on; off: mu = 1.
        class_balance: weight of the foreground in [0, 1]; the background has the rest. ``None``: both have 1.
        ignore_value: pixels whose target has this value count nowhere: not in N, the sums or the mean. A mask of
            nothing else has loss 0. ``None``: every pixel counts, and a target outside [0, 1] gives NaN.
        reduction: ``"mean"``: mean over the masks. ``"sum"``: sum over the masks. ``"none"``: one value a mask.

    Shapes:
        logits: [B, C, *spatial], floating, any number of spatial dimensions; every (b, c) is a mask of its own.
        target: [B, C, *spatial], in [0, 1] or ``ignore_value``, any type.
        output: scalar, or [B, C] with reduction ``"none"``; float32, or float64 for logits of float64.

    Raises:
        ValueError: when ``gamma`` or ``delta`` is negative, ``class_balance`` outside [0, 1], or ``reduction`` unknown;
            in the call, when the shapes differ or have fewer than three dimensions.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[[2.0, -1.0], [0.5, -3.0]]]])
        >>> target = torch.tensor([[[[1.0, 0.0], [1.0, -1.0]]]])
        >>> loss = AdaptiveFocalLoss(ignore_value=-1)
        >>> round(loss(logits, target).item(), 4)
        0.1171
    """

    def __init__(
        self,
        gamma: float = 2.0,
        delta: float = 0.4,
        alpha: float = 1.0,
        adaptive_difficulty: bool = True,
        adaptive_gradient: bool = True,
        class_balance: Optional[float] = 0.5,
        ignore_value: Optional[float] = None,
        reduction: LossReduction | str = "mean",
    ) -> None:
        super().__init__(ignore_value=ignore_value, reduction=reduction)
        for name, value in (("gamma", gamma), ("delta", delta)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        if class_balance is not None and not 0 <= class_balance <= 1:
            raise ValueError(f"class_balance must be in [0, 1] or None, got {class_balance}.")
        self.gamma = float(gamma)
        self.delta = float(delta)
        self.alpha = float(alpha)
        self.adaptive_difficulty = bool(adaptive_difficulty)
        self.adaptive_gradient = bool(adaptive_gradient)
        self.class_balance = None if class_balance is None else float(class_balance)

    def values(self, logits: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute Eq. 20 of each mask; see :meth:`MaskLoss.values`."""
        log_p = F.logsigmoid(logits)
        log_not_p = F.logsigmoid(-logits)
        cross_entropy = -(target * log_p + (1.0 - target) * log_not_p)
        # log(1 - p_t): for y of 0 and 1 one argument is -inf, and the other one comes back unchanged.
        log_error = torch.logaddexp(target.log() + log_not_p, (1.0 - target).log() + log_p)

        gamma = torch.full_like(log_error[:, :, :1], self.gamma)
        if self.adaptive_difficulty:
            gamma = gamma + self._difficulty(log_error.detach(), target, valid)
        log_weight = gamma * log_error
        if self.adaptive_gradient:
            if valid is not None:
                log_weight = log_weight.masked_fill(~valid, float("-inf"))
            log_weight = log_weight + self._log_scale(log_weight.detach(), gamma, valid)
        loss = log_weight.exp() * cross_entropy
        if self.alpha != 0.0:
            loss = loss + self.alpha * ((gamma + 1.0) * log_error).exp()
        if self.class_balance is not None:
            loss = loss * (self.class_balance * target + (1.0 - self.class_balance) * (1.0 - target))
        return masked_mean(loss, valid)

    def _difficulty(self, log_error: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute gamma_a (Eq. 8), [B, C, 1]: the mean of 1 - p_t over the foreground, 1 where there is none."""
        foreground = target > 0.5
        if valid is not None:
            foreground = foreground & valid
        count = foreground.sum(2, keepdim=True)
        error = log_error.exp().masked_fill(~foreground, 0.0).sum(2, keepdim=True) / count.clamp(min=1)
        return torch.where(count > 0, error, torch.ones_like(error))

    def _log_scale(self, log_weight: Tensor, gamma: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute log mu (Eq. 19), [B, C, 1], from gamma_d log(1 - p_t), which is -inf where a pixel does not count.

        It is 0 for a mask in which no pixel counts.
        """
        if valid is None:
            count = torch.full_like(gamma, float(log_weight.shape[2]))
        else:
            count = valid.sum(2, keepdim=True).to(log_weight.dtype)
        scale = count.log() - log_weight.logsumexp(2, keepdim=True) - torch.log1p(self.delta * gamma)
        return torch.where(count > 0, scale, torch.zeros_like(scale))
