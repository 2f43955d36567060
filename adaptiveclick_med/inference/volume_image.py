"""A volume prepared for clicking: its slices as the network takes them, and the answers that are known already."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adaptiveclick_med.data.geometry import PLANES, SlicePlane, slice_plane
from adaptiveclick_med.inference.session import InteractiveSession
from adaptiveclick_med.inference.slice_frame import SliceFrame
from adaptiveclick_med.transforms.intensity import Intensity

__all__ = ["Store", "VolumeImage"]


class Store:
    """The values that were used last, up to a number of bytes. It may be used by several threads.

    Args:
        capacity: bytes that the values may take together.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Any:
        """Return a value, ``None`` when it is not here."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes; the values that were not used for longest go when there are too many."""
        with self._lock:
            self._bytes += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = (value, size)
            while self._bytes > self.capacity and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]


class VolumeImage:
    """A volume, cut into slices on demand. Several sessions, also in several threads, may share it.

    Args:
        session: with the network and the options of every slice's session; it needs no image.
        array: [I, J, K] or [I, J, K, C].
        affine: 4×4, from voxel (i, j, k) to world RAS+ in millimetres.
        intensity: how its values become [0, 1]; percentiles are those of the whole volume.
        max_anisotropy: see :class:`SliceFrame`.
        cache_bytes: memory for prepared slices, and as much again for known answers.

    Raises:
        ValueError: when the array, the affine or an intensity cannot be used.
    """

    def __init__(
        self,
        session: InteractiveSession,
        array: NDArray[Any],
        affine: NDArray[np.float64],
        intensity: Intensity | None = None,
        *,
        max_anisotropy: float = 1.5,
        cache_bytes: int = 256 * 2**20,
    ) -> None:
        if array.ndim not in (3, 4) or 0 in array.shape:
            raise ValueError(
                f"volume must be of shape [I, J, K] or [I, J, K, C] and not empty, got {list(array.shape)}."
            )
        if array.dtype.kind not in "biuf":
            raise ValueError(f"volume must be of an integer or floating type, got {array.dtype}.")
        self._intensity = intensity or Intensity()
        if self._intensity.nan == "raise" and array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise ValueError(f"volume has {count} NaN or infinite value(s); pass nan='fill' to fill them.")
        self.array = array
        self.shape: tuple[int, int, int] = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
        self.affine = np.array(affine, dtype=np.float64)
        self.planes: dict[str, SlicePlane] = {name: slice_plane(self.affine, name) for name in PLANES}
        self.acquisition_plane = next(name for name, plane in self.planes.items() if plane.axes[0] == 2)
        self.threshold = session.threshold
        self.answers = Store(cache_bytes)
        self._session = session
        self._slices = Store(cache_bytes)
        self._range = self._intensity.volume_range(array)
        self.frames: dict[str, SliceFrame] = {}
        for name, plane in self.planes.items():
            _, height, width = plane.size(self.shape)
            patch = session.predictor.patch_size
            self.frames[name] = SliceFrame.for_spacing((height, width), self.pixel_sides(name), max_anisotropy, patch)
        self.picture("axial", 0)  # a wrong window or number of channels is told now

    def known(self, plane: str) -> str:
        """Return the name of a plane.

        Raises:
            ValueError: when it is unknown.
        """
        if plane not in self.planes:
            raise ValueError(f"plane must be one of {', '.join(self.planes)}, got {plane!r}.")
        return plane

    def to_voxel(self, point: Sequence[float], system: str = "RAS") -> tuple[float, float, float]:
        """Return the voxel (i, j, k), fractional, of a point (x, y, z) in world millimetres.

        Args:
            point: the point.
            system: ``"RAS"`` or ``"LPS"``.

        Raises:
            ValueError: when the point is not three finite numbers, or the system is another.
        """
        x, y, z = _three(point)
        if system not in ("RAS", "LPS"):
            raise ValueError(f"system must be RAS or LPS, got {system!r}.")
        if system == "LPS":
            x, y = -x, -y
        i, j, k, _ = np.linalg.solve(self.affine, [x, y, z, 1.0])
        return float(i), float(j), float(k)

    def locate(self, point: Sequence[float], plane: str) -> tuple[int, float, float]:
        """Return (slice index, row, column) of a voxel (i, j, k), as the slice is shown.

        Raises:
            ValueError: when the plane is unknown, or the point is not three finite numbers or lies outside the volume.
        """
        voxel, cut = _three(point), self.planes[self.known(plane)]
        if not all(-0.5 <= at <= side - 0.5 for at, side in zip(voxel, self.shape, strict=True)):
            given = ", ".join(f"{at:g}" for at in voxel)
            last = ", ".join(str(side - 1) for side in self.shape)
            raise ValueError(
                f"The click ({given}) lies outside the volume, whose voxels go from (0, 0, 0) to ({last})."
            )
        inside = [min(max(at, 0.0), side - 1.0) for at, side in zip(voxel, self.shape, strict=True)]
        row, column = (
            self.shape[axis] - 1 - inside[axis] if flip else inside[axis]
            for axis, flip in zip(cut.axes[1:], cut.flips, strict=True)
        )
        return round(inside[cut.axes[0]]), row, column

    def session(self, plane: str, index: int) -> InteractiveSession:
        """Return a fresh session on one slice, on the slice's inner grid, see :attr:`frames`."""
        prepared: InteractiveSession | None = self._slices.get((plane, index))
        if prepared is None:
            prepared = self._session.sibling()
            image = self.frames[plane].to_inner(self.picture(plane, index))
            prepared.set_image(image.movedim(0, -1).clamp(0.0, 1.0))
            self._slices.put((plane, index), prepared, image.numel() * 4)
        return prepared.sibling(keep_image=True)

    def picture(self, plane: str, index: int) -> Tensor:
        """Return a slice as the network sees its values, [3, H, W] float32 in [0, 1], on the slice's own grid.

        Raises:
            IndexError: when there is no such slice.
        """
        cut = self.planes[self.known(plane)].take(self.array, index)
        kind = np.dtype(np.float64) if cut.dtype.itemsize > 8 else cut.dtype.newbyteorder("=")  # PyTorch has no others
        values = np.ascontiguousarray(cut if cut.ndim == 3 else cut[None], dtype=kind)
        return self._intensity.prepare(values, self._range)

    def pixel_sides(self, plane: str) -> tuple[float, float]:
        """Return millimetres between the rows and between the columns of a plane's slices."""
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        _, rows, columns = self.planes[self.known(plane)].axes
        return float(spacing[rows]), float(spacing[columns])


def _three(point: Sequence[float]) -> tuple[float, float, float]:
    try:
        first, second, third = (float(value) for value in point)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a point must be three numbers, got {point!r}.") from error
    if not all(map(math.isfinite, (first, second, third))):
        raise ValueError(f"a point must be three finite numbers, got {point!r}.")
    return first, second, third
