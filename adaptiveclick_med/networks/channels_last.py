"""Layers on maps whose channels lie last in memory, where a 1 x 1 convolution is a plain product of matrices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["group_norm", "pointwise"]


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution whose kernel was already gathered into the channels; 1 x 1 kernels need no gathering.

    Args:
        conv: its weight is [C', C, k, k].
        x: [..., C k k].

    Returns:
        [..., C'].
    """
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalise groups of channels over all positions of a sample.

    Args:
        norm: the layer.
        x: [B, ..., C], contiguous, two or more dimensions of positions.

    Returns:
        Of the same shape.
    """
    planes = x.flatten(2, -2) if x.ndim > 4 else x
    normed = F.group_norm(planes.permute(0, 3, 1, 2), norm.num_groups, norm.weight, norm.bias, norm.eps)
    return normed.permute(0, 2, 3, 1).reshape(x.shape)
