"""What a click segmentation network answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["AdaptiveClickOutput"]


class AdaptiveClickOutput(NamedTuple):
    """The answer of a network to a batch of clicked images.

    Attributes:
        logits: [B, 1, H, W], the combined mask at the size of the input, before the sigmoid.
        mask_logits: [B, Q, h, w], the candidate masks of the last layer at stride 4; ``None`` without candidates.
        click_logits: [B, Q, 2], index 0 "unclick", index 1 "click"; ``None`` without candidates.
        auxiliary: (mask logits, click logits) of the earlier prediction points, first one first.
        features: named intermediate maps, only when they were asked for.
    """

    logits: Tensor
    mask_logits: Tensor | None = None
    click_logits: Tensor | None = None
    auxiliary: tuple[tuple[Tensor, Tensor], ...] = ()
    features: dict[str, Tensor] | None = None

    def sample(self, index: int) -> AdaptiveClickOutput:
        """Return the candidates of one sample of the batch, on their own memory; batch size 1, without features."""
        part = slice(index, index + 1)
        return AdaptiveClickOutput(
            self.logits[part].clone(),
            None if self.mask_logits is None else self.mask_logits[part].clone(),
            None if self.click_logits is None else self.click_logits[part].clone(),
        )
