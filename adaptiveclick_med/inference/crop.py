"""Zoom-in: which part of the image the network sees, and how clicks and masks move between the two frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.distance import bounding_box
from adaptiveclick_med.magnification import smallest_crop

__all__ = ["CropBox", "ZoomIn"]


@dataclass(frozen=True)
class CropBox:
    """A part of an image in pixels; all four sides belong to it.

    Args:
        top: first row.
        bottom: last row.
        left: first column.
        right: last column.
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top + 1

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left + 1

    @property
    def part(self) -> tuple[slice, slice]:
        """(row, column) slices of the box, for the last two axes of an image."""
        return slice(self.top, self.bottom + 1), slice(self.left, self.right + 1)

    @classmethod
    def whole(cls, size: tuple[int, int]) -> CropBox:
        """Return the box of a whole image of (height, width)."""
        return cls(0, size[0] - 1, 0, size[1] - 1)

    def overlap(self, other: CropBox) -> float:
        """Return the product of the row intervals' and the column intervals' intersection over union.

        Lengths are inclusive, and the union of two intervals is the length of their hull.
        """
        rows = _interval_iou(self.top, self.bottom, other.top, other.bottom)
        return rows * _interval_iou(self.left, self.right, other.left, other.right)

    def holds(self, click: Click) -> bool:
        """Tell whether a click lies inside; the last row and the last column count as outside."""
        return self.top <= click.row < self.bottom and self.left <= click.column < self.right


def _interval_iou(first: int, last: int, other_first: int, other_last: int) -> float:
    intersection = max(0, min(last, other_last) - max(first, other_first) + 1)
    return intersection / max(1e-6, max(last, other_last) - min(first, other_first) + 1)


class ZoomIn:
    """Chooses the crop around the object found so far (the evaluation protocol of the paper, Sec. IV-A).

    Args:
        target_size: (height, width) of the network's input in pixels, or one number for its longer side.
        expansion: how much larger than the object's box the crop is.
        min_size: smallest side of a crop in pixels of the image; by default that of
            :func:`~adaptiveclick_med.magnification.smallest_crop`, the paper's 200 for the paper's input of 448.
        keep_overlap: the old crop is kept while its overlap with the new one is at least this.
        threshold: probability above which a pixel belongs to the object.
    """

    def __init__(
        self,
        target_size: int | tuple[int, int] = (448, 448),
        *,
        expansion: float = 1.4,
        min_size: int | None = None,
        keep_overlap: float = 0.5,
        threshold: float = 0.5,
    ) -> None:
        self.target_size = target_size
        self.expansion = expansion
        self.min_size = smallest_crop(target_size) if min_size is None else min_size
        self.keep_overlap = keep_overlap
        self.threshold = threshold

    def choose(
        self, size: tuple[int, int], clicks: Iterable[Click], probability: Tensor | None, old: CropBox | None
    ) -> CropBox:
        """Return the crop for the next prediction.

        Args:
            size: (height, width) of the image.
            clicks: all clicks made so far, in image pixels.
            probability: [H, W] probability map of the preceding prediction, if any.
            old: the crop of the preceding prediction, if any.
        """
        positive = [click for click in clicks if click.positive]
        new = self._around_object(size, positive, probability)
        keep = (
            old is not None and all(old.holds(click) for click in positive) and (new.overlap(old) >= self.keep_overlap)
        )
        return old if keep and old is not None else new

    def choose_second(
        self, size: tuple[int, int], clicks: Iterable[Click], probability: Tensor, largest: float = 0.25
    ) -> CropBox | None:
        """Return the crop for a second look at the first click, ``None`` where it would gain little.

        The first click shows the whole image, so a small object covers few pixels of the network's input. Its first
        answer is good enough to know where to look.

        Args:
            size: (height, width) of the image.
            clicks: all clicks made so far, in image pixels.
            probability: [H, W] probability map of the first look.
            largest: most that the crop may cover of the image: at a quarter the sides appear twice as long.
        """
        box = self.choose(size, clicks, probability, None)
        return box if box.height * box.width <= largest * size[0] * size[1] else None

    def _around_object(self, size: tuple[int, int], positive: list[Click], probability: Tensor | None) -> CropBox:
        found = None if probability is None else _box_above(probability, self.threshold)
        if found is None:
            return CropBox.whole(size)
        rows = [found.top, found.bottom, *(int(click.row) for click in positive)]
        columns = [found.left, found.right, *(int(click.column) for click in positive)]
        top, bottom = self._expanded(min(rows), max(rows), size[0])
        left, right = self._expanded(min(columns), max(columns), size[1])
        return CropBox(top, bottom, left, right)

    def _expanded(self, first: int, last: int, length: int) -> tuple[int, int]:
        centre = 0.5 * (first + last)
        side = max(self.expansion * (last - first + 1), self.min_size)
        return max(0, round(centre - 0.5 * side)), min(length - 1, round(centre + 0.5 * side))

    def input_size(self, box: CropBox) -> tuple[int, int]:
        """Return the (height, width) to which a crop is resized."""
        if not isinstance(self.target_size, int):
            return self.target_size
        scale = self.target_size / max(box.height, box.width)
        return max(1, round(box.height * scale)), max(1, round(box.width * scale))

    def crop(self, image: Tensor, box: CropBox) -> Tensor:
        """Cut [B, C, H, W] to a box and resize it bilinearly (align_corners)."""
        rows, columns = box.part
        part = image[:, :, rows, columns]
        channels = part.reshape(-1, 1, box.height, box.width)  # PyTorch rounds differently where there are just three
        resized = F.interpolate(channels, self.input_size(box), mode="bilinear", align_corners=True)
        return resized.reshape(*part.shape[:2], *resized.shape[-2:])

    def crop_clicks(self, clicks: Clicks, box: CropBox) -> Clicks:
        """Move clicks from image pixels to pixels of the resized crop, fractional; those outside it stay outside."""
        height, width = self.input_size(box)
        return clicks.moved(
            lambda row, column: (height * (row - box.top) / box.height, width * (column - box.left) / box.width)
        )

    def paste(self, probability: Tensor, box: CropBox, size: tuple[int, int]) -> Tensor:
        """Resize [B, C, h, w] of a crop bilinearly (align_corners) to the box, inside zeros of the image's size."""
        part = F.interpolate(probability, (box.height, box.width), mode="bilinear", align_corners=True)
        if box == CropBox.whole(size):
            return part
        whole = torch.zeros((*part.shape[:2], *size), dtype=part.dtype, device=part.device)
        rows, columns = box.part
        whole[:, :, rows, columns] = part
        return whole


def _box_above(probability: Tensor, threshold: float) -> CropBox | None:
    """Return the box of all pixels of [H, W] above a threshold, ``None`` where there is none."""
    found = probability > threshold
    if found.device.type == "cpu":
        box = bounding_box(found.numpy())
        return None if box is None else CropBox(box[0].start, box[0].stop - 1, box[1].start, box[1].stop - 1)
    return _box_on_device(found)


def _box_on_device(found: Tensor) -> CropBox | None:
    """Return the box of a boolean [H, W] on any device, with one transfer to the host."""
    ends = [found.any().long()]
    for line in (found.any(1).byte(), found.any(0).byte()):
        ends += [line.argmax(), len(line) - 1 - line.flip(0).argmax()]
    held, *sides = torch.stack(ends).tolist()
    return CropBox(*sides) if held else None
