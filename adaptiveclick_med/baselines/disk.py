"""The trivial baseline: a disk at each click."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference import Prediction

__all__ = ["DiskSession"]


class DiskSession:
    """A disk of a fixed area at each click, later clicks over earlier ones: the trivial baseline.

    Args:
        area: area of a disk in pixels, for example the mean area of the objects of a training set.

    Raises:
        ValueError: when the area is not positive.
    """

    def __init__(self, area: float) -> None:
        if not area > 0:
            raise ValueError(f"area must be positive, got {area}.")
        self.radius = math.sqrt(area / math.pi)
        self._size: tuple[int, int] | None = None
        self._clicks = Clicks()

    def set_image(self, image: ArrayLike) -> None:
        """Start with a new image [H, W] or [H, W, C]; only its size counts."""
        height, width = np.shape(image)[:2]
        self._size = (height, width)
        self._clicks.clear()

    def click(self, row: float, column: float, positive: bool = True) -> Prediction:
        """Add a click and paint.

        Raises:
            RuntimeError: when no image was set.
        """
        if self._size is None:
            raise RuntimeError("No image was set; call set_image first.")
        self._clicks.add(Click(row, column, positive))
        rows, columns = np.ogrid[: self._size[0], : self._size[1]]
        mask = np.zeros(self._size, dtype=bool)
        for click in self._clicks:
            mask[(rows - click.row) ** 2 + (columns - click.column) ** 2 <= self.radius**2] = click.positive
        return Prediction(mask, mask.astype(np.float32))
