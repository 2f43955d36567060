"""Percentiles of whole volumes without sorting them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentile_pair"]

_SMALL = 1 << 18
_SAMPLE = 1 << 16


def percentile_pair(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return two percentiles, the same numbers as ``np.percentile`` (linear interpolation) to the last digit.

    Only the two tails that hold them are looked at; a sample of the values tells where they begin. Neighbours further
    apart than their integer type can tell are interpolated too, where NumPy overflows.

    Args:
        values: any shape, integer or floating, at least one value; none of them NaN or infinite.
        percentiles: in [0, 100].
    """
    if values.size >= _SMALL:
        flat = values.ravel(order="K")
        sample = np.sort(flat[:: max(1, flat.size // _SAMPLE)])
        low, high = (_percentile(flat, percentile, sample) for percentile in percentiles)
        if low is not None and high is not None:
            return low, high
    low, high = np.percentile(values, percentiles)
    return float(low), float(high)


def _percentile(flat: NDArray[Any], percentile: float, sample: NDArray[Any]) -> float | None:
    """Return one percentile of values [N], ``None`` where their sample misjudged the tail."""
    last = flat.size - 1
    place = last * (float(percentile) / 100)
    rank = min(int(place), last)
    found = _neighbours(flat, rank, sample)
    if found is None:
        return None
    first, second = found
    extent = float(int(second) - int(first)) if flat.dtype.kind in "iu" else float(second - first)
    share = place - rank  # NumPy interpolates from the nearer end
    return float(first) + extent * share if share < 0.5 else float(second) - extent * (1 - share)


def _neighbours(flat: NDArray[Any], rank: int, sample: NDArray[Any]) -> tuple[Any, Any] | None:
    """Return what would be at the places rank and rank + 1 of values [N] if they were sorted.

    Args:
        flat: the values.
        rank: from 0 to N - 1; behind the last place comes the last one again.
        sample: some of the values, sorted.

    Returns:
        The two values, ``None`` where the tail, with all values equal to its limit, does not hold both.
    """
    last = flat.size - 1
    places, upper = [rank, min(rank + 1, last)], rank > last / 2
    if upper:
        places = [last - place for place in reversed(places)]  # counted from the greatest value down
    guess = min(math.ceil(2 * places[1] * len(sample) / flat.size) + 50, len(sample) - 1)
    limit = sample[-1 - guess] if upper else sample[guess]
    tail = flat[flat > limit] if upper else flat[flat < limit]
    inside = [place for place in places if place < len(tail)]
    if len(inside) < 2 and places[1] >= len(tail) + np.count_nonzero(flat == limit):
        return None
    if upper:
        inside = [len(tail) - 1 - place for place in inside]
    if inside:
        tail.partition(inside)
    first, second = [tail[place] for place in inside] + [limit] * (2 - len(inside))
    return (second, first) if upper else (first, second)
