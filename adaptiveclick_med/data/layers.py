"""Objects that may overlap, packed into as few label layers as needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["stack_objects"]


def stack_objects(
    masks: Iterable[NDArray[np.bool_]], size: Sequence[int], numbers: Iterable[int] | None = None
) -> NDArray[np.int32]:
    """Pack masks into layers: each object goes to the first layer where it meets no other.

    Args:
        masks: boolean [H, W], one an object.
        size: (H, W), for the case of no mask.
        numbers: number of each object, above 0; by default 1, 2, ...

    Returns:
        [L, H, W] int32 with at least one layer.
    """
    layers = [np.zeros(tuple(size), dtype=np.int32)]
    counted = range(1, 2**31) if numbers is None else numbers
    for number, mask in zip(counted, masks, strict=False):
        free = next((layer for layer in layers if not layer[mask].any()), None)
        if free is None:
            free = np.zeros_like(layers[0])
            layers.append(free)
        free[mask] = number
    return np.stack(layers)
