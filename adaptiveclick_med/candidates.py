"""What the candidates of a network make together."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["combined_mask"]


def combined_mask(mask_logits: Tensor, click_logits: Tensor) -> Tensor:
    """Add up candidates, each weighted by its click probability: the mask that a session shows.

    Args:
        mask_logits: [B, Q, h, w], the candidates.
        click_logits: [B, Q, 2], index 0 "unclick", index 1 "click".

    Returns:
        Logits [B, 1, h, w]: the sum over q of sigmoid(click logit 1 of q) times mask q.
    """
    return torch.einsum("bq,bqhw->bhw", click_logits[..., 1].sigmoid(), mask_logits)[:, None]
