"""Shapes: things that hide each other, each of its own texture and colour (a dead leaves model)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.scenes.canvas import Canvas, Scene, developed, stretched
from adaptiveclick_med.data.scenes.fields import TEXTURES, Field, blur, smooth, texture
from adaptiveclick_med.data.scenes.outlines import Patch, blob, glyph, polygon, share

__all__ = ["paint"]

_FORMS = ("blob", "blob", "rough", "ellipse", "polygon", "star", "bar", "ring", "glyph", "leaf")


def paint(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint one scene.

    Args:
        random: owned by the scene.
        size: (H, W).
    """
    channels = 3 if random.random() < 0.6 else 1
    canvas = Canvas(size, layers=2, channels=channels)
    ground = _Skin(random, channels)
    canvas.image[:] = ground.draw(canvas.size)
    side = min(canvas.size)
    shadow = random.uniform(0.2, 0.7) if random.random() < 0.4 else 0.0
    alike = random.random() < 0.15
    smallest = np.exp(random.uniform(np.log(7 / side), np.log(0.2)))
    count = int(random.integers(4, 26))
    radii = side * smallest * (random.uniform(0.02, 1, count) ** -random.uniform(0.35, 0.7))
    for radius in np.sort(np.clip(radii, 4, 0.36 * side))[::-1]:
        patch = _outline(random, canvas.size, float(radius))
        skin = ground.twin(random) if alike or random.random() < 0.15 else _Skin(random, channels)
        if shadow and random.random() < 0.7:
            _cast(canvas, patch, shadow, random)
        canvas.paint(0, patch, skin.draw(patch.size), softness=1.0 if random.random() < 0.8 else random.uniform(1, 5))
        if radius > 0.12 * side and random.random() < 0.5:
            _detail(canvas, patch, skin, random)
    if random.random() < 0.3:
        light = np.tanh(smooth(random, canvas.size, side / 2))
        canvas.image *= 1 + np.float32(random.uniform(0.1, 0.4)) * light
    image = developed(
        random,
        canvas.image,
        focus=random.choice([0.0, 0.6, random.uniform(0.6, 1.6)]),
        noise=random.choice([0.0, 0.02, random.uniform(0.02, 0.08)]),
        uneven=0.0,
        correlation=random.uniform(0, 0.8),
    )
    return canvas.scene(stretched(random, image))


class _Skin:
    """The colour and the texture of a thing.

    Args:
        random: where it comes from, kept for drawing.
        channels: 1 or 3.
    """

    def __init__(self, random: np.random.Generator, channels: int) -> None:
        self.random = random
        self.name = str(random.choice(TEXTURES))
        self.colour: Field = random.uniform(0.08, 0.92, (channels, 1, 1)).astype(np.float32)
        if channels == 3 and random.random() < 0.5:
            self.colour += np.float32(0.7) * (self.colour.mean() - self.colour)
        strength = random.uniform(0.02, 0.25)
        spread = 0.4 * random.standard_normal((channels, 1, 1)) if channels == 3 else 0.0
        self.direction: Field = np.asarray(strength * (1 + spread), dtype=np.float32)

    def twin(self, random: np.random.Generator) -> _Skin:
        """Return a skin of the same mean colour and another texture."""
        other = _Skin(random, len(self.colour))
        other.colour = self.colour
        other.name = str(random.choice([name for name in TEXTURES if name not in (self.name, "flat", "gradient")]))
        other.direction = np.asarray(
            np.maximum(np.abs(self.direction), 0.08) * random.uniform(0.8, 1.6), dtype=np.float32
        )
        return other

    def draw(self, size: Sequence[int]) -> Field:
        """Return [C, h, w]."""
        return self.colour + self.direction * texture(self.random, size, self.name)


def _outline(random: np.random.Generator, size: Sequence[int], radius: float) -> Patch:
    """Return a random form of about ``radius`` pixels at a random place."""
    form = str(random.choice(_FORMS))
    centre = random.uniform(-0.02, 1.02, 2) * np.array(size)
    if form == "glyph" and radius > 10:
        return glyph(random, size, centre, 2 * radius)
    if form in ("polygon", "star", "bar", "leaf"):
        return polygon(size, _corners(random, form, centre, radius))
    ratio = random.uniform(0.45, 1.0)
    irregularity = {"ellipse": 0.0, "blob": random.uniform(0.05, 0.35), "rough": 0.15}.get(form, 0.05)
    roughness = random.uniform(0.03, 0.12) if form == "rough" else 0.0
    patch = blob(random, size, centre, (radius, ratio * radius), irregularity=irregularity, roughness=roughness)
    if form == "ring" and ratio * radius > 9:
        width = max(3.5, random.uniform(0.25, 0.5) * ratio * radius)
        return Patch(patch.box, np.minimum(patch.level, np.float32(width) - patch.level))
    return patch


def _corners(random: np.random.Generator, form: str, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the corners [N, 2] of a form."""
    turn = random.uniform(0, 2 * np.pi)
    if form == "bar":
        half = np.array([radius, max(2.5, radius * random.uniform(0.08, 0.5))])
        points = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half
    elif form == "leaf":
        along = np.linspace(-1, 1, 24)
        width = random.uniform(0.2, 0.5) * (1 - along**2)
        points = radius * np.concatenate([np.stack([along, width], 1), np.stack([along, -width], 1)[::-1]])
        points[:, 1] += random.uniform(-0.4, 0.4) * radius * np.concatenate([along, along[::-1]]) ** 2
    else:
        count = int(random.integers(3, 9))
        angles = 2 * np.pi * (np.arange(count) + random.uniform(-0.3, 0.3, count)) / count
        reach = np.ones(count) * random.uniform(0.7, 1.0, count)
        if form == "star":
            angles = 2 * np.pi * np.arange(2 * count) / (2 * count)
            reach = np.where(np.arange(2 * count) % 2, random.uniform(0.35, 0.7), 1.0)
        points = radius * reach[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation + centre


def _cast(canvas: Canvas, patch: Patch, strength: float, random: np.random.Generator) -> None:
    """Darken the right and lower side of what a thing will cover."""
    shade = blur(share(patch.level), 2.0)
    shift = int(random.integers(1, 4))
    moved = np.zeros_like(shade)
    moved[shift:, shift:] = shade[:-shift, :-shift]
    canvas.image[:, patch.box[0], patch.box[1]] *= 1 - np.float32(strength) * moved


def _detail(canvas: Canvas, patch: Patch, skin: _Skin, random: np.random.Generator) -> None:
    """Paint a part inside a thing, an object of its own."""
    inside = np.argwhere(patch.level > 0.35 * patch.level.max())
    if not len(inside):
        return
    place = inside[random.integers(len(inside))]
    radius = max(4.0, random.uniform(0.1, 0.3) * min(patch.size))
    part = blob(random, patch.size, place, (radius, radius * random.uniform(0.5, 1)), irregularity=0.15)
    level = np.minimum(part.level, patch.level[part.box])
    first = [patch.box[axis].start + part.box[axis].start for axis in (0, 1)]
    box = (slice(first[0], first[0] + level.shape[0]), slice(first[1], first[1] + level.shape[1]))
    other = skin.twin(random) if random.random() < 0.3 else _Skin(random, len(canvas.image))
    canvas.paint(1, Patch(box, level), other.draw(level.shape))
