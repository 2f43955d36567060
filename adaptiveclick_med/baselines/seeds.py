"""From clicks to seeds, and what the sessions of the classical methods share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference import Prediction
from adaptiveclick_med.transforms.intensity import PERCENTILES, to_unit_rgb
from adaptiveclick_med.transforms.percentiles import percentile_pair

__all__ = ["SeededSession", "click_seeds", "frame_seeds", "in_range"]

_LEAST_SIDE = 8


def in_range(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> float:
    """Return a parameter as a float.

    Args:
        name: of the argument, for the error.
        value: what was given.
        low: smallest allowed value.
        high: largest allowed value.
        open_low: whether ``low`` itself is not allowed.

    Raises:
        ValueError: when it is no finite number of the range.
    """
    usable = isinstance(value, (int, float, np.number)) and math.isfinite(value) and low <= value <= high
    if not usable or (open_low and value == low):
        least = f"above {low:g}" if open_low else f"at least {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"{name} must be a number {least}{most}, got {value!r}.")
    return float(value)


def click_seeds(clicks: Iterable[Click], size: tuple[int, int], radius: float) -> NDArray[np.int8]:
    """Draw a small disk at each click, later ones over earlier ones; clicked pixels keep their click's sign.

    Args:
        clicks: in pixels, oldest first.
        size: (height, width).
        radius: of a disk in pixels; 0: only the pixel.

    Returns:
        [H, W]: 1 object, -1 background, 0 not known.
    """
    seeds = np.zeros(size, dtype=np.int8)
    rows, columns = np.ogrid[: size[0], : size[1]]
    placed = [(*_pixel(click, size), 1 if click.positive else -1) for click in clicks]
    for row, column, sign in placed:
        seeds[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = sign
    for row, column, sign in placed:
        seeds[row, column] = sign
    return seeds


def frame_seeds(clicks: Iterable[Click], size: tuple[int, int], distance: float) -> NDArray[np.bool_]:
    """Return the pixels of the image's frame that count as background, [H, W].

    They are its outermost rows and columns, without those near a positive click. An image of fewer than eight rows has
    no upper and lower frame, and so with columns: objects in a strip span it.

    Args:
        clicks: in pixels.
        size: (height, width).
        distance: pixels up to so far from a positive click are left out.
    """
    frame = np.zeros(size, dtype=bool)
    if size[0] >= _LEAST_SIDE:
        frame[[0, -1]] = True
    if size[1] >= _LEAST_SIDE:
        frame[:, [0, -1]] = True
    rows, columns = np.ogrid[: size[0], : size[1]]
    for click in clicks:
        if click.positive:
            row, column = _pixel(click, size)
            frame &= (rows - row) ** 2 + (columns - column) ** 2 > distance**2
    return frame


def _pixel(click: Click, size: tuple[int, int]) -> tuple[int, int]:
    return min(max(round(click.row), 0), size[0] - 1), min(max(round(click.column), 0), size[1] - 1)


class SeededSession(ABC):
    """One object in one image, segmented by a method that starts from seeds.

    The answer is a function of the image and of all clicks so far. Each click is a small disk of seeds. The frame of
    the image, where no positive click is near, is background too, since the first click says nothing about that.
    Pixels of the clicks' disks always have their click's label.

    Args:
        radius: of a click's disk in image pixels.
        frame_distance: the frame is background where it is farther than this from each positive click; a share of the
            image's shorter side.
        max_side: longest side in pixels on which the method runs. A longer image is reduced for it, and the probability
            enlarged again.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(self, *, radius: float, frame_distance: float, max_side: int) -> None:
        self.radius = in_range("radius", radius, 0, 100)
        self.frame_distance = in_range("frame_distance", frame_distance, 0, 1)
        self.max_side = int(in_range("max_side", max_side, 16, math.inf))
        self._size: tuple[int, int] | None = None
        self._work_size = (0, 0)
        self._prepared: Any = None
        self._clicks = Clicks()

    @property
    def parameters(self) -> dict[str, float]:
        """The method's parameters by name, plain JSON values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @property
    def clicks(self) -> Clicks:
        """The clicks made so far, in image pixels, oldest first (a copy)."""
        return self._clicks.copy()

    def set_image(
        self,
        image: ArrayLike,
        *,
        window: str | tuple[float, float] | None = None,
        channels: int | tuple[int, int, int] | None = None,
        nan: str = "raise",
    ) -> None:
        """Start with a new image; earlier clicks are forgotten.

        Args:
            image: [H, W] or [H, W, C] of any integer or floating type. Its 0.5 and 99.5 percentiles become 0 and 1, the
                extremes where the two are equal.
            window: name of a CT window or (low, high) in the image's units, in place of the percentiles.
            channels: which channel, or which three, of an image with neither one nor three.
            nan: ``"raise"`` or ``"fill"``: what to do with NaN and infinite values.

        Raises:
            ValueError: when the image is of another shape, or its values cannot be used.
        """
        unit = _unit_image(np.asarray(image), window, channels, nan)
        height, width = unit.shape[-2:]
        share = min(1.0, self.max_side / max(height, width))
        self._work_size = (max(1, round(height * share)), max(1, round(width * share)))
        if share < 1:
            unit = F.interpolate(unit[None], self._work_size, mode="area")[0]
        self._prepared = self._prepare(np.ascontiguousarray(unit.movedim(0, -1).numpy(), dtype=np.float64))
        self._size = (height, width)
        self._clicks.clear()

    def click(self, row: float, column: float, positive: bool = True) -> Prediction:
        """Add a click and segment.

        Args:
            row: row in image pixels.
            column: column in image pixels.
            positive: ``True`` on the object, ``False`` off it.

        Returns:
            The mask, and the method's own probability; a mask is where that is above 0.5.

        Raises:
            RuntimeError: when no image was set.
            ValueError: when the click lies outside the image, or is the first and negative. The session stays as it
                was.
        """
        height, width = self._require_size()
        click = Click(row, column, positive)
        if not (0 <= row <= height - 1 and 0 <= column <= width - 1):
            raise ValueError(
                f"The click ({row}, {column}) lies outside the image: rows go from 0 to {height - 1}, columns from 0 "
                f"to {width - 1}."
            )
        if not positive and not self._clicks.positive:
            raise ValueError("There is no positive click: the first click must be on the object.")
        self._clicks.add(click)
        return self._answer()

    def undo(self) -> Prediction | None:
        """Take the newest click back.

        Returns:
            The answer to the clicks that are left, ``None`` when there is none.

        Raises:
            IndexError: when there is no click to undo.
        """
        self._clicks.undo()
        return self._answer() if self._clicks else None

    def reset(self) -> None:
        """Forget all clicks; the image stays."""
        self._clicks.clear()

    def _require_size(self) -> tuple[int, int]:
        if self._size is None:
            raise RuntimeError("No image was set; call set_image first.")
        return self._size

    def _answer(self) -> Prediction:
        size, work = self._require_size(), self._work_size
        rows, columns = work[0] / size[0], work[1] / size[1]
        moved = self._clicks.moved(lambda row, column: ((row + 0.5) * rows - 0.5, (column + 0.5) * columns - 0.5))
        seeds = click_seeds(moved, work, self.radius * min(rows, columns))
        frame = frame_seeds(moved, work, self.frame_distance * min(work))
        seeds[frame & (seeds == 0)] = -1
        # without seeds of the background nothing says where the object ends
        probability = self._segment(self._prepared, seeds, moved) if (seeds < 0).any() else np.ones(work)
        values = torch.from_numpy(np.asarray(probability, dtype=np.float32).clip(0, 1))
        if work != size:
            values = F.interpolate(values[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        found = values.numpy().copy()
        known = click_seeds(self._clicks, size, self.radius)
        found[known > 0], found[known < 0] = 1, 0
        return Prediction(found > 0.5, found)

    @abstractmethod
    def _prepare(self, image: NDArray[np.float64]) -> Any:
        """Return what of an image all clicks need.

        Args:
            image: [h, w, 1] or [h, w, 3] in [0, 1], at the size on which the method runs.
        """

    @abstractmethod
    def _segment(self, prepared: Any, seeds: NDArray[np.int8], clicks: Clicks) -> NDArray[Any]:
        """Return the probability of the object in [0, 1], [h, w].

        Args:
            prepared: what :meth:`_prepare` returned.
            seeds: [h, w]; 1 object, -1 background, 0 not known. Both signs are there.
            clicks: the clicks in pixels of ``seeds``, oldest first, not rounded.
        """


def _unit_image(image: NDArray[Any], window: str | tuple[float, float] | None, channels: Any, nan: str) -> torch.Tensor:
    """Return an image as [1, H, W] or, in colour, [3, H, W] in [0, 1]."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3:
        raise ValueError(f"image must be of shape [H, W] or [H, W, C], got {list(image.shape)}.")
    if image.dtype.kind not in "biuf":
        raise ValueError(f"image must be of an integer or floating type, got {image.dtype}.")
    array = np.moveaxis(image, -1, 0).astype(np.float64)
    limits = None
    if window is None and array.size:
        chosen = array if channels is None else array[np.atleast_1d(channels)]
        values = chosen[np.isfinite(chosen)]
        if values.size:
            low, high = percentile_pair(values, PERCENTILES)
            limits = (low, high) if low < high else (float(values.min()), float(values.max()))
    unit = to_unit_rgb(array, window, channels, nan=nan, value_range=limits)
    return unit[:1] if bool((unit == unit[:1]).all()) else unit
