"""Cells: crowded cells under a light microscope, and sections under an electron microscope."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from adaptiveclick_med.data.scenes.canvas import Canvas, Scene, developed, stretched
from adaptiveclick_med.data.scenes.fields import Field, blur, fractal, grain, smooth, stripes
from adaptiveclick_med.data.scenes.outlines import Patch, blob, share

__all__ = ["paint"]


def paint(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint one scene.

    Args:
        random: owned by the scene.
        size: (H, W).
    """
    return _section(random, size) if random.random() < 0.35 else _culture(random, size)


def _culture(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint cells under a light microscope: how much dye they take up, and then how the dye looks."""
    canvas = Canvas(size, layers=2)
    side = min(canvas.size)
    radius = float(np.exp(random.uniform(np.log(6), np.log(0.13 * side))))
    with_nuclei = radius > 11 and random.random() < 0.6
    membrane = random.choice([0.0, random.uniform(-0.4, 0.5)])
    canvas.image += np.float32(random.uniform(0, 0.08)) * fractal(random, canvas.size, 0.15 * side, 3)
    tone = random.uniform(0.2, 0.5) if with_nuclei else random.uniform(0.3, 0.9)
    spread, grit = random.uniform(0.05, 0.25), random.uniform(0, 0.2)
    field = grain(random, canvas.size, random.uniform(0.6, 1.6)) * np.float32(grit)
    field += np.float32(random.uniform(0, 0.15)) * smooth(random, canvas.size, max(4.0, radius / 2))
    irregular = random.uniform(0.02, 0.2)
    for centre in _centres(random, canvas.size, radius):
        radii = radius * random.uniform(0.7, 1.25) * np.array([1.0, random.uniform(0.6, 1.0)])
        cell = blob(random, canvas.size, centre, radii, irregularity=irregular)
        # a neighbour gives way: the border lies between the two
        taken = canvas.label[0][cell.box] > 0
        free = np.where(taken, np.minimum(cell.level, -0.5), cell.level) if random.random() < 0.85 else cell.level
        own = tone * (1 + spread * random.standard_normal())
        values = own * (1 + field[cell.box])
        if membrane:
            values = values + np.float32(membrane * own) * np.exp(-((cell.level / 1.5 - 0.8) ** 2))
        canvas.blend(cell.box, share(free), values.astype(np.float32))
        number = canvas.mark(0, cell.box, free > 0)
        if with_nuclei:
            _nucleus(canvas, centre, radii, number, own + random.uniform(0.2, 0.5), field, random)
    canvas.image = blur(canvas.image, random.choice([0.5, random.uniform(0.5, 1.8)]))
    image = _photons(random, _dyed(random, canvas.image))
    uneven = random.uniform(0, 0.35)
    noise = random.uniform(0, 0.03)
    return canvas.scene(stretched(random, developed(random, image, focus=0, noise=noise, uneven=uneven)))


def _centres(random: np.random.Generator, size: Sequence[int], radius: float) -> NDArray[np.float64]:
    """Return the centres [N, 2] of cells on a shaken grid, with gaps."""
    pitch = radius * random.uniform(1.5, 2.6)
    rows, columns = np.meshgrid(*(np.arange(-0.3, length / pitch + 0.3) for length in size), indexing="ij")
    columns = columns + 0.5 * (np.arange(len(rows)) % 2)[:, None]
    places = pitch * (np.stack([rows, columns], axis=-1).reshape(-1, 2))
    places += pitch * random.uniform(0.1, 0.45) * random.standard_normal(places.shape)
    gaps = smooth(random, size, 0.25 * min(size)) > np.float32(random.uniform(-0.9, 1.0))
    inside = np.clip(places.astype(int), 0, np.array(size) - 1)
    kept = places[~gaps[inside[:, 0], inside[:, 1]]] if random.random() < 0.7 else places
    kept = kept if len(kept) else places
    random.shuffle(kept)
    return kept[:90]


def _nucleus(
    canvas: Canvas,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    number: int,
    tone: float,
    field: Field,
    random: np.random.Generator,
) -> None:
    """Paint the nucleus of a cell, inside it."""
    place = centre + random.uniform(-0.2, 0.2, 2) * radii.min()
    nucleus = blob(random, canvas.size, place, radii * random.uniform(0.35, 0.6), irregularity=0.06)
    level = np.where(canvas.label[0][nucleus.box] == number, nucleus.level, -1)
    canvas.blend(nucleus.box, share(level), (tone * (1 + field[nucleus.box])).astype(np.float32))
    canvas.mark(1, nucleus.box, level > 0)


def _dyed(random: np.random.Generator, density: Field) -> Field:
    """Return how dye of a density [1, H, W] looks: glowing, shading, or in colour."""
    look = random.random()
    if look < 0.35:
        return density
    if look < 0.6:
        return 1 - np.float32(random.uniform(0.3, 0.8)) * density
    dye = random.uniform(0.1, 1.6, (3, 1, 1)).astype(np.float32)
    if look < 0.72:
        return density * dye
    second = random.uniform(0.0, 0.5, (3, 1, 1)).astype(np.float32)
    tissue = np.float32(0.6) + np.float32(0.25) * fractal(random, density.shape[-2:], 30, 3)
    return np.exp(-dye * density - second * np.maximum(tissue, 0))


def _photons(random: np.random.Generator, image: Field) -> Field:
    """Return an image in which single photons count, now and then."""
    if random.random() < 0.5:
        return image
    count = np.float32(np.exp(random.uniform(np.log(25), np.log(400))))
    level = np.maximum(image, 0.02)
    return image + np.sqrt(level / count) * random.standard_normal(image.shape, dtype=np.float32)


def _section(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint a section of tissue under an electron microscope: cells, dark membranes, mitochondria, vesicles."""
    canvas = Canvas(size, layers=3)
    side = min(canvas.size)
    gap, owner = _partition(random, canvas.size, int(random.integers(5, 26)))
    wall = np.float32(random.uniform(1.2, 2.6))
    tones = random.uniform(0.55, 0.85) + random.choice([0.03, 0.1]) * random.standard_normal(owner.max() + 1)
    fluid = tones[owner].astype(np.float32)
    fluid += np.float32(random.uniform(0.02, 0.07)) * grain(random, canvas.size, random.uniform(0.8, 1.8))
    fluid += np.float32(0.04) * fractal(random, canvas.size, 20, 3)
    canvas.image[0] = fluid
    whole = (slice(0, canvas.size[0]), slice(0, canvas.size[1]))
    for number in range(owner.max() + 1):
        canvas.mark(0, whole, (owner == number) & (gap > wall))
    for _ in range(int(random.integers(3, 18))):
        _mitochondrion(canvas, gap - wall - 1, random, side)
    for _ in range(int(random.integers(0, 40))):
        radius = random.uniform(1.5, 3.2)
        spot = blob(random, canvas.size, random.uniform(0, 1, 2) * canvas.size, (radius, radius), irregularity=0)
        rim = np.exp(-((spot.level / 0.9) ** 2)) * (gap[spot.box] > wall + 2) * (canvas.label[1][spot.box] == 0)
        canvas.blend(spot.box, (0.6 * rim).astype(np.float32), 0.2)
    canvas.blend(whole, np.clip(1.3 - gap / wall, 0, 1), random.uniform(0.05, 0.35))
    image = developed(
        random,
        canvas.image,
        focus=random.uniform(0.4, 1.1),
        noise=random.uniform(0.02, 0.08),
        uneven=random.uniform(0, 0.1),
        correlation=random.uniform(0, 0.7),
    )
    return canvas.scene(stretched(random, image))


def _partition(random: np.random.Generator, size: Sequence[int], count: int) -> tuple[Field, NDArray[np.intp]]:
    """Return the distance of each pixel to the border between cells, and its cell, from 0."""
    half = [-(-int(length) // 2) for length in size]
    rows, columns = (np.arange(length, dtype=np.float32) for length in half)
    bend = np.float32(random.uniform(0.01, 0.05) * min(half))
    bent_rows = rows[:, None] + bend * fractal(random, half, min(half) / 4, 3)
    bent_columns = columns + bend * fractal(random, half, min(half) / 4, 3)
    seeds = random.uniform(0, 1, (count, 2)).astype(np.float32) * np.array(half, dtype=np.float32)
    squares = (bent_rows - seeds[:, 0, None, None]) ** 2 + (bent_columns - seeds[:, 1, None, None]) ** 2
    owner, nearest = squares.argmin(axis=0), squares.min(axis=0)
    np.put_along_axis(squares, owner[None], np.inf, axis=0)
    other, second = squares.argmin(axis=0), squares.min(axis=0)
    apart = np.linalg.norm(seeds[:, None] - seeds, axis=-1).astype(np.float32)
    gap = (second - nearest) / np.maximum(apart[owner, other], 1)  # twice the distance, at half the size
    wide = zoom(gap, 2, order=1, mode="nearest", grid_mode=True)[: size[0], : size[1]]
    return wide.astype(np.float32), np.repeat(np.repeat(owner, 2, 0), 2, 1)[: size[0], : size[1]]


def _mitochondrion(canvas: Canvas, room: Field, random: np.random.Generator, side: int) -> None:
    """Paint a mitochondrion with cristae where there is room."""
    tries = (random.uniform(0, 1, (12, 2)) * canvas.size).astype(int)
    free = (room[tuple(tries.T)] > 4) & (canvas.label[1][tuple(tries.T)] == 0)
    if not free.any():
        return
    place = tries[np.argmax(free)]
    cell = canvas.label[0][tuple(place)]
    radius = random.uniform(0.025, 0.07) * side
    radii = (radius * random.uniform(1.0, 2.2), max(radius, 4.0))
    body = blob(random, canvas.size, place, radii, irregularity=0.12)
    level = np.minimum(body.level, room[body.box])
    elsewhere = (canvas.label[1][body.box] > 0) | (canvas.label[0][body.box] != cell)
    level = np.where(elsewhere, -1, level).astype(np.float32)
    tone = random.uniform(0.25, 0.5)
    waves = stripes(random, body.size, random.uniform(3.0, 6.0), random.uniform(0, np.pi), 1.5)
    inside = tone + np.float32(random.uniform(0.03, 0.1)) * waves
    inside -= np.float32(0.2) * np.exp(-((level - 1) ** 2))
    canvas.paint(1, Patch(body.box, level), inside.astype(np.float32))
