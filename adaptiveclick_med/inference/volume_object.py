"""One object in a volume: the slices that were segmented, put together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptiveclick_med.data.geometry import SlicePlane
from adaptiveclick_med.distance import bounding_box
from adaptiveclick_med.inference.crop import CropBox
from adaptiveclick_med.inference.prediction import Prediction
from adaptiveclick_med.inference.state import SessionState

__all__ = ["ObjectSlice", "Part", "SlicePrediction", "VolumeClick", "VolumeObject", "foreground_confidence"]


@dataclass(frozen=True)
class VolumeClick:
    """A click in a volume.

    Args:
        i: first voxel index, may be fractional.
        j: second voxel index.
        k: third voxel index.
        positive: ``True`` on the object, ``False`` off it.
        label: number of the object.
        plane: the anatomical plane of the slice that was clicked.
    """

    i: float
    j: float
    k: float
    positive: bool = True
    label: int = 1
    plane: str = "axial"


@dataclass(frozen=True)
class SlicePrediction(Prediction):
    """A mask of one slice and its alternatives, as the slice is shown, see :mod:`adaptiveclick_med.data.geometry`.

    Attributes:
        mask: [H, W] boolean, the object in this slice.
        probability: [H, W] float32 in [0, 1].
        plane: the anatomical plane of the slice.
        index: the slice's index along the array axis of that plane.
        label: number of the object.
    """

    plane: str = "axial"
    index: int = 0
    label: int = 1

    @property
    def confidence(self) -> float:
        """Mean probability inside the mask, 0 for an empty one."""
        return foreground_confidence(self.mask, self.probability)


def foreground_confidence(mask: NDArray[np.bool_], probability: NDArray[np.float32]) -> float:
    """Return the mean probability inside a mask [H, W], 0 for an empty one."""
    return float(probability[mask].mean()) if mask.any() else 0.0


@dataclass(frozen=True)
class Part:
    """The part of a map [H, W] that is not zero, to keep many of them.

    Attributes:
        size: (height, width) of the whole map.
        top: first row of the part.
        left: first column of the part.
        values: [h, w].
    """

    size: tuple[int, int]
    top: int
    left: int
    values: NDArray[np.generic]

    @classmethod
    def of(cls, values: NDArray[np.generic], box: CropBox | None = None) -> Part:
        """Keep what lies in ``box``, or in the smallest box around all that is not zero."""
        size = (int(values.shape[0]), int(values.shape[1]))
        if box is None:
            found = bounding_box(values != 0)
            rows, columns = found if found is not None else (slice(0, 0), slice(0, 0))
        else:
            rows, columns = slice(box.top, box.bottom + 1), slice(box.left, box.right + 1)
        return cls(size, int(rows.start), int(columns.start), values[rows, columns].copy())

    def put(self, target: NDArray[np.generic]) -> None:
        """Make ``target`` [H, W] zero but for this part."""
        target[...] = 0
        height, width = self.values.shape
        target[self.top : self.top + height, self.left : self.left + width] = self.values

    def whole(self) -> NDArray[np.generic]:
        """Return the map [H, W]."""
        target = np.zeros(self.size, dtype=self.values.dtype)
        self.put(target)
        return target


@dataclass(frozen=True)
class ObjectSlice:
    """An object in one slice.

    Attributes:
        mask: on the slice's own grid.
        confidence: mean probability inside the mask.
        stamp: when it was made.
        clicks: what the user clicked here, oldest first.
        state: of the slice's session; ``None`` where the mask came from a neighbour.
        events: what led here from nothing: (row, column, positive) of clicks in pixels of the inner grid, and ranks of
            chosen candidates. Something that equals nothing else where it began with a mask.
        probability: float16 on the inner grid, where the mask came from a neighbour.
    """

    mask: Part
    confidence: float
    stamp: int
    clicks: tuple[VolumeClick, ...] = ()
    state: SessionState | None = None
    events: Hashable = None
    probability: Part | None = None

    @property
    def rank(self) -> tuple[bool, int]:
        """Where slices of several planes cross, the highest counts: clicked ones over carried ones, then the newest."""
        return self.state is not None, self.stamp

    def previous(self) -> Tensor:
        """Return the probability [h, w] float32 on the inner grid, the previous mask of what comes next."""
        if self.state is not None and self.state.probability is not None:
            return self.state.probability
        if self.probability is None:
            raise ValueError("a slice must have a state or a probability.")
        return torch.from_numpy(self.probability.whole().astype(np.float32))


@dataclass(frozen=True)
class VolumeObject:
    """One object: the mask it began with, and the slices that took its place. It never changes.

    Attributes:
        shape: (I, J, K) of the volume.
        planes: how slices are cut, by the name of the plane.
        base: [I, J, K] boolean, ``None`` when it began with nothing.
        slices: by (plane, index).
    """

    shape: tuple[int, int, int]
    planes: Mapping[str, SlicePlane]
    base: NDArray[np.bool_] | None = None
    slices: Mapping[tuple[str, int], ObjectSlice] = field(default_factory=dict)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """[I, J, K] boolean; not to be changed."""
        whole = np.zeros(self.shape, dtype=np.bool_, order="F")  # slices along k lie together, as in a file
        if self.base is not None:
            whole[...] = self.base
        for (plane, index), part in sorted(self.slices.items(), key=lambda item: item[1].rank):
            part.mask.put(self.planes[plane].take(whole, index))
        whole.flags.writeable = False
        return whole

    def forget_mask(self) -> None:
        """Give the memory of :attr:`mask` back until it is asked for again; for objects that are kept for an undo."""
        vars(self).pop("mask", None)

    def cut(self, plane: str, index: int) -> NDArray[np.bool_]:
        """Return the mask of one slice, [H, W]."""
        if self.base is None and all(name == plane for name, _ in self.slices):
            known = self.slices.get((plane, index))
            _, height, width = self.planes[plane].size(self.shape)
            return np.zeros((height, width), dtype=np.bool_) if known is None else known.mask.whole().astype(np.bool_)
        return self.planes[plane].take(self.mask, index)

    def clicked(self, plane: str) -> list[int]:
        """Return the indices of a plane's slices that have clicks, ascending."""
        return sorted(index for (name, index), part in self.slices.items() if name == plane and part.state is not None)

    def replace(
        self, new: Mapping[tuple[str, int], ObjectSlice], remove: Iterable[tuple[str, int]] = ()
    ) -> VolumeObject:
        """Return the object with other slices."""
        gone = set(remove)
        kept = {key: part for key, part in self.slices.items() if key not in gone}
        return VolumeObject(self.shape, self.planes, self.base, {**kept, **new})
