"""The canvas that a scene is painted on: an image, the objects in layers, and what a camera makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adaptiveclick_med.data.scenes.fields import Field, Mask, blur, grain, smooth
from adaptiveclick_med.data.scenes.outlines import Box, Patch, share

__all__ = ["MIN_AREA", "Canvas", "Scene", "developed", "stretched", "to_bytes"]

MIN_AREA = 30
"""Smallest object in pixels."""
_LARGEST_SHARE = 0.5
_PART_SHARE = 0.2
_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Scene:
    """One picture with its objects.

    Args:
        image: [C, H, W] uint8, C is 1 or 3.
        label: [L, H, W] int32: object numbers above 0, distinct across layers, 0 background, -1 ignore.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int32]


class Canvas:
    """An image under work.

    Args:
        size: (H, W).
        layers: number of label layers.
        channels: 1 or 3.
    """

    def __init__(self, size: Sequence[int], layers: int = 2, channels: int = 1) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.image: Field = np.zeros((channels, *self.size), dtype=np.float32)
        self.label = np.zeros((layers, *self.size), dtype=np.int32)
        self.count = 0
        self._last = 0

    def blend(self, box: Box, amount: Field, tone: float | Field) -> None:
        """Replace ``amount`` [h, w] in [0, 1] of the image by ``tone``: a number, [h, w], [C, 1, 1] or [C, h, w]."""
        part = self.image[:, box[0], box[1]]
        part += amount * (np.asarray(tone, dtype=np.float32) - part)

    def mark(self, layer: int, box: Box, mask: Mask) -> int:
        """Make ``mask`` [h, w] the next object of a layer and return its number; it hides that and later layers."""
        self.count += 1
        self.label[layer][box][mask] = self.count
        self._last = max(self._last, layer)
        for later in self.label[layer + 1 : self._last + 1]:
            later[box][mask] = 0
        return self.count

    def paint(self, layer: int, patch: Patch, tone: float | Field, softness: float = 1.0) -> int:
        """Blend and mark a patch."""
        self.blend(patch.box, share(patch.level, softness), tone)
        return self.mark(layer, patch.box, patch.mask)

    def scene(self, image: Field) -> Scene:
        """Return the scene of a finished image [C, H, W] in [0, 1].

        An object below ``MIN_AREA`` pixels or above half of the image becomes background. Of an object that others
        cut into parts the smaller parts count nowhere, unless they have a fifth of its largest part.
        """
        for layer in self.label:
            _tidy(layer)
        used = [layer for layer in self.label if (layer > 0).any()] or [self.label[0]]
        return Scene(to_bytes(image), np.stack(used))


def _tidy(layer: NDArray[np.int32]) -> None:
    """Drop the objects of a layer that are too small or too large, and the crumbs of the others."""
    most = _LARGEST_SHARE * layer.size
    for number, box in enumerate(ndimage.find_objects(layer), start=1):
        if box is None:
            continue
        part = layer[box]
        mask = part == number
        area = np.count_nonzero(mask)
        if area > most or area < MIN_AREA:
            part[mask] = 0
            continue
        pieces, count = ndimage.label(mask, _EIGHT)
        if count > 1:
            areas = np.bincount(pieces.ravel())
            areas[0] = 0
            kept = areas >= max(_PART_SHARE * areas.max(), MIN_AREA)
            part[mask] = np.where(kept[pieces[mask]], number, -1) if kept.any() else 0


def to_bytes(image: Field) -> NDArray[np.uint8]:
    """Return an image in [0, 1] as bytes."""
    return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def stretched(random: np.random.Generator, image: Field) -> Field:
    """Return an image [C, H, W] in [0, 1]: its own range fills all of it or, now and then, a part."""
    sample = image[:, ::3, ::3]
    low, high = np.percentile(sample, (0.5, 99.5))
    scaled = (image - np.float32(low)) / np.float32(max(high - low, 1e-3))
    if random.random() < 0.35:
        extent = random.uniform(0.3, 0.9)
        scaled = np.float32(random.uniform(0, 1 - extent)) + np.float32(extent) * np.clip(scaled, -0.05, 1.05)
    if random.random() < 0.3:
        scaled = np.clip(scaled, 0, 1) ** np.float32(np.exp(random.uniform(-0.6, 0.6)))
    return scaled


def developed(
    random: np.random.Generator, image: Field, *, focus: float, noise: float, uneven: float, correlation: float = 0.0
) -> Field:
    """Return an image in [0, 1] as a camera or a scanner shows it.

    Args:
        random: where the noise comes from.
        image: [C, H, W] about in [0, 1].
        focus: standard deviation of the point spread in pixels.
        noise: standard deviation of the noise.
        uneven: standard deviation of the illumination, relative.
        correlation: of the noise, in pixels.
    """
    image = blur(image, focus)
    size = image.shape[-2:]
    if uneven > 0:
        image = image * (1 + np.float32(uneven) * np.tanh(smooth(random, size, max(size) / 1.5)))
    if noise > 0:
        image = image + np.float32(noise) * grain(random, size, correlation)
    return image
