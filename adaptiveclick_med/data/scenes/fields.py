"""Random fields: smooth noise, grain and textures, all of mean about 0 and standard deviation about 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["TEXTURES", "Field", "Mask", "blur", "fractal", "grain", "ridges", "smooth", "stripes", "texture"]

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

TEXTURES = ("flat", "grain", "fractal", "stripes", "checks", "gradient", "spots", "ridges", "streaks")
"""Names of :func:`texture`."""


def smooth(random: np.random.Generator, size: Sequence[int], scale: float | Sequence[float]) -> Field:
    """Return smooth noise [H, W].

    Args:
        random: where the noise comes from.
        size: (H, W).
        scale: pixels between neighbouring knots, of both axes or of (rows, columns). Cheap where it is 3 or more.
    """
    down, across = (scale, scale) if isinstance(scale, int | float) else scale
    rows, columns = _basis(int(size[0]), round(float(down), 1)), _basis(int(size[1]), round(float(across), 1))
    knots = random.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return rows @ knots @ columns.T


@lru_cache(maxsize=64)
def _basis(length: int, scale: float) -> Field:
    """Return how much each knot counts at each place, [length, knots]; the squares of a place sum to 1."""
    count = max(2, int(np.ceil(length / scale)) + 2)
    places = np.arange(length, dtype=np.float32)[:, None] / np.float32(scale) + np.float32(0.5)
    basis = np.exp(-0.5 * ((places - np.arange(count, dtype=np.float32)) / np.float32(0.6)) ** 2)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis.astype(np.float32)


def fractal(
    random: np.random.Generator, size: Sequence[int], scale: float, octaves: int = 3, gain: float = 0.6
) -> Field:
    """Return the sum of smooth noise of ``scale``, half of it and so on; each octave counts ``gain`` times the last."""
    total = smooth(random, size, scale)
    weight, square = 1.0, 1.0
    for octave in range(1, octaves):
        finer = scale / 2**octave
        if finer < 2:
            break
        weight *= gain
        square += weight**2
        total += np.float32(weight) * smooth(random, size, finer)
    return total * np.float32(square**-0.5)


def grain(random: np.random.Generator, size: Sequence[int], sigma: float = 0.0) -> Field:
    """Return normal noise [H, W], correlated by a Gaussian of ``sigma`` pixels."""
    noise = random.standard_normal(tuple(size), dtype=np.float32)
    if sigma < 0.2:
        return noise
    noise = blur(noise, sigma)
    return noise / np.float32(noise.std() + 1e-6)


def blur(field: Field, sigma: float) -> Field:
    """Return a field [..., H, W] after a Gaussian of ``sigma`` pixels."""
    if sigma < 0.2:
        return field
    sigmas = (0.0,) * (field.ndim - 2) + (sigma, sigma)
    blurred: Field = gaussian_filter(field, sigmas, mode="nearest", truncate=2.5)
    return blurred


def ridges(random: np.random.Generator, size: Sequence[int], scale: float, width: float = 0.2) -> Field:
    """Return thin winding lines, 1 on them and 0 elsewhere; ``width`` is relative to ``scale``."""
    lines = np.clip(1 - np.abs(smooth(random, size, scale)) / np.float32(width), 0, 1)
    return lines.astype(np.float32)


def stripes(
    random: np.random.Generator, size: Sequence[int], period: float, angle: float, waviness: float = 0.5
) -> Field:
    """Return waves of ``period`` pixels; ``angle`` in radians, ``waviness`` in radians of phase."""
    phase = np.float32(2 * np.pi / period)
    rows = np.arange(size[0], dtype=np.float32)[:, None] * (np.float32(np.sin(angle)) * phase)
    columns = np.arange(size[1], dtype=np.float32) * (np.float32(np.cos(angle)) * phase)
    bent = rows + columns + np.float32(random.uniform(0, 6.28))
    if waviness > 0:
        bent += np.float32(waviness) * smooth(random, size, max(4 * period, 12))
    return np.sin(bent) * np.float32(1.4)


def texture(random: np.random.Generator, size: Sequence[int], name: str | None = None) -> Field:
    """Return a random texture [H, W].

    Args:
        random: where the texture comes from.
        size: (H, W).
        name: one of :data:`TEXTURES`; by default a random one.
    """
    name = str(random.choice(TEXTURES)) if name is None else name
    scale = float(np.exp(random.uniform(np.log(3), np.log(max(6.0, min(size) / 3)))))
    angle = random.uniform(0, np.pi)
    if name == "flat":
        return np.zeros(tuple(size), dtype=np.float32)
    if name == "grain":
        return grain(random, size, random.uniform(0, 1.5))
    if name == "stripes":
        return stripes(random, size, random.uniform(3, 24), angle, random.uniform(0, 2))
    if name == "checks":
        period = random.uniform(5, 20)
        both = stripes(random, size, period, angle, 0.3) * stripes(random, size, period, angle + np.pi / 2, 0.3)
        return both
    if name == "gradient":
        across = np.linspace(-1.7, 1.7, size[1], dtype=np.float32) * np.float32(np.cos(angle))
        down = np.linspace(-1.7, 1.7, size[0], dtype=np.float32)[:, None] * np.float32(np.sin(angle))
        return down + across
    if name == "spots":
        return np.tanh(4 * (smooth(random, size, min(scale, 14)) - np.float32(random.uniform(-1, 1))))
    if name == "ridges":
        return 3 * ridges(random, size, max(scale, 6), random.uniform(0.15, 0.4)) - np.float32(0.7)
    if name == "streaks":
        long = scale * random.uniform(3, 8)
        return smooth(random, size, (scale / 1.5, long) if angle < np.pi / 2 else (long, scale / 1.5))
    return fractal(random, size, scale, int(random.integers(2, 5)), random.uniform(0.4, 0.9))
