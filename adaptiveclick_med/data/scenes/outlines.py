"""Outlines of objects: a patch of the image with, at each pixel, how deep inside the outline it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adaptiveclick_med.data.scenes.fields import Field, Mask, smooth

__all__ = ["Box", "Numbers", "Patch", "blob", "glyph", "lines", "polygon", "share"]

Box = tuple[slice, slice]
Numbers = Sequence[float] | NDArray[np.float64]
_ANGLES = 1024
_FAR = np.float32(9)


class Patch(NamedTuple):
    """A part of an image, and the depth of its pixels inside an outline.

    Attributes:
        box: rows and columns.
        level: [h, w], about the distance to the outline in pixels, above 0 inside.
    """

    box: Box
    level: Field

    @property
    def mask(self) -> Mask:
        """Where the outline's inside is."""
        return self.level > 0

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.level.shape[0], self.level.shape[1]


def share(level: Field, softness: float = 1.0) -> Field:
    """Return how much of each pixel lies inside; the rim is ``softness`` pixels wide."""
    return np.clip(level / np.float32(softness) + np.float32(0.5), 0, 1)


def _box(size: Sequence[int], centre: Numbers, extent: float) -> Box:
    """Return the part of an image within ``extent`` pixels of ``centre``, at least one pixel."""
    sides = []
    for middle, length in zip(centre, size, strict=True):
        low = int(np.clip(np.floor(middle - extent), 0, length - 1))
        sides.append(slice(low, int(np.clip(np.ceil(middle + extent) + 1, low + 1, length))))
    return sides[0], sides[1]


def blob(
    random: np.random.Generator,
    size: Sequence[int],
    centre: Numbers,
    radii: Numbers,
    *,
    angle: float | None = None,
    irregularity: float = 0.1,
    roughness: float = 0.0,
) -> Patch:
    """Return a smooth irregular outline, near an ellipse.

    Args:
        random: where the outline comes from.
        size: (H, W) of the image.
        centre: (row, column).
        radii: of the ellipse in pixels, along its own rows and columns.
        angle: by which the ellipse is turned, in radians; by default random.
        irregularity: size of the waves of the outline, relative to the radius.
        roughness: fine raggedness, relative to the radius.
    """
    angle = random.uniform(0, np.pi) if angle is None else angle
    box = _box(size, centre, max(radii) * (1.1 + 2 * irregularity + 2 * roughness) + 2)
    rows = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(box[1].start, box[1].stop, dtype=np.float32) - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = (cosine * rows + sine * columns) / np.float32(radii[0])
    across = (cosine * columns - sine * rows) / np.float32(radii[1])
    distance = np.sqrt(along * along + across * across)
    limit: Field | float = 1.0
    if irregularity > 0:
        places = ((np.arctan2(along, across) + np.float32(np.pi)) * np.float32(_ANGLES / (2 * np.pi))).astype(np.int32)
        limit = _waves(random, irregularity)[places % _ANGLES]
    level = (limit - distance) * np.float32(min(radii))
    if roughness > 0:
        shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
        ragged = smooth(random, shape, max(3.0, 0.25 * min(radii))) + smooth(random, shape, max(3.0, 0.1 * min(radii)))
        level += np.float32(0.7 * roughness * min(radii)) * ragged
    return Patch(box, level.astype(np.float32))


def _waves(random: np.random.Generator, irregularity: float) -> Field:
    """Return the radius by angle, [angles], about 1."""
    heights = (1.6 * irregularity) * random.standard_normal(_CURVES.shape[1], dtype=np.float32)
    waves: Field = 1 + _CURVES @ heights
    return np.clip(waves, 0.35, 1.1 + 2 * irregularity)


def _curves() -> Field:
    """Return waves around the circle, [angles, waves]: the higher their order, the lower they are."""
    orders = np.arange(2, 9)
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)[:, None]
    both = np.concatenate([np.cos(angles * orders) / orders, np.sin(angles * orders) / orders], axis=1)
    return (both / np.sqrt(2)).astype(np.float32)


_CURVES = _curves()


def _drawn(box: Box, picture: Image.Image) -> Patch:
    """Return a patch of a picture that was drawn at twice the size, 255 inside."""
    double = np.asarray(picture, dtype=np.float32)
    half = double[::2, ::2] + double[1::2, ::2] + double[::2, 1::2] + double[1::2, 1::2]
    level = half * np.float32(1 / 1020) - np.float32(0.49)
    level[half == 0] = -_FAR
    level[half == 1020] = _FAR
    return Patch(box, level)


def _canvas(box: Box) -> Image.Image:
    return Image.new("L", (2 * (box[1].stop - box[1].start), 2 * (box[0].stop - box[0].start)))


def polygon(size: Sequence[int], corners: NDArray[np.float64]) -> Patch:
    """Return the inside of a polygon.

    Args:
        size: (H, W) of the image.
        corners: [N, 2] (row, column).
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    box = _box(size, (low + high) / 2, float((high - low).max()) / 2 + 2)
    picture = _canvas(box)
    places = 2 * (corners[:, ::-1] - [box[1].start, box[0].start]) + 0.5
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in places], fill=255)
    return _drawn(box, picture)


def lines(size: Sequence[int], paths: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Patch:
    """Return the inside of winding tubes.

    Args:
        size: (H, W) of the image.
        paths: for each tube its points [N, 2] (row, column), and its width at each point, [N], in pixels.
    """
    box = (slice(0, int(size[0])), slice(0, int(size[1])))
    picture = _canvas(box)
    draw = ImageDraw.Draw(picture)
    for points, widths in paths:
        places = (2 * points[:, ::-1] + 0.5).tolist()
        for (x0, y0), (x1, y1), width in zip(places, places[1:], widths.tolist(), strict=False):
            draw.line([x0, y0, x1, y1], fill=255, width=max(3, round(2 * width)))
            if width > 1.2:
                draw.ellipse([x1 - width, y1 - width, x1 + width, y1 + width], fill=255)
    return _drawn(box, picture)


def glyph(random: np.random.Generator, size: Sequence[int], centre: Numbers, height: float) -> Patch:
    """Return a letter or a digit of about ``height`` pixels."""
    box = _box(size, centre, 0.6 * height)
    picture = _canvas(box)
    letter = str(random.choice(list("ABCDEFGHJKLMNPRSTUVXYZ2345679&")))
    font = ImageFont.load_default(size=2.2 * height)
    middle = (2 * (centre[1] - box[1].start), 2 * (centre[0] - box[0].start))
    ImageDraw.Draw(picture).text(middle, letter, fill=255, font=font, anchor="mm", stroke_width=int(height / 20))
    return _drawn(box, picture)
