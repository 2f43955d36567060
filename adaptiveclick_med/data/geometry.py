"""Anatomical planes of a volume: which array axes a slice shows, in which direction, and where it lies in the world.

A slice is shown as radiologists see it, by the affine and not by the array's order: rows run from anterior to posterior
(axial) or from superior to inferior (coronal, sagittal); columns run from the patient's right to left (axial, coronal)
or from anterior to posterior (sagittal). Oblique volumes use the array axis that is closest; nothing is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLANES", "SlicePlane", "slice_plane"]

PLANES: dict[str, tuple[int, int, int]] = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
"""The world axes (0 right, 1 anterior, 2 superior) of slices, rows and columns. Rows and columns run against them."""


@dataclass(frozen=True)
class SlicePlane:
    """How slices of one plane are cut from an array [I, J, K] or [I, J, K, C].

    Args:
        axes: array axes of (slice, row, column).
        flips: whether (rows, columns) run against their array axes.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool]

    def size(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (slices, height, width) for an array of ``shape``."""
        slices, height, width = (int(shape[axis]) for axis in self.axes)
        return slices, height, width

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the array as [slices, H, W] or [slices, H, W, C], without a copy."""
        steps = [slice(None, None, -1 if flip else 1) for flip in self.flips]
        return array.transpose((*self.axes, *range(3, array.ndim)))[:, steps[0], steps[1]]

    def take(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """Return slice ``index`` (along the array axis) as [H, W] or [C, H, W], without a copy.

        Raises:
            IndexError: when there is no such slice.
        """
        view = self.view(array)
        if not 0 <= index < view.shape[0]:
            raise IndexError(f"slice index {index} is outside the volume's {view.shape[0]} slices.")
        chosen = view[index]
        return np.moveaxis(chosen, -1, 0) if chosen.ndim == 3 else chosen

    def put(self, array: NDArray[Any], index: int, values: NDArray[Any]) -> None:
        """Write [H, W] or [C, H, W] ``values`` into slice ``index`` of ``array``: the inverse of :meth:`take`."""
        self.take(array, index)[...] = values

    def affine(self, volume_affine: NDArray[np.float64], shape: tuple[int, ...], index: int) -> NDArray[np.float64]:
        """Return the slice's own affine.

        Args:
            volume_affine: 4×4, from voxel (i, j, k) to world RAS+ in millimetres.
            shape: shape of the volume, [I, J, K] or longer.
            index: the slice.

        Returns:
            4×4 float64, from (row, column, 0) of the slice to world RAS+ in millimetres. The third column is the step
            to the next slice.
        """
        to_voxel = np.zeros((4, 4))
        to_voxel[3, 3] = 1.0
        to_voxel[self.axes[0], 2] = 1.0
        to_voxel[self.axes[0], 3] = index
        for column, (axis, flip) in enumerate(zip(self.axes[1:], self.flips, strict=True)):
            to_voxel[axis, column] = -1.0 if flip else 1.0
            to_voxel[axis, 3] = shape[axis] - 1 if flip else 0
        return np.asarray(volume_affine, dtype=np.float64) @ to_voxel


def slice_plane(affine: NDArray[np.float64], plane: str) -> SlicePlane:
    """Return how to cut slices of an anatomical plane from a volume.

    Args:
        affine: 4×4, from voxel (i, j, k) to world RAS+ in millimetres.
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.

    Raises:
        ValueError: when ``plane`` is unknown, or the affine is not a finite invertible 4×4 matrix.
    """
    if plane not in PLANES:
        raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}.")
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError(f"the affine is not an invertible 4x4 matrix: {affine.tolist()}.")
    from nibabel.orientations import io_orientation

    orientation = io_orientation(affine)  # per array axis: (world axis, +1 or -1)
    array_axis = {int(world): axis for axis, (world, _) in enumerate(orientation)}
    slices, rows, columns = (array_axis[world] for world in PLANES[plane])
    return SlicePlane((slices, rows, columns), (bool(orientation[rows, 1] > 0), bool(orientation[columns, 1] > 0)))
