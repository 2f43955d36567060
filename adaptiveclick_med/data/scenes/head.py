"""Head: slices through a brain as magnetic resonance shows them, drawn at twice the size and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.scenes.canvas import Canvas, Scene, stretched
from adaptiveclick_med.data.scenes.fields import Field, blur, fractal, grain, smooth
from adaptiveclick_med.data.scenes.outlines import Numbers, Patch, blob, share

__all__ = ["paint"]


def paint(random: np.random.Generator, size: Sequence[int]) -> Scene:
    """Paint one scene.

    Args:
        random: owned by the scene.
        size: (H, W).
    """
    height, width = int(size[0]), int(size[1])
    large = Canvas((2 * height, 2 * width), layers=4)
    brain = _Head(random, large)
    brain.add_cortex()
    brain.add_ventricles()
    brain.add_nuclei()
    for _ in range(int(random.choice([0, 1, 1, 2]))):
        brain.add_tumour()
    canvas = Canvas((height, width), layers=4)
    double = large.image[0]
    image = (double[::2, ::2] + double[1::2, ::2] + double[::2, 1::2] + double[1::2, 1::2]) / 4
    large.label[1][large.label[2] > 0] = 0  # what lies in the white matter is no white matter
    canvas.label[:] = large.label[:, 1::2, 1::2]
    return canvas.scene(_measured(random, image)[None])


class _Head:
    """A head whose left and right are alike, but not quite.

    Args:
        random: owned by the scene.
        canvas: at twice the size; layers: head and brain, tissue, nuclei and oedema, cores.
    """

    def __init__(self, random: np.random.Generator, canvas: Canvas) -> None:
        self.random = random
        self.canvas = canvas
        self.side = min(canvas.size)
        self.centre = np.array(canvas.size) * random.uniform(0.47, 0.53, 2)
        self.tilt = random.uniform(-0.2, 0.2)
        reach = random.uniform(0.36, 0.46)
        self.radii = self.side * reach * np.array([1.0, random.uniform(0.72, 0.88)])
        names = ("white", "grey", "fluid", "nuclei")
        tones = np.linspace(random.uniform(0.12, 0.35), random.uniform(0.6, 1.0), len(names))
        order = random.permutation(tones) if random.random() < 0.6 else tones[[2, 1, 0, 2]]
        self.tones = dict(zip(names, (float(tone) for tone in order), strict=True))
        outline = self._blob(self.centre, self.radii, 0.0)
        uneven = np.float32(random.uniform(0.005, 0.012) * self.side) * smooth(random, outline.size, self.side / 4)
        outline = Patch(outline.box, outline.level + uneven)
        scalp = random.uniform(0.015, 0.035) * self.side
        skull = scalp + random.uniform(0.012, 0.03) * self.side
        wavy = outline.level + np.float32(0.004 * self.side) * smooth(random, outline.size, self.side / 10)
        canvas.paint(0, outline, random.uniform(0.4, 1.0), 2)
        canvas.blend(outline.box, share(wavy - np.float32(scalp), 3), random.uniform(0.0, 0.15))
        canvas.blend(outline.box, share(wavy - np.float32(skull), 3), self.tones["fluid"])
        self.inside = Patch(outline.box, wavy - np.float32(skull + random.uniform(0.004, 0.012) * self.side))

    def _blob(self, centre: NDArray[np.float64], radii: Numbers, irregularity: float, angle: float = 0.0) -> Patch:
        turned = self.tilt + angle
        return blob(self.random, self.canvas.size, centre, radii, angle=turned, irregularity=irregularity)

    def _at(self, down: float, across: float) -> NDArray[np.float64]:
        """Return the place (row, column) at a share of the radii, in the turned frame of the head."""
        rows, columns = down * self.radii[0], across * self.radii[1]
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        return self.centre + np.array([cosine * rows - sine * columns, sine * rows + cosine * columns])

    def add_cortex(self) -> None:
        """Paint the brain: grey matter with furrows around white matter."""
        random, (box, level) = self.random, self.inside
        scale = self.side * random.uniform(0.035, 0.06)
        folds = smooth(random, level.shape, scale) + np.float32(0.4) * smooth(random, level.shape, scale / 2)
        depth = np.float32(self.side * random.uniform(0.015, 0.03))
        furrow = np.float32(1) - np.abs(folds) * np.float32(3)
        sulci = np.minimum(furrow * depth * 0.5, 2.2 * depth - level)
        rows = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - np.float32(self.centre[0])
        columns = np.arange(box[1].start, box[1].stop, dtype=np.float32) - np.float32(self.centre[1])
        middle = np.abs(np.float32(np.cos(self.tilt)) * columns - np.float32(np.sin(self.tilt)) * rows)
        middle += np.float32(0.003 * self.side) * np.abs(smooth(random, (len(rows), 1), self.side / 8))
        cleft = np.float32(random.uniform(0.002, 0.006) * self.side) - middle
        fissure = np.minimum(cleft, np.float32(0.45 * self.radii[0]) - level)
        brain = np.minimum(level, -np.maximum(sulci, fissure))
        self.canvas.mark(0, box, level > 0)
        self.canvas.blend(box, share(brain, 2), self.tones["grey"])
        thickness = depth * (np.float32(1.1) + np.float32(random.uniform(1.0, 1.8)) * folds)
        white = np.minimum(level - depth - np.maximum(thickness, 0), brain - np.float32(0.6) * depth)
        self.white = Patch(box, white)
        mottle = self.tones["white"] * (
            1 + np.float32(random.uniform(0.01, 0.05)) * fractal(random, level.shape, 40, 2)
        )
        self.canvas.paint(1, self.white, mottle, random.uniform(2, 5))
        self.matter = np.full(self.canvas.size, -9, dtype=np.float32)
        self.matter[box] = brain
        self.whole = np.full(self.canvas.size, -9, dtype=np.float32)
        self.whole[box] = level

    def _pair(
        self, layer: int, down: float, across: float, radii: NDArray[np.float64], angle: float, tone: float
    ) -> None:
        """Paint a thing on both sides."""
        softness = self.random.uniform(2, 4)
        for sign in (-1, 1):
            place = self._at(down + 0.01 * self.random.standard_normal(), sign * across)
            patch = self._blob(place, radii * self.random.uniform(0.9, 1.1, 2), 0.07, sign * angle)
            patch = Patch(patch.box, np.minimum(patch.level, self.matter[patch.box]))
            self.canvas.paint(layer, patch, tone, softness)

    def add_ventricles(self) -> None:
        """Paint the horns of the ventricles."""
        random = self.random
        wide = random.uniform(0.05, 0.13)
        long = random.uniform(0.18, 0.32)
        radii = np.array([long, wide]) * self.radii[0]
        self._pair(2, random.uniform(-0.3, -0.15), wide * 1.4, radii, random.uniform(0.1, 0.5), self.tones["fluid"])
        if random.random() < 0.6:
            down = random.uniform(0.25, 0.45)
            self._pair(2, down, 2.2 * wide, 0.8 * radii, -random.uniform(0.3, 0.8), self.tones["fluid"])

    def add_nuclei(self) -> None:
        """Paint pairs of deep nuclei."""
        random = self.random
        step = 0.5 * (self.tones["nuclei"] + self.tones["grey"]) - self.tones["white"]
        step = step if abs(step) > 0.12 else 0.2 * random.choice([-1, 1])
        for down, across in ((0.1, 0.16), (-0.08, 0.34), (-0.28, 0.26), (0.22, 0.42)):
            if random.random() < 0.65:
                radii = self.radii[0] * random.uniform(0.05, 0.12) * np.array([1.3, random.uniform(0.5, 0.9)])
                own = self.tones["white"] + step * random.uniform(0.5, 1.2)
                self._pair(2, down, across, radii, random.uniform(0.0, 0.6), own)

    def add_tumour(self) -> None:
        """Paint ragged oedema, a core inside it and, at times, a dead centre inside the core."""
        random = self.random
        angle, distance = random.uniform(0, 2 * np.pi), random.uniform(0.15, 0.7)
        place = self._at(distance * np.sin(angle), distance * np.cos(angle))
        radius = self.side * random.uniform(0.05, 0.17)
        around = self._tumour(place, radius, random.uniform(0.04, 0.2), self.whole)
        local = float(np.median(self.canvas.image[0][around.box]))
        sign = random.choice([-1, 1])
        self._over(2, around, local + sign * random.uniform(0.1, 0.35), random.uniform(2, 9))
        room = np.full(self.canvas.size, -9, dtype=np.float32)
        room[around.box] = around.level - 3
        shift = random.uniform(-0.2, 0.2, 2) * radius
        core = self._tumour(place + shift, radius * random.uniform(0.35, 0.65), 0.06, room)
        tone = local + random.choice([-1, 1]) * random.uniform(0.1, 0.4)
        self._over(3, core, tone + 0.05 * fractal(random, core.size, 12, 2), random.uniform(2, 5))
        if random.random() < 0.5:
            inner = core.level - np.float32(0.12 * radius * random.uniform(0.7, 2))
            self.canvas.blend(core.box, share(inner, 4), random.uniform(0.05, 0.9))

    def _tumour(self, place: NDArray[np.float64], radius: float, roughness: float, room: Field) -> Patch:
        radii = (radius, radius * self.random.uniform(0.6, 1.0))
        patch = blob(self.random, self.canvas.size, place, radii, irregularity=0.15, roughness=roughness)
        return Patch(patch.box, np.minimum(patch.level, room[patch.box]))

    def _over(self, layer: int, patch: Patch, tone: float | Field, softness: float) -> None:
        mottle = np.float32(0.03) * smooth(self.random, patch.size, 4)
        self.canvas.paint(layer, patch, np.asarray(tone + mottle, dtype=np.float32), softness)


def _measured(random: np.random.Generator, image: Field) -> Field:
    """Return an image [H, W] with uneven gain of the coils and Rician noise, in [0, 1]."""
    gain = np.exp(np.float32(random.uniform(0.0, 0.35)) * smooth(random, image.shape, max(image.shape) / 1.8))
    signal = blur(np.maximum(image, 0), random.choice([0.0, random.uniform(0.4, 0.9)])) * gain
    noise = np.float32(np.exp(random.uniform(np.log(0.008), np.log(0.07))))
    real = signal + noise * grain(random, image.shape, 0)
    return stretched(random, np.hypot(real, noise * grain(random, image.shape, 0))[None])[0]
