"""Vessels: branching tubes of falling width, rings, plates and clutter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.scenes.canvas import Canvas, Scene, developed, stretched
from adaptiveclick_med.data.scenes.fields import Field, fractal, texture
from adaptiveclick_med.data.scenes.outlines import Patch, blob, lines, share

__all__ = ["paint"]

_Path = tuple[NDArray[np.float64], NDArray[np.float64]]


def paint(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint one scene.

    Args:
        random: owned by the scene.
        size: (H, W).
    """
    channels = 3 if random.random() < 0.35 else 1
    canvas = Canvas(size, layers=5, channels=channels)
    side = min(canvas.size)
    ground = random.uniform(0.25, 0.75, (channels, 1, 1))
    relief = fractal(random, canvas.size, random.uniform(0.1, 0.5) * side, 3)
    canvas.image[:] = ground.astype(np.float32) + np.float32(random.uniform(0.01, 0.12)) * relief
    if random.random() < 0.4:
        canvas.image += np.float32(random.uniform(0.01, 0.06)) * texture(random, canvas.size)
    _clutter(canvas, random)
    sign = random.choice([-1.0, 1.0])
    if random.random() < 0.3:
        _disc(canvas, random, sign)
    for _ in range(int(random.integers(0, 4))):
        _ring(canvas, random)
    for _ in range(int(random.integers(0, 3))):
        _plate(canvas, random)
    trees = int(random.integers(1, 4))
    width = np.exp(random.uniform(np.log(2.0), np.log(0.05 * side)))
    tone = _near(random, ground, sign, 0.12, 0.45)
    for number in range(trees):
        tree = lines(canvas.size, _tree(random, canvas.size, width * random.uniform(0.6, 1.2)))
        own = tone if random.random() < 0.6 else _near(random, ground, sign, 0.1, 0.45)
        _lay(canvas, 2 + number, tree, own, random)
    image = developed(
        random,
        canvas.image,
        focus=random.choice([0.4, random.uniform(0.4, 1.2)]),
        noise=random.uniform(0.0, 0.07),
        uneven=random.choice([0.0, random.uniform(0.05, 0.3)]),
        correlation=random.uniform(0, 1.0),
    )
    return canvas.scene(stretched(random, image))


def _near(random: np.random.Generator, ground: NDArray[np.float64], sign: float, low: float, high: float) -> Field:
    """Return a tone that differs from the ground by ``low`` to ``high``, each colour a little otherwise."""
    step = sign * random.uniform(low, high) * random.uniform(0.6, 1.2, ground.shape)
    return (ground + step).astype(np.float32)


def _tree(random: np.random.Generator, size: Sequence[int], width: float) -> list[_Path]:
    """Return the paths of a tree that starts near the border or anywhere."""
    extent = np.array(size, dtype=np.float64)
    start = random.uniform(0.05, 0.95, 2) * extent
    if random.random() < 0.6:
        axis = int(random.integers(2))
        start[axis] = random.choice([1.0, extent[axis] - 2.0])
    towards = random.uniform(0.3, 0.7, 2) * extent - start
    heading = float(np.arctan2(towards[0], towards[1]))
    bend, fork = random.uniform(0.05, 0.3), random.uniform(0.3, 0.9)
    loss, thinnest = random.uniform(0.6, 0.85), random.uniform(1.3, 1.8)
    step = max(3.0, 0.012 * float(extent.min()))
    paths: list[_Path] = []
    waiting = [(start, heading, width, random.uniform(0.15, 0.5) * float(extent.min()))]
    while waiting and len(paths) < 28:
        place, heading, width, length = waiting.pop(0)
        count = max(4, int(length / step))
        curve = np.cumsum(random.standard_normal(count)) * bend + heading
        smoothed = curve + 0.15 * np.sin(np.arange(count) * random.uniform(0.1, 0.6))
        moves = step * np.stack([np.sin(smoothed), np.cos(smoothed)], axis=1)
        points = np.concatenate([place[None], place + np.cumsum(moves, axis=0)])
        widths = width * np.linspace(1.0, 0.85, count + 1) * (1 + 0.08 * random.standard_normal(count + 1))
        paths.append((points, np.maximum(widths, 1.6)))
        if width * loss < thinnest or (points[-1] < 0).any() or (points[-1] >= extent).any():
            continue
        for side in (-1, 1):
            thinner = width * loss * random.uniform(0.8, 1.15)
            waiting.append((points[-1], smoothed[-1] + side * fork * random.uniform(0.4, 1.2), thinner, 0.8 * length))
        if random.random() < 0.7:
            middle = int(random.integers(1, count))
            turn = random.choice([-1, 1]) * random.uniform(0.5, 1.3)
            waiting.append((points[middle], smoothed[middle - 1] + turn, 0.55 * width, 0.7 * length))
    return paths


def _lay(canvas: Canvas, layer: int, patch: Patch, tone: Field, random: np.random.Generator) -> None:
    """Paint a tree in its own layer; it may shine through where trees cross."""
    amount = share(patch.level) * np.float32(random.uniform(0.6, 1.0))
    if random.random() < 0.3:
        amount = amount * (1 + np.float32(0.15) * np.tanh(fractal(random, canvas.size, 40, 2)))
    canvas.blend(patch.box, amount, tone)
    canvas.mark(layer, patch.box, patch.mask)


def _place(canvas: Canvas, random: np.random.Generator) -> NDArray[np.float64]:
    return random.uniform(0.08, 0.92, 2) * np.array(canvas.size)


def _unlike(canvas: Canvas, patch: Patch, random: np.random.Generator) -> float:
    """Return a tone that differs from what lies under a patch."""
    part = canvas.image[:, patch.box[0], patch.box[1]].mean(axis=0)
    here = float(part[patch.mask].mean()) if patch.mask.any() else 0.5
    tones = random.uniform(0, 1, 8)
    return float(tones[np.argmax(np.abs(tones - here) > 0.12)])


def _ring(canvas: Canvas, random: np.random.Generator) -> None:
    """Paint a cut vessel: a wall, and inside it a hollow that is an object too."""
    side = min(canvas.size)
    radius = float(np.exp(random.uniform(np.log(8), np.log(0.16 * side))))
    patch = blob(random, canvas.size, _place(canvas, random), (radius, radius * random.uniform(0.6, 1)))
    wall = np.float32(max(2.5, random.uniform(0.15, 0.4) * radius))
    canvas.paint(0, patch, _unlike(canvas, patch, random))
    hollow = patch._replace(level=patch.level - wall)
    texture_in = np.float32(random.uniform(0, 0.08)) * texture(random, patch.size)
    canvas.paint(1, hollow, np.float32(_unlike(canvas, patch, random)) + texture_in, softness=random.uniform(1, 2.5))


def _plate(canvas: Canvas, random: np.random.Generator) -> None:
    """Paint a long bent band."""
    side = min(canvas.size)
    count = 24
    angle, bend = random.uniform(0, 2 * np.pi), random.uniform(-1.6, 1.6)
    headings = angle + bend * np.linspace(-0.5, 0.5, count)
    length = random.uniform(0.25, 0.9) * side
    steps = length / count * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    points = np.cumsum(steps, axis=0)
    points += _place(canvas, random) - points.mean(axis=0)
    width = np.exp(random.uniform(np.log(2.5), np.log(0.08 * side)))
    widths = width * (1 + 0.3 * np.sin(np.linspace(0, random.uniform(2, 9), count)))
    patch = lines(canvas.size, [(points, widths)])
    canvas.paint(0, patch, _unlike(canvas, patch, random))


def _disc(canvas: Canvas, random: np.random.Generator, sign: float) -> None:
    """Paint a disc where vessels may meet, with a smaller one inside."""
    radius = random.uniform(0.06, 0.15) * min(canvas.size)
    place = _place(canvas, random)
    patch = blob(random, canvas.size, place, (radius, radius * random.uniform(0.8, 1)), irregularity=0.04)
    local = float(canvas.image[:, patch.box[0], patch.box[1]].mean())
    step = -sign * random.uniform(0.15, 0.4)
    canvas.paint(0, patch, float(np.clip(local + step, 0.12, 0.88)), softness=random.uniform(1, 4))
    inner = patch._replace(level=patch.level - np.float32(radius * random.uniform(0.35, 0.6)))
    canvas.paint(1, inner, float(np.clip(local + 2 * step, 0, 1)), softness=random.uniform(2, 5))


def _clutter(canvas: Canvas, random: np.random.Generator) -> None:
    """Paint blurred spots that are no objects."""
    for _ in range(int(random.integers(0, 10))):
        radius = random.uniform(2, 14)
        patch = blob(random, canvas.size, _place(canvas, random), (radius, radius * random.uniform(0.3, 1)))
        amount = share(patch.level, max(2.0, radius / 1.5)) * np.float32(random.uniform(0.1, 0.5))
        canvas.blend(patch.box, amount, random.uniform(0, 1))
