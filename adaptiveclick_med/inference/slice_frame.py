"""The pixels of a slice as the network sees them: square, also where the volume's are not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptiveclick_med.clicks import Click

__all__ = ["SliceFrame"]

_LONGEST_SIDE = 2048


@dataclass(frozen=True)
class SliceFrame:
    """A slice's own pixel grid and the grid on which it is segmented.

    Both grids cover the same area; the centres of their corner pixels differ (``align_corners=False``).

    Args:
        size: (height, width) of the slice in pixels.
        inner: (height, width) in pixels of the grid for the network.
    """

    size: tuple[int, int]
    inner: tuple[int, int]

    @classmethod
    def for_spacing(
        cls, size: tuple[int, int], spacing: tuple[float, float], max_anisotropy: float, min_side: int
    ) -> SliceFrame:
        """Choose the inner grid.

        Pixels that are longer than ``max_anisotropy`` times their width (or the other way round) are divided until they
        are square. A slice that is shorter than ``min_side`` is enlarged, one of more than 2048 pixels a side by that
        is not divided so far.

        Args:
            size: (height, width) of the slice in pixels.
            spacing: millimetres between rows and between columns.
            max_anisotropy: largest ratio of the two that stays as it is.
            min_side: least side of the inner grid in pixels.
        """
        fine = min(spacing)
        sides = [float(side) for side in size]
        if max(spacing) > max_anisotropy * fine > 0:
            sides = [side * step / fine for side, step in zip(sides, spacing, strict=True)]
            if max(sides) > max(_LONGEST_SIDE, *size):
                shrink = max(_LONGEST_SIDE, *size) / max(sides)
                sides = [side * shrink for side in sides]
        enlarge = max(1.0, min_side / min(sides))
        return cls(size, (max(min_side, round(sides[0] * enlarge)), max(min_side, round(sides[1] * enlarge))))

    @property
    def same(self) -> bool:
        """Whether both grids are one."""
        return self.size == self.inner

    def to_inner(self, values: Tensor) -> Tensor:
        """Resize [C, H, W] of the slice bilinearly to the inner grid."""
        return values if self.same else _resized(values, self.inner)

    def to_slice(self, values: Tensor) -> Tensor:
        """Resize [C, h, w] of the inner grid to the slice: bilinearly, over the area of each pixel."""
        return values if self.same else _resized(values, self.size)

    def click(self, row: float, column: float, positive: bool) -> Click:
        """Return a click, given in pixels of the slice, in pixels of the inner grid, clamped to pixel centres."""
        if self.same:
            return Click(row, column, positive)
        place = [
            min(max((at + 0.5) * new / old - 0.5, 0.0), new - 1.0)
            for at, old, new in zip((row, column), self.size, self.inner, strict=True)
        ]
        return Click(place[0], place[1], positive)


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    resized: Tensor = F.interpolate(
        values[None].to(torch.float32), size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0]
