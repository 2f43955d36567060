"""Region growing: connected thresholds around the clicks, by SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adaptiveclick_med.baselines.seeds import SeededSession, in_range
from adaptiveclick_med.clicks import Clicks

__all__ = ["RegionGrowingSession"]


class RegionGrowingSession(SeededSession):
    """Around each positive click, the connected pixels that look like it; the background's seeds limit how much.

    A pixel differs from a click by the distance of its smoothed intensity, or colour, from the click's. Its level is
    the smallest tolerance at which a region grown from the click holds it. The tolerance of a click is a share of the
    lowest level of a background seed, so no seed of the background is inside, and at most ``max_tolerance``. The mask
    is the union over the positive clicks, with holes filled that hold no seed of the background. The probability is
    tolerance / (tolerance + level).

    Args:
        share: of the level at which a region would reach the background.
        max_tolerance: largest tolerance in units of the image's range.
        sigma: standard deviation in pixels of the Gaussian that smooths the image.
        radius: see :class:`~adaptiveclick_med.baselines.SeededSession`.
        frame_distance: see there.
        max_side: see there.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        share: float = 0.9,
        max_tolerance: float = 0.5,
        sigma: float = 1.0,
        *,
        radius: float = 3.0,
        frame_distance: float = 0.1,
        max_side: int = 512,
    ) -> None:
        super().__init__(radius=radius, frame_distance=frame_distance, max_side=max_side)
        self.share = in_range("share", share, 0, 1, open_low=True)
        self.max_tolerance = in_range("max_tolerance", max_tolerance, 0, 2, open_low=True)
        self.sigma = in_range("sigma", sigma, 0, 50)
        self._levels: dict[tuple[int, int], NDArray[np.float32]] = {}

    def _prepare(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        self._levels = {}
        return ndimage.gaussian_filter(image, (self.sigma, self.sigma, 0), mode="nearest")

    def _segment(self, prepared: Any, seeds: NDArray[np.int8], clicks: Clicks) -> NDArray[Any]:
        probability = np.zeros(seeds.shape)
        for click in clicks.positive:
            place = round(click.row), round(click.column)
            if place not in self._levels:
                self._levels[place] = _levels(prepared, place)
            levels = self._levels[place]
            tolerance = min(self.share * float(levels[seeds < 0].min()), self.max_tolerance)
            if tolerance > 0:
                probability = np.maximum(probability, tolerance / (tolerance + levels))
        mask = probability > 0.5
        holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
        kept = np.setdiff1d(np.arange(1, count + 1), holes[seeds < 0])
        probability[np.isin(holes, kept)] = 1
        return probability


def _levels(image: NDArray[np.float64], place: tuple[int, int]) -> NDArray[np.float32]:
    """Return the smallest tolerance at which a region grown from a pixel holds each pixel, [h, w].

    It is the largest difference on the best way there, a morphological reconstruction by erosion of the differences.
    """
    import SimpleITK

    differences = np.sqrt(((image - image[place]) ** 2).sum(-1)).astype(np.float32)
    marker = np.full_like(differences, differences.max())
    marker[place] = 0
    images = (SimpleITK.GetImageFromArray(each) for each in (marker, differences))
    return SimpleITK.GetArrayFromImage(SimpleITK.ReconstructionByErosion(*images))
