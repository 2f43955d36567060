"""How far zoom-in magnifies: one rule for sessions and for the windows of training."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["smallest_crop"]

_PAPER_CROP, _PAPER_INPUT = 200, 448


def smallest_crop(size: int | Sequence[int]) -> int:
    """Return the smallest side of a crop, in pixels of the image, that a network of an input size is shown.

    The paper's 200 pixels belong to an input of 448 (Sec. IV-A), a magnification of 2.24. A smaller network sees
    smaller crops, at the same magnification; a larger one keeps the 200 pixels.

    Args:
        size: side or (height, width) of the network's input in pixels.
    """
    side = size if isinstance(size, int) else max(size)
    return min(_PAPER_CROP, max(1, round(side * _PAPER_CROP / _PAPER_INPUT)))
