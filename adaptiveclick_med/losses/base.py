"""What every loss on a mask shares: shapes, precision, ignored pixels and reduction."""

from __future__ import annotations

from typing import Optional

import torch
from monai.utils.enums import LossReduction
from torch import Tensor
from torch.nn.modules.loss import _Loss

__all__ = ["MaskLoss", "full_precision", "masked_mean"]


def full_precision(values: Tensor) -> Tensor:
    """Give the same values in float32, or unchanged where they are float64."""
    return values if values.dtype == torch.float64 else values.float()


def masked_mean(values: Tensor, valid: Optional[Tensor]) -> Tensor:
    """Mean over the pixels of each mask that count.

    Args:
        values: [B, C, N], floating.
        valid: [B, C or 1, N] boolean, ``False`` where a pixel does not count; ``None``: all count.

    Returns:
        [B, C]; 0 where no pixel counts.
    """
    if valid is None:
        return values.mean(2)
    return values.masked_fill(~valid, 0.0).sum(2) / valid.sum(2).clamp(min=1)


class MaskLoss(_Loss):
    """A loss that has one value for each mask, that is for each sample and channel.

    Subclasses say in :meth:`values` what that value is. All of them compute in float32 whatever the input is (float64
    stays float64), accept any number of spatial dimensions, and can be scripted.

    Args:
        ignore_value: pixels whose target has this value count nowhere; ``None``: every pixel counts.
        reduction: ``"mean"``: mean over the masks. ``"sum"``: sum over the masks. ``"none"``: one value a mask.

    Raises:
        ValueError: when ``reduction`` is unknown.
    """

    def __init__(self, ignore_value: Optional[float] = None, reduction: LossReduction | str = "mean") -> None:
        super().__init__(reduction=LossReduction(reduction).value)
        self.ignore_value = None if ignore_value is None else float(ignore_value)

    def values(self, logits: Tensor, target: Tensor, valid: Optional[Tensor]) -> Tensor:
        """Compute the loss of each mask; called with checked and flattened tensors.

        Args:
            logits: [B, C, N], float32 or float64; 0 at pixels that do not count.
            target: [B, C or 1, N], of the same type, in [0, 1]; 0 at pixels that do not count.
            valid: of the shape of ``target``, boolean, ``False`` at pixels that do not count; ``None``: all count.

        Returns:
            [B, C], 0 for a mask in which no pixel counts.
        """
        raise NotImplementedError

    def per_mask(self, logits: Tensor, target: Tensor, valid: Optional[Tensor] = None) -> Tensor:
        """Compute the loss of each mask, with the pixels that count given as a mask of their own.

        ``ignore_value`` and ``reduction`` of the loss play no part here.

        Args:
            logits: [B, C, *spatial], floating.
            target: [B, C or 1, *spatial], in [0, 1]; any value where ``valid`` is ``False``. With one channel it is
                the target of all channels of ``logits``.
            valid: of the shape of ``target``, boolean, ``False`` at pixels that do not count; ``None``: all count.

        Returns:
            [B, C].

        Raises:
            ValueError: when the shapes differ or have fewer than three dimensions.
        """
        if logits.dim() < 3:
            raise ValueError(f"logits must be of shape [B, C, *spatial], got {list(logits.shape)}.")
        if logits.shape != target.shape and logits[:, :1].shape != target.shape:
            raise ValueError(f"target must be of the shape of logits {list(logits.shape)}, got {list(target.shape)}.")
        z = full_precision(logits).flatten(2)
        y = target.flatten(2).to(z.dtype)
        if valid is None:
            return self.values(z, y, None)
        if valid.shape != target.shape:
            raise ValueError(f"valid must be of the shape of target {list(target.shape)}, got {list(valid.shape)}.")
        v = valid.flatten(2)
        return self.values(z.masked_fill(~v, 0.0), y.masked_fill(~v, 0.0), v)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: [B, C, *spatial], floating, before the sigmoid.
            target: [B, C, *spatial], any type: 1 object, 0 background, between them soft, or ``ignore_value``.

        Returns:
            A scalar, or [B, C] with reduction ``"none"``.

        Raises:
            ValueError: when the shapes differ or have fewer than three dimensions.
        """
        if logits.shape != target.shape:
            raise ValueError(f"target must be of the shape of logits {list(logits.shape)}, got {list(target.shape)}.")
        valid: Optional[Tensor] = None
        if self.ignore_value is not None:
            valid = target != self.ignore_value
        loss = self.per_mask(logits, target, valid)
        if self.reduction == "mean":
            return loss.mean()
        if self.reduction == "sum":
            return loss.sum()
        return loss
