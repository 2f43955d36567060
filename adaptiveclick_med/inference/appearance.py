"""What an object looks like beside what surrounds it, by the values of a slice that shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

__all__ = ["Appearance"]

_BINS = 32
_SUREST = 0.02


@dataclass(frozen=True)
class Appearance:
    """How likely a pixel of a value belongs to an object rather than to its surroundings.

    Attributes:
        likelihood: [32], for values from 0 to 1: 1 where only the object has them, 0 where only the surroundings do.
        between: support halfway between the mean inside the object and the mean around it.
    """

    likelihood: NDArray[np.float64]
    between: float

    @classmethod
    def of(cls, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> Appearance | None:
        """Learn it from one slice.

        Args:
            values: [h, w] in [0, 1].
            mask: [h, w] boolean, the object.

        Returns:
            ``None`` when there is no object, or nothing around it.
        """
        reach = max(4, round(0.7 * np.sqrt(mask.sum() / np.pi)))
        around = ndimage.binary_dilation(mask, iterations=reach) & ~ndimage.binary_dilation(mask, iterations=1)
        if not mask.any() or not around.any():
            return None
        inside, outside = (_smooth_histogram(values[part]) for part in (mask, around))
        learnt = cls(inside / (inside + outside), 0.0)
        support = learnt.support(values)
        return cls(learnt.likelihood, float(np.clip(0.5 * (support[mask].mean() + support[around].mean()), 0.1, 0.9)))

    def log_odds(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds that pixels of a slice [h, w] belong to the object, 0 halfway, between about -4 and 4."""
        odds: NDArray[np.float64] = special.logit(self.support(values).clip(_SUREST, 1 - _SUREST))
        return odds - float(special.logit(self.between))

    def support(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how much each pixel of a slice [h, w] and its neighbours look like the object, [h, w] in [0, 1]."""
        found: NDArray[np.float64] = ndimage.gaussian_filter(self.likelihood[_bins(values)], 1.0)
        return found


def _bins(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return (values * _BINS).astype(np.intp).clip(0, _BINS - 1)


def _smooth_histogram(values: NDArray[np.float32]) -> NDArray[np.float64]:
    counts = np.bincount(_bins(values), minlength=_BINS).astype(np.float64)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter1d(counts / counts.sum(), 1.0) + 1e-3
    return smooth
