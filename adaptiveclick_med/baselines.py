"""Sessions without a network: what clicks alone give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.evaluation import objects_of
from adaptiveclick_med.inference import Prediction

__all__ = ["DiskSession", "mean_object_area"]


def mean_object_area(samples: Iterable[Mapping[str, Any]]) -> float:
    """Return the mean area in pixels of all objects of samples with ``label`` [L, H, W].

    Raises:
        ValueError: when there is no object.
    """
    areas = [np.count_nonzero(target > 0) for sample in samples for _, target in objects_of(sample["label"])]
    if not areas:
        raise ValueError("The samples have no object, so there is no mean area.")
    return float(np.mean(areas))


class DiskSession:
    """A disk of a fixed area at each click, later clicks over earlier ones: the trivial baseline.

    Args:
        area: area of a disk in pixels, for example :func:`mean_object_area` of a training set.

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
