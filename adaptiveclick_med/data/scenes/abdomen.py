"""Abdomen: slices through a trunk as computed tomography shows them, in Hounsfield units until they are windowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.scenes.canvas import Canvas, Scene, developed
from adaptiveclick_med.data.scenes.fields import Field, fractal, grain, ridges, smooth
from adaptiveclick_med.data.scenes.outlines import Patch, blob, share

__all__ = ["paint"]

_AIR, _FAT, _MUSCLE, _LUNG = -1000.0, -100.0, 55.0, -820.0


def paint(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint one scene.

    Args:
        random: owned by the scene.
        size: (H, W).
    """
    trunk = _Trunk(random, size)
    chest = random.random() < 0.25
    if chest:
        trunk.add_lungs()
    trunk.add_spine()
    for _ in range(int(random.integers(2, 5) if chest else random.integers(4, 9))):
        trunk.add_organ()
    if not chest and random.random() < 0.7:
        trunk.add_kidneys()
    for _ in range(0 if chest else int(random.integers(0, 7))):
        trunk.add_bowel()
    trunk.add_ribs()
    for _ in range(int(random.integers(0, 7))):
        trunk.add_lesion()
    level, width = _window(random, trunk.tone, chest)
    if level - width / 2 > _FAT - 20:  # fat is as black as air: nobody sees where the body ends
        trunk.canvas.label[0] = 0
    return trunk.canvas.scene(_scanned(random, trunk.canvas, level, width))


class _Trunk:
    """A body with fat, muscles and a cavity, to be filled with organs.

    Args:
        random: owned by the scene.
        size: (H, W).
    """

    def __init__(self, random: np.random.Generator, size: Sequence[int]) -> None:
        self.random = random
        self.canvas = Canvas(size, layers=3)
        self.side = min(self.canvas.size)
        self.centre = np.array(self.canvas.size) * random.uniform(0.46, 0.54, 2)
        self.radii = np.array(self.canvas.size) * [random.uniform(0.27, 0.42), random.uniform(0.36, 0.47)]
        self.canvas.image[:] = _AIR
        self.tone = random.uniform(30, 130)
        self.contrast = random.uniform(12, 60)
        body = blob(random, size, self.centre, self.radii, angle=random.uniform(-0.1, 0.1), irregularity=0.025)
        wave = smooth(random, body.size, self.side / 4)
        fat = self.side * random.uniform(0.015, 0.09) * (1 + np.float32(0.3) * wave)
        muscle = fat + np.float32(self.side * random.uniform(0.025, 0.06)) * (1 + np.float32(0.3) * np.roll(wave, 40))
        speckle = np.float32(8) * grain(random, body.size, 1.0)
        fibres = _MUSCLE - np.float32(random.uniform(20, 90)) * ridges(random, body.size, self.side / 18, 0.25)
        strands = _FAT + np.float32(random.uniform(10, 60)) * ridges(random, body.size, self.side / 20, 0.2) + speckle
        self.canvas.paint(0, body, 20.0)
        self.canvas.blend(body.box, share(body.level - np.float32(1.5)), _FAT + speckle)
        self.canvas.blend(body.box, share(body.level - fat, 1.5), fibres)
        self.canvas.blend(body.box, share(body.level - muscle, 1.5), strands)
        self.room = np.full(self.canvas.size, -9, dtype=np.float32)
        self.room[body.box] = body.level - muscle
        self.wall = float(muscle.mean())
        self.organs: list[int] = []

    def _place(self, reach: float = 0.9) -> NDArray[np.float64]:
        """Return a random place in the cavity, (row, column)."""
        angle, distance = self.random.uniform(0, 2 * np.pi), reach * np.sqrt(self.random.uniform(0, 1))
        inner = self.radii - self.wall
        return self.centre + distance * inner * [np.sin(angle), np.cos(angle)]

    def _organ(self, patch: Patch, tone: float | Field, softness: float = 1.0, margin: float = 0.0) -> int:
        """Paint a patch as far as the cavity goes, with a thin margin of fat, and return its number."""
        inside = Patch(patch.box, np.minimum(patch.level, self.room[patch.box]))
        if margin > 0:
            self.canvas.blend(patch.box, share(inside.level + np.float32(margin)), _FAT)
        number = self.canvas.paint(1, inside, tone, softness)
        self.organs.append(number)
        return number

    def _tissue(self, size: Sequence[int], tone: float) -> Field:
        """Return the tone of an organ with its texture and vessels, [h, w]."""
        random = self.random
        field = tone + np.float32(random.uniform(1, 8)) * fractal(random, size, self.side / 12, 3)
        if random.random() < 0.6:
            depth = random.choice([-1, 1, 1]) * random.uniform(15, 70)
            field += np.float32(depth) * ridges(random, size, self.side / random.uniform(6, 14), 0.12)
        return field

    def add_organ(self) -> None:
        """Paint an organ of low contrast over what is there."""
        random = self.random
        large = self.side * float(np.exp(random.uniform(np.log(0.05), np.log(0.24))))
        radii = (large, large * random.uniform(0.4, 1.0))
        roughness = random.choice([0.0, 0.0, 0.05])
        patch = blob(random, self.canvas.size, self._place(), radii, irregularity=0.2, roughness=roughness)
        tone = self.tone + self.contrast * random.standard_normal()
        self._organ(patch, self._tissue(patch.size, tone), random.uniform(1, 2.5), random.choice([0, 1, 2.5]))

    def add_kidneys(self) -> None:
        """Paint two kidneys: cortex, and a medulla or a sinus inside, an object of its own."""
        random = self.random
        radius = self.side * random.uniform(0.06, 0.1)
        tone, depth = self.tone + random.uniform(-20, 80), random.choice([-1, 1]) * random.uniform(25, 120)
        for sign in (-1, 1):
            place = self.centre + self.radii * [random.uniform(0.1, 0.35), sign * random.uniform(0.4, 0.55)]
            patch = blob(random, self.canvas.size, place, (radius * 1.3, radius), angle=0.3 * sign, irregularity=0.07)
            number = self._organ(patch, self._tissue(patch.size, tone), 1.5, 2.0)
            near = place - [0, sign * 0.3 * radius]
            self._inside(number, blob(random, self.canvas.size, near, (0.6 * radius, 0.4 * radius)), tone + depth, 2.0)

    def add_bowel(self) -> None:
        """Paint a loop of bowel: a wall, contents, and at times air above a flat level."""
        random = self.random
        radius = self.side * random.uniform(0.03, 0.08)
        place = self._place(0.85)
        radii = (radius, radius * random.uniform(0.6, 1.4))
        patch = blob(random, self.canvas.size, place, radii, irregularity=0.12)
        number = self._organ(patch, random.uniform(20, 110), 1.2, 1.5)
        lumen = patch._replace(level=patch.level - np.float32(random.uniform(1.5, 4)))
        self.canvas.blend(
            patch.box,
            share(np.minimum(lumen.level, self.room[patch.box])),
            random.uniform(-20, 60) + np.float32(25) * fractal(random, patch.size, 5, 2),
        )
        if random.random() < 0.55:
            height = place[0] + random.uniform(-0.3, 0.8) * radius
            above = np.float32(height - patch.box[0].start) - np.arange(patch.size[0], dtype=np.float32)[:, None]
            self._inside(number, patch._replace(level=np.minimum(lumen.level, above)), -950.0, 1.0)

    def add_lungs(self) -> None:
        """Paint two lungs full of vessels."""
        random = self.random
        for sign in (-1, 1):
            place = self.centre + self.radii * [random.uniform(-0.1, 0.1), sign * random.uniform(0.4, 0.5)]
            radii = self.radii * [random.uniform(0.5, 0.7), random.uniform(0.28, 0.38)]
            patch = blob(random, self.canvas.size, place, radii, angle=0.0, irregularity=0.08)
            field = _LUNG + np.float32(30) * grain(random, patch.size, 1.0)
            for scale in (14, 30):
                field += np.float32(random.uniform(300, 700)) * ridges(random, patch.size, self.side / scale, 0.2)
            self._organ(patch, field.astype(np.float32))

    def add_spine(self) -> None:
        """Paint a vertebra with a bright rim, its canal, and a large vessel in front of it."""
        random = self.random
        radius = self.side * random.uniform(0.06, 0.09)
        place = self.centre + self.radii * [random.uniform(0.42, 0.55), random.uniform(-0.05, 0.05)]
        arch = blob(
            random, self.canvas.size, place + np.array([1.5 * radius, 0]), (1.1 * radius, 1.2 * radius), angle=0.0
        )
        self._bone(arch, 1)
        body = blob(random, self.canvas.size, place, (0.85 * radius, radius), angle=0.0, irregularity=0.05)
        self._bone(body, 1)
        canal = blob(
            random, self.canvas.size, place + np.array([1.3 * radius, 0]), (0.4 * radius, 0.5 * radius), angle=0.0
        )
        self.canvas.paint(1, canal, 30.0, 1.5)
        for sign in (-1, 1):
            if random.random() < 0.8:
                size = self.side * random.uniform(0.03, 0.05)
                vessel = blob(
                    random, self.canvas.size, place + np.array([-1.7 * radius, sign * radius]), (size, size * 0.85)
                )
                self._organ(vessel, self.tone + random.uniform(-20, 180), 1.2)

    def _bone(self, patch: Patch, layer: int) -> None:
        """Paint a bone: marrow inside a bright rim."""
        random = self.random
        marrow = random.uniform(120, 320) + np.float32(50) * grain(random, patch.size, 1.0)
        rim = np.exp(-((patch.level / np.float32(random.uniform(1.2, 2.2)) - 0.7) ** 2))
        self.canvas.paint(layer, patch, (marrow + np.float32(random.uniform(300, 900)) * rim).astype(np.float32), 1.2)

    def add_ribs(self) -> None:
        """Paint the cut ribs in the wall."""
        random = self.random
        for angle in random.uniform(0, 2 * np.pi, int(random.integers(0, 11))):
            along = np.array([np.sin(angle), np.cos(angle)])
            place = self.centre + (self.radii - 0.8 * self.wall) * along
            turn = np.arctan2(self.radii[0] * along[1], -self.radii[1] * along[0])
            long = self.side * random.uniform(0.025, 0.06)
            thick = max(2.8, min(0.45 * self.wall, 0.022 * self.side))
            rib = blob(random, self.canvas.size, place, (thick, long), angle=float(turn), irregularity=0.05)
            self._bone(rib, 1)

    def _inside(self, number: int, patch: Patch, tone: float | Field, softness: float) -> None:
        """Paint a patch as far as an organ is seen, as an object of the last layer."""
        seen = self.canvas.label[1][patch.box] == number
        self.canvas.blend(patch.box, share(patch.level, softness) * seen, tone)
        self.canvas.mark(2, patch.box, patch.mask & seen)

    def add_lesion(self) -> None:
        """Paint a lesion in a random organ: darker or brighter, fuzzy, at times with a rim."""
        random = self.random
        if not self.organs:
            return
        number = int(random.choice(self.organs))
        places = np.argwhere((self.canvas.label[1] == number) & (self.canvas.label[2] == 0))
        if len(places) < 150:
            return
        place = places[random.integers(len(places))]
        radius = float(np.exp(random.uniform(np.log(3.2), np.log(0.4 * np.sqrt(len(places))))))
        rough = random.choice([0.0, 0.1])
        radii = (radius, radius * random.uniform(0.7, 1.0))
        patch = blob(random, self.canvas.size, place, radii, irregularity=0.15, roughness=rough)
        patch = patch._replace(level=np.where(self.canvas.label[2][patch.box] > 0, -9, patch.level).astype(np.float32))
        local = float(np.median(self.canvas.image[0][patch.box]))
        step = random.choice([-1, -1, 1]) * random.uniform(20, 90) if local > -300 else random.uniform(400, 850)
        tone = local + step
        field = tone + np.float32(random.uniform(0, 12)) * fractal(random, patch.size, 6, 2)
        if random.random() < 0.3:
            field += np.float32(random.uniform(30, 90)) * np.exp(-((patch.level - 1.5) ** 2) / 3)
        self._inside(number, patch, field.astype(np.float32), random.uniform(1, min(5.0, radius)))


def _window(random: np.random.Generator, tone: float, chest: bool) -> tuple[float, float]:
    """Return level and width of a window in which organs of about ``tone`` differ, and in a chest the lungs too."""
    if chest or random.random() < 0.25:
        width, level = random.uniform(1100, 2200), random.uniform(-150, 250)
        return min(level, width / 2 - 900) if chest else level, width
    return tone + random.uniform(-30, 60), float(np.exp(random.uniform(np.log(250), np.log(700))))


def _scanned(random: np.random.Generator, canvas: Canvas, level: float, width: float) -> Field:
    """Return what a scanner and a window make of Hounsfield units, [1, H, W] in [0, 1]."""
    noise = np.exp(random.uniform(np.log(4), np.log(28)))
    image = developed(
        random,
        canvas.image,
        focus=random.uniform(0.5, 1.3),
        noise=float(noise),
        uneven=0.0,
        correlation=random.uniform(0.4, 1.2),
    )
    if random.random() < 0.3:
        streaks = smooth(random, canvas.size, (3.0, max(canvas.size) * random.uniform(0.2, 1.0)))
        image = image + np.float32(random.uniform(5, 40)) * streaks
    image = np.clip((image - np.float32(level)) / np.float32(width) + np.float32(0.5), 0, 1)
    return 1 - image if random.random() < 0.08 else image
