"""Geodesic growing by fast marching (Sethian, PNAS 1996), by SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adaptiveclick_med.baselines.seeds import SeededSession, in_range
from adaptiveclick_med.clicks import Clicks

__all__ = ["FastMarchingSession"]

_SLOWEST = 1e-6


class FastMarchingSession(SeededSession):
    """Two fronts, from the object's seeds and the background's, slow down at edges; a pixel goes to the first there.

    The speed is exp(-steepness g) with g the magnitude of the gradient, in units of the image's range a pixel, of the
    smoothed image; in colour, the root of the channels' summed squares. The probability is t_b / (t_o + t_b) of the
    arrival times of both fronts.

    Args:
        steepness: how much an edge slows a front down.
        sigma: standard deviation in pixels of the Gaussian of the gradient.
        radius: see :class:`~adaptiveclick_med.baselines.SeededSession`.
        frame_distance: see there.
        max_side: see there.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        steepness: float = 100.0,
        sigma: float = 0.7,
        *,
        radius: float = 1.0,
        frame_distance: float = 0.1,
        max_side: int = 512,
    ) -> None:
        super().__init__(radius=radius, frame_distance=frame_distance, max_side=max_side)
        self.steepness = in_range("steepness", steepness, 0, 10000)
        self.sigma = in_range("sigma", sigma, 0, 50, open_low=True)

    def _prepare(self, image: NDArray[np.float64]) -> Any:
        import SimpleITK

        channels = np.moveaxis(image, -1, 0)
        squares = [ndimage.gaussian_gradient_magnitude(each, self.sigma, mode="nearest") ** 2 for each in channels]
        speed = np.exp(-self.steepness * np.sqrt(np.sum(squares, axis=0))).clip(_SLOWEST)
        return SimpleITK.GetImageFromArray(speed)

    def _segment(self, prepared: Any, seeds: NDArray[np.int8], clicks: Clicks) -> NDArray[Any]:
        to_object, to_background = (_arrival(prepared, seeds == sign) for sign in (1, -1))
        total = to_object + to_background
        return to_background / np.where(total > 0, total, 1)


def _arrival(speed: Any, seeds: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return when a front from the seeds [h, w], where it is at time 0, arrives at each pixel, [h, w]."""
    import SimpleITK

    march = SimpleITK.FastMarchingImageFilter()
    march.SetTrialPoints(np.argwhere(seeds)[:, ::-1].tolist())  # (x, y)
    return SimpleITK.GetArrayFromImage(march.Execute(speed)).astype(np.float64)
