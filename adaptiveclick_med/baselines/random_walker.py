"""The random walker (Grady, IEEE TPAMI 2006), by scikit-image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.baselines.seeds import SeededSession, in_range
from adaptiveclick_med.clicks import Clicks

__all__ = ["RandomWalkerSession"]


class RandomWalkerSession(SeededSession):
    """Each pixel goes to the seeds that a random walker, held up by edges, reaches first more often than not.

    The probability is that of reaching an object seed first. In a constant image only distances count.

    Args:
        beta: how much edges hold it up.
        radius: see :class:`~adaptiveclick_med.baselines.SeededSession`.
        frame_distance: see there.
        max_side: see there.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self, beta: float = 1000.0, *, radius: float = 1.0, frame_distance: float = 0.1, max_side: int = 256
    ) -> None:
        super().__init__(radius=radius, frame_distance=frame_distance, max_side=max_side)
        self.beta = in_range("beta", beta, 0, math.inf)

    def _prepare(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        return image

    def _segment(self, prepared: Any, seeds: NDArray[np.int8], clicks: Clicks) -> NDArray[Any]:
        from skimage.segmentation import random_walker

        if seeds.all():
            return seeds > 0
        image, beta = prepared, self.beta
        if image.std() < 1e-6:  # scikit-image divides by it; with beta = 0 all edges weigh 1 whatever the image
            image, beta = np.indices(seeds.shape).sum(0, dtype=np.float64)[..., None], 0.0
            image /= image.max()
        colour = image.shape[-1] > 1
        # "bf" solves directly: conjugate gradients do not converge where beta makes edges nearly impassable.
        object_first, background_first = random_walker(
            image if colour else image[..., 0],
            np.where(seeds < 0, 2, seeds).astype(np.int32),
            beta=beta,
            mode="bf",
            return_full_prob=True,
            prob_tol=math.inf,
            channel_axis=-1 if colour else None,
        ).clip(0, 1)
        total = object_first + background_first
        return object_first / np.where(total > 0, total, 1)
