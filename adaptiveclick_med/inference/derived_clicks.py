"""Clicks that a mask stands for: what a user would click to get it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.distance import bounding_box, squared_depth

__all__ = ["clicks_of_mask"]

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def clicks_of_mask(
    mask: NDArray[np.bool_], *, max_positive: int = 3, max_negative: int = 1, min_share: float = 0.2
) -> list[Click]:
    """Return clicks at the deepest points of a mask's parts, and of what it leaves out of its box.

    Args:
        mask: [H, W] boolean.
        max_positive: most positive clicks: one in each 8-connected part, the largest parts first.
        max_negative: most negative clicks: in holes and bays inside the box around the mask, the deepest first.
        min_share: a part counts from this share of the largest part's area on; a hole or bay when it is at least this
            share as deep as the object.

    Returns:
        Negative clicks first, then positive ones, the largest part's last; whole coordinates. Empty for an empty mask.
    """
    box = bounding_box(mask)
    if box is None:
        return []
    top, left = int(box[0].start), int(box[1].start)
    inside = mask[box]
    parts, count = ndimage.label(inside, structure=_EIGHT_NEIGHBOURS)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-areas, kind="stable")[:max_positive]
    positive, deepest = [], 0
    for part in order:
        if areas[part] < min_share * areas[order[0]]:
            break
        depth = squared_depth(parts == part + 1)
        row, column = _middle(depth == depth.max())
        deepest = max(deepest, int(depth[row, column]))
        positive.append(Click(float(top + row), float(left + column)))
    negative: list[Click] = []
    gaps = squared_depth(np.pad(~inside, 1))[1:-1, 1:-1] if max_negative else np.zeros(0, dtype=np.int32)
    while len(negative) < max_negative:
        row, column = divmod(int(gaps.argmax()), gaps.shape[1])
        depth_here = math.sqrt(float(gaps[row, column]))
        if depth_here < 2 or depth_here < min_share * math.sqrt(deepest):
            break
        negative.append(Click(float(top + row), float(left + column), positive=False))
        rows, columns = np.ogrid[: gaps.shape[0], : gaps.shape[1]]
        gaps = np.where((rows - row) ** 2 + (columns - column) ** 2 <= depth_here**2, 0, gaps)
    return [*negative, *reversed(positive)]


def _middle(places: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the place that is nearest to the mean of all, so that a thin object is not clicked at its end."""
    found = np.argwhere(places)
    row, column = found[int(((found - found.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    return int(row), int(column)
