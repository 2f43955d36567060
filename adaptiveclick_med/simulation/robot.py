"""The robot user of the evaluation: it clicks where the prediction is wrong deepest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.distance import bounding_box, squared_depth

__all__ = ["RobotUser"]

_MANY_PARTS = 256
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class RobotUser:
    """A user who always corrects the deepest error (the evaluation protocol of the paper).

    The next click goes to the pixel deepest inside the false negative region (a positive click) or the false positive
    region (a negative click), whichever is deeper. Depth is the exact Euclidean distance to the nearest pixel outside
    the region, and everything outside the image counts as outside. On a tie between the regions the false positive one
    wins; inside a region the first pixel in raster order wins. Pixels to ignore belong to neither region. A pixel is
    clicked once: clicked pixels still belong to their region when depths are measured, they are only never chosen.

    Depths are compared as whole squared distances. Two pixels tie here exactly when their distances are equal, which
    rounded square roots of approximate transforms do not guarantee.

    Example:
        >>> target = np.zeros((7, 7), dtype=int)
        >>> target[1:6, 1:6] = 1
        >>> user = RobotUser()
        >>> user.next_click(target, np.zeros((7, 7), dtype=bool))
        Click(row=3, column=3, positive=True)
        >>> user.next_click(target, target == 1) is None
        True
    """

    def next_click(
        self, target: ArrayLike | Tensor, prediction: ArrayLike | Tensor, clicked: Iterable[Click] = ()
    ) -> Click | None:
        """Return the next click on one object.

        Args:
            target: [H, W], boolean or number: 1 object (a fraction above 0.5), 0 background, below 0 ignore.
            prediction: the predicted mask [H, W], boolean, or whole numbers of which 0 is background.
            clicked: the earlier clicks in pixels of the image. Fractional coordinates are rounded; clicks outside the
                image change nothing.

        Returns:
            The click, with whole coordinates, or ``None`` when no pixel is wrong that was not clicked before.

        Raises:
            ValueError: when ``target`` is not [H, W], or ``prediction`` has another shape.
            TypeError: when ``prediction`` is neither boolean nor of whole numbers (threshold probabilities first).
        """
        wanted = _as_array(target)
        found = _as_array(prediction)
        if wanted.ndim != 2:
            raise ValueError(f"target must be of shape [H, W], got {list(wanted.shape)}.")
        if found.shape != wanted.shape:
            raise ValueError(
                f"prediction must have the shape of target, {list(wanted.shape)}, got {list(found.shape)}."
            )
        if found.dtype.kind not in "biu":
            raise TypeError(f"prediction must be a boolean mask, got {found.dtype}; threshold probabilities first.")
        if found.dtype != bool:
            found = found != 0
        if wanted.dtype == bool:
            wrong = wanted ^ found
        else:
            valid = wanted >= 0
            wanted = wanted > (0.5 if wanted.dtype.kind == "f" else 0)
            wrong = (wanted ^ found) & valid
        box = bounding_box(wrong)
        if box is None:
            return None
        wrong, wanted = wrong[box], wanted[box]
        taken = np.array([(round(click.row), round(click.column)) for click in clicked], dtype=np.int64).reshape(-1, 2)
        return _deepest(wrong & wanted, wrong & ~wanted, taken, origin=(box[0].start, box[1].start))


def _as_array(value: ArrayLike | Tensor) -> NDArray[Any]:
    """Return an array for an array, a nested list or a tensor on any device."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


@dataclass(frozen=True)
class _Part:
    """A connected part of a region of errors, not measured yet.

    Attributes:
        labels: [h, w], the box of the part; where it holds ``number`` is the part.
        number: of the part.
        corner: (row, column) of the box's first pixel in the image.
        positive: whether the object was missed there.
        limit: squared depth in pixels that no pixel of the part exceeds.
    """

    labels: NDArray[Any]
    number: int
    corner: tuple[int, int]
    positive: bool
    limit: float


def _deepest(
    missed: NDArray[np.bool_], added: NDArray[np.bool_], taken: NDArray[np.int64], *, origin: tuple[int, int]
) -> Click | None:
    """Return the click on the deepest pixel of two regions [h, w] whose corner is at ``origin`` of the image.

    Parts are measured from the largest limit down, until no part left can reach the deepest pixel found.
    """
    parts = [*_parts(missed, origin, positive=True), *_parts(added, origin, positive=False)]
    parts.sort(key=lambda part: -part.limit)
    best: tuple[int, bool, int, int] | None = None
    for part in parts:
        if best is not None and part.limit < best[0]:
            break
        top, left = part.corner
        squares = squared_depth(part.labels == part.number)
        height, width = squares.shape
        rows, columns = taken[:, 0] - top, taken[:, 1] - left
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        squares[rows[inside], columns[inside]] = 0
        row, column = divmod(int(squares.argmax()), width)
        depth = int(squares[row, column])
        candidate = (depth, not part.positive, -(top + row), -(left + column))
        if depth > 0 and (best is None or candidate > best):
            best = candidate
    return None if best is None else Click(-best[2], -best[3], positive=not best[1])


def _parts(region: NDArray[np.bool_], origin: tuple[int, int], *, positive: bool) -> Iterator[_Part]:
    """Yield the connected parts of a region [h, w] whose corner is at ``origin`` of the image.

    The nearest pixel outside a part is never in another part, so each can be measured alone. A region of very many
    parts comes as one.
    """
    box = bounding_box(region)
    if box is None:
        return
    top, left = origin[0] + box[0].start, origin[1] + box[1].start
    labels, count = ndimage.label(region[box], structure=_EIGHT_NEIGHBOURS)
    if count == 1 or count > _MANY_PARTS:
        labels = region[box]
        yield _Part(labels, 1, (top, left), positive, _squared_limit(labels.shape, int(np.count_nonzero(labels))))
        return
    areas = np.bincount(labels.ravel())
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[rows, columns]
        corner = (top + rows.start, left + columns.start)
        yield _Part(part, number, corner, positive, _squared_limit(part.shape, int(areas[number])))


def _squared_limit(shape: tuple[int, ...], area: int) -> float:
    """Return a squared depth that no pixel of a part can exceed, by its box [h, w] and its number of pixels.

    All pixels nearer than its depth belong to the part. So the depth is at most half the shorter side (rounded up), and
    the part covers, but for half a pixel's diagonal, a disk of that radius: a long thin rim need not be measured.
    """
    return min((min(shape) + 1) // 2, math.sqrt(area / math.pi) + 0.7072) ** 2
