"""The vocabulary of clicks: one click, an ordered list of clicks, point tensors and click maps.

Coordinates are (row, column) in pixels everywhere. Pixel (0, 0) is the top left one and its centre is at (0.0, 0.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

__all__ = ["Click", "Clicks", "click_maps", "points_tensor"]


@dataclass(frozen=True)
class Click:
    """One click of a user.

    Args:
        row: row in pixels, may be fractional.
        column: column in pixels, may be fractional.
        positive: ``True`` for a click on the object, ``False`` for a click off it.

    Raises:
        ValueError: when a coordinate is not a finite number.
    """

    row: float
    column: float
    positive: bool = True

    def __post_init__(self) -> None:
        for name in ("row", "column"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} of a click must be a finite number, got {value!r}.")


class Clicks(Sequence[Click]):
    """Clicks on one object, in the order in which they were made.

    Args:
        clicks: the first clicks, oldest first.

    Example:
        >>> clicks = Clicks([Click(10, 12)])
        >>> clicks.add(Click(3, 4, positive=False))
        >>> len(clicks), len(clicks.positive), len(clicks.negative)
        (2, 1, 1)
        >>> clicks.undo()
        Click(row=3, column=4, positive=False)
    """

    def __init__(self, clicks: Iterable[Click] = ()) -> None:
        self._clicks: list[Click] = list(clicks)

    def add(self, click: Click) -> None:
        """Append the newest click."""
        self._clicks.append(click)

    def undo(self) -> Click:
        """Remove the newest click and return it.

        Raises:
            IndexError: when there is no click to undo.
        """
        if not self._clicks:
            raise IndexError("There is no click to undo.")
        return self._clicks.pop()

    def clear(self) -> None:
        """Remove all clicks."""
        self._clicks.clear()

    @property
    def positive(self) -> list[Click]:
        """The clicks on the object, oldest first."""
        return [click for click in self._clicks if click.positive]

    @property
    def negative(self) -> list[Click]:
        """The clicks off the object, oldest first."""
        return [click for click in self._clicks if not click.positive]

    def moved(self, function: Callable[[float, float], tuple[float, float]]) -> Clicks:
        """Return the same clicks at ``function(row, column)``, with signs and order kept."""
        return Clicks(Click(*function(click.row, click.column), positive=click.positive) for click in self._clicks)

    def copy(self) -> Clicks:
        """Return an independent list of the same clicks."""
        return Clicks(self._clicks)

    @overload
    def __getitem__(self, index: int) -> Click: ...

    @overload
    def __getitem__(self, index: slice) -> Clicks: ...

    def __getitem__(self, index: int | slice) -> Click | Clicks:
        """Return one click, or the clicks of a slice."""
        return Clicks(self._clicks[index]) if isinstance(index, slice) else self._clicks[index]

    def __len__(self) -> int:
        """Return the number of clicks of both signs."""
        return len(self._clicks)

    def __iter__(self) -> Iterator[Click]:
        """Iterate from the oldest click to the newest."""
        return iter(self._clicks)

    def __eq__(self, other: object) -> bool:
        """Compare click by click."""
        return isinstance(other, Clicks) and self._clicks == other._clicks

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the constructor call."""
        return f"Clicks({self._clicks!r})"


def points_tensor(
    batch: Sequence[Iterable[Click]],
    *,
    capacity: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Put the clicks of several objects into one padded tensor.

    Args:
        batch: the clicks of every object, oldest first.
        capacity: places for each sign, N; by default the largest number of clicks of one sign, at least 1.
        dtype: floating type of the result.
        device: device of the result.

    Returns:
        [B, 2N, 3] with (row, column, order). The first N places of an object hold its positive clicks, the last N its
        negative ones; ``order`` counts the clicks of both signs from 0. Empty places are (-1, -1, -1).

    Raises:
        ValueError: when an object has more clicks of one sign than ``capacity``.
    """
    signed: list[tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]]] = []
    for clicks in batch:
        positive: list[tuple[float, float, float]] = []
        negative: list[tuple[float, float, float]] = []
        for order, click in enumerate(clicks):
            (positive if click.positive else negative).append((click.row, click.column, order))
        signed.append((positive, negative))
    needed = max([1, *(len(part) for pair in signed for part in pair)])
    if capacity is None:
        capacity = needed
    elif needed > capacity:
        raise ValueError(f"capacity is {capacity}, but an object has {needed} clicks of one sign.")
    padding = (-1.0, -1.0, -1.0)
    rows = [
        [*positive, *[padding] * (capacity - len(positive)), *negative, *[padding] * (capacity - len(negative))]
        for positive, negative in signed
    ]
    return torch.tensor(rows, dtype=dtype, device=device).reshape(len(signed), 2 * capacity, 3)


def click_maps(points: Tensor, size: tuple[int, int], radius: float = 5.0, *, encoding: str = "disk") -> Tensor:
    """Draw clicks into one map per sign (METHOD: input of the network).

    A place is empty when both of its coordinates are negative; a click with one negative coordinate still paints.

    Args:
        points: [B, 2N, 3] floating tensor of (row, column, order), the first N positive, the last N negative.
        size: (height, width) of the maps in pixels.
        radius: radius of the disks in pixels.
        encoding: ``"disk"``: 1 where the squared distance to any click of that sign is at most ``radius`` squared, else
            0. ``"distance"``: tanh(2 d / radius) with d the distance to the nearest click, 1 where there is none.

    Returns:
        [B, 2, H, W], positive map first, of the dtype and on the device of ``points``.

    Raises:
        ValueError: when ``points`` has another shape, or ``encoding`` is unknown.
    """
    if points.ndim != 3 or points.shape[1] % 2 or points.shape[2] != 3:
        raise ValueError(f"points must be of shape [B, 2N, 3], got {list(points.shape)}.")
    if encoding not in ("disk", "distance"):
        raise ValueError(f"encoding must be 'disk' or 'distance', got {encoding!r}.")
    if not points.is_floating_point():
        points = points.float()
    if encoding == "disk" and points.device.type == "cpu" and points.dtype in (torch.float32, torch.float64):
        return _disk_maps(points, size, radius)
    batch, places, _ = points.shape
    height, width = size
    signed = points.reshape(batch, 2, places // 2, 3)
    empty = signed[..., :2].amax(-1) < 0
    rows = torch.arange(height, dtype=points.dtype, device=points.device)
    columns = torch.arange(width, dtype=points.dtype, device=points.device)
    row_squares = (rows - signed[..., 0:1]).square().masked_fill(empty[..., None], torch.inf)
    column_squares = (columns - signed[..., 1:2]).square()
    nearest = points.new_full((batch, 2, height, width), torch.inf)
    for place in range(places // 2):
        squares = row_squares[:, :, place, :, None] + column_squares[:, :, place, None, :]
        nearest = torch.minimum(nearest, squares)
    if encoding == "disk":
        return (nearest <= radius * radius).to(points.dtype)
    return torch.tanh(2.0 * nearest.sqrt() / radius)


def _disk_maps(points: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """Draw the disks of :func:`click_maps` only where they are, with the same arithmetic; the rest stays 0."""
    batch, places, _ = points.shape
    height, width = size
    maps = points.new_zeros((batch, 2, height, width))
    clicks = points.reshape(-1, 3)
    planes = torch.arange(2 * batch).repeat_interleave(places // 2)
    drawn = clicks[:, :2].amax(-1) >= 0
    clicks, planes = clicks[drawn], planes[drawn]
    reach = math.ceil(radius) + 1
    around = torch.arange(-reach, reach + 1)
    rows, columns = (clicks[:, axis, None].floor().long() + around for axis in (0, 1))
    row_squares = (rows.to(points.dtype) - clicks[:, 0, None]).square()
    column_squares = (columns.to(points.dtype) - clicks[:, 1, None]).square()
    painted = row_squares[:, :, None] + column_squares[:, None, :] <= radius * radius
    painted &= ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    pixels = (planes[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    maps.view(-1)[pixels[painted]] = 1
    return maps
