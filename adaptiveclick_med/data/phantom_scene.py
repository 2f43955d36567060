"""The painter of the phantoms: bodies, organs, lesions and vessels on a voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scene"]

_Field = NDArray[np.float32]
_Box = tuple[slice, slice, slice]
_BODY, _VESSEL = 300.0, 760.0


class Scene:
    """Paints one phantom in display order (slice, row, column).

    Args:
        shape: (slices, rows, columns).
        spacing: millimetres between voxels, in the same order.
        random: owned by the phantom.
    """

    def __init__(self, shape: Sequence[int], spacing: NDArray[np.float64], random: np.random.RandomState) -> None:
        self.shape = np.array(shape)
        self.size = tuple(shape)
        self.random = random
        self.anisotropy = spacing[0] / spacing[1]
        self.image = np.zeros(shape, dtype=np.float32)
        self.label = np.zeros((3, *shape), dtype=np.uint8)
        self.objects = 0

    def smooth_field(self, knots: int, shape: Sequence[int]) -> _Field:
        """Return a smooth random field of ``shape``, of mean 0 and standard deviation about 1."""
        counts = [min(3, shape[0]), knots, knots]
        field = self.random.standard_normal(counts).astype(np.float32)
        for axis, (length, count) in enumerate(zip(shape, counts, strict=True)):
            centres = np.linspace(0, length - 1, count)
            width = max(length / count, 1.0)
            basis = np.exp(-0.5 * ((np.arange(length)[:, None] - centres) / (0.6 * width)) ** 2)
            basis /= np.linalg.norm(basis, axis=1, keepdims=True)
            field = np.moveaxis(np.tensordot(basis.astype(np.float32), field, axes=(1, axis)), 0, axis)
        return field

    def box(self, centre: NDArray[Any], extent: NDArray[Any]) -> _Box:
        """Return the part of the volume within ``extent`` voxels of ``centre``."""
        low = np.clip(np.floor(centre - extent).astype(int), 0, self.shape)
        high = np.clip(np.ceil(centre + extent).astype(int) + 1, 0, self.shape)
        z, y, x = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
        return z, y, x

    def ellipsoid(self, centre: NDArray[Any], radii: Sequence[float], deformation: float) -> tuple[_Box, _Field]:
        """Return a box, and in it a deformed ellipsoid as its level: about 1 in the centre, 0 on the border."""
        extent = 1.5 * np.array([radii[0], max(radii[1:]), max(radii[1:])])
        box = self.box(centre, extent)
        angle = self.random.uniform(0, np.pi)
        z, y, x = (grid - middle for grid, middle in zip(np.ogrid[box], centre, strict=True))
        along, across = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
        square = (z / radii[0]) ** 2 + ((along / radii[1]) ** 2 + (across / radii[2]) ** 2)
        wobble = self.smooth_field(4, [side.stop - side.start for side in box])
        level: _Field = 1.0 - np.sqrt(square.astype(np.float32)) + np.float32(deformation) * wobble
        return box, level

    def tube(self, inside: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
        """Return a winding tube of ``radius`` pixels through random points of ``inside``."""
        points = np.argwhere(inside)
        knots = points[self.random.randint(len(points), size=4)].astype(np.float64)
        knots = knots[np.argsort(knots[:, 0])]
        times = np.linspace(0, 3, int(2 * np.abs(np.diff(knots, axis=0)).sum() / radius) + 8)
        path = np.stack([np.interp(times, range(4), knots[:, axis]) for axis in range(3)], axis=1)
        path[:, 1:] += radius * 2 * np.sin(times[:, None] * 3 + self.random.uniform(0, 6, 2))
        region = np.zeros(self.shape, dtype=bool)
        extent = np.array([radius / self.anisotropy, radius, radius])
        for point in path:
            box = self.box(point, extent)
            z, y, x = (grid - middle for grid, middle in zip(np.ogrid[box], point, strict=True))
            region[box] |= (z * self.anisotropy) ** 2 + y**2 + x**2 <= radius**2
        return region

    def add(self, layer: int, box: _Box, region: NDArray[np.bool_], intensity: float) -> None:
        """Make ``region``, of the shape of ``box``, the next object of a layer; border voxels mix both intensities."""
        from scipy.ndimage import uniform_filter

        if not region.any():
            return
        self.objects += 1
        self.label[layer][box][region] = self.objects
        share = uniform_filter(region.astype(np.float32), size=(1, 3, 3), mode="nearest")
        self.image[box] += share * (np.float32(intensity) - self.image[box])

    def paint(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return the image [slices, rows, columns] and the label [3, slices, rows, columns]."""
        random = self.random
        depth, height, width = self.shape
        whole = self.box(self.shape / 2, self.shape)
        radii = (
            depth * random.uniform(0.6, 0.9),
            height * random.uniform(0.38, 0.44),
            width * random.uniform(0.36, 0.46),
        )
        box, level = self.ellipsoid((self.shape - 1) / 2, radii, 0.05)
        body_level = np.full(self.shape, -1, dtype=np.float32)
        body_level[box] = level
        body = _largest_part(body_level > 0)
        self.add(0, whole, body, _BODY)
        free = body & (body_level > 0.12)
        for _ in range(random.randint(3, 6)):
            centres = np.argwhere(free & (body_level > 0.3))
            if len(centres):
                self.add_organ(centres[random.randint(len(centres))], free)
        for _ in range(random.randint(2, 4)):
            vessel = self.tube(body & (body_level > 0.2), 0.3 + random.uniform(1.8, 3.4) * width / 160)
            self.add(2, whole, vessel & body & (self.label[2] == 0), _VESSEL + random.uniform(-60, 60))
        bias = np.exp(np.float32(0.12) * self.smooth_field(3, self.size))
        texture = np.float32(14) * self.smooth_field(9, self.size) * body
        noise = random.normal(0, 14, self.shape).astype(np.float32)
        return np.clip(np.rint((self.image + texture) * bias + noise), 0, 4000).astype(np.int16), self.label

    def add_organ(self, centre: NDArray[Any], free: NDArray[np.bool_]) -> None:
        """Add an organ with its lesions inside ``free``, and take it and a margin out of ``free``."""
        random = self.random
        depth, height, width = self.shape
        radii = (
            max(depth * random.uniform(0.25, 0.5), 1.0),
            height * random.uniform(0.09, 0.2),
            width * random.uniform(0.09, 0.2),
        )
        box, level = self.ellipsoid(centre, radii, 0.12)
        organ = _largest_part((level > 0) & free[box])
        free[box] &= level <= -0.25
        tone = _BODY + random.choice([-1, 1]) * random.uniform(80, 180)
        self.add(1, box, organ, tone)
        inner = np.argwhere(organ & (level > 0.35)) + [side.start for side in box]
        for _ in range(random.randint(0, 4) if len(inner) else 0):
            radius = random.uniform(0.022, 0.06) * width
            place = inner[random.randint(len(inner))]
            box, level = self.ellipsoid(place, (max(radius / self.anisotropy, 0.8), radius, radius * 1.2), 0.15)
            numbers = self.label[1][tuple(place)]
            lesion = (level > 0) & (self.label[1][box] == numbers) & (self.label[2][box] == 0)
            contrast = random.choice([-1, 1]) * random.uniform(60, 160)
            self.add(2, box, _largest_part(lesion), max(tone + contrast, 40.0))


def _largest_part(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a region."""
    from scipy.ndimage import label

    parts, count = label(region)
    if count < 2:
        return region
    largest: NDArray[np.bool_] = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return largest
