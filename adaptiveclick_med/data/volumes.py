"""Slices of volumes as the medical benchmarks use them: the plane by anatomy, the slices by a rule."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import read_volume, volume_header
from adaptiveclick_med.data.geometry import PLANES, slice_plane
from adaptiveclick_med.data.labels import LABEL_TYPES, check_label, label_layers, slice_areas
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item

__all__ = [
    "SLICES",
    "LabelMeaning",
    "SliceRule",
    "VolumePair",
    "check_tolerance",
    "list_volumes",
    "scan_volume",
    "slice_item",
    "times",
]

SLICES = ("all", "largest")
"""Which slices of a volume are used."""


@dataclass(frozen=True)
class SliceRule:
    """Which slices of a volume are used.

    Args:
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``, by the orientation that the file tells, not by array index.
        slices: ``"all"``: every slice with a large enough object. ``"largest"``: the one of them in which the objects
            together cover most pixels, the first on a tie.
        every: of all such slices, keep the first and then each ``every``-th.
        min_area: smallest area in pixels of the largest object of a slice.

    Raises:
        ValueError: when an argument is not as above.
    """

    plane: str = "axial"
    slices: str = "all"
    every: int = 1
    min_area: int = 20

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {self.plane!r}.")
        if self.slices not in SLICES:
            raise ValueError(f"slices must be one of {', '.join(SLICES)}, got {self.slices!r}.")
        for name in ("min_area", "every"):
            if not _counts(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}.")

    def choose(self, areas: Mapping[int, int], covered: Mapping[int, int] | None = None) -> list[int]:
        """Return the indices of the slices to use.

        Args:
            areas: slice index -> area in pixels of its largest object, ascending, see
                :func:`adaptiveclick_med.data.labels.slice_areas`.
            covered: slice index -> pixels that its objects cover together, for ``"largest"``; by default ``areas``.

        Raises:
            ValueError: when there is no object, or none that is large enough.
        """
        if not areas:
            raise ValueError("the label is empty: it has no object")
        chosen = [index for index, area in areas.items() if area >= self.min_area]
        if not chosen:
            raise ValueError(
                f"no {self.plane} slice has an object of {self.min_area} pixels (min_area); the largest has "
                f"{max(areas.values())}"
            )
        if self.slices == "largest":
            return [max(chosen, key=(areas if covered is None else covered).__getitem__)]
        return chosen[:: self.every]


@dataclass(frozen=True)
class LabelMeaning:
    """What the values of a label mean.

    Args:
        label_type: one of :data:`adaptiveclick_med.data.labels.LABEL_TYPES`; ``"binary"`` makes one object of all
            values, ``"labels"`` one object of each.
        ignore_value: value that counts nowhere.
        labels: values that count, the others become background; ``None``: all.

    Raises:
        ValueError: when the type is unknown, or ``labels`` holds no value, or one that is no whole number above 0.
    """

    label_type: str = "labels"
    ignore_value: int | None = None
    labels: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.label_type not in LABEL_TYPES:
            raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {self.label_type!r}.")
        if self.labels is None:
            return
        given: object = self.labels
        if not isinstance(given, Sequence) or not given or not all(map(_counts, given)):
            raise ValueError(f"labels must be a list of whole numbers of at least 1, got {given!r}.")
        object.__setattr__(self, "labels", tuple(map(int, given)))

    def layers(self, array: NDArray[np.generic]) -> NDArray[np.int32]:
        """Return the objects of one picture or slice, see :func:`adaptiveclick_med.data.labels.label_layers`."""
        return label_layers(array, self.label_type, self.ignore_value, self.labels)

    def covered(self, array: NDArray[np.generic]) -> int:
        """Return how many pixels of a picture or slice, [H, W] or [L, H, W], belong to an object."""
        return int((self.layers(array) > 0).any(axis=0).sum())

    def hints(self) -> dict[str, object]:
        """Return the reader hints that tell ``LoadSampled`` the same."""
        hints: dict[str, object] = {"label_type": "instances" if self.label_type == "auto" else self.label_type}
        if self.ignore_value is not None:
            hints["ignore_value"] = self.ignore_value
        if self.labels is not None:
            hints["labels"] = list(self.labels)
        return hints


@dataclass(frozen=True)
class VolumePair:
    """A volume and its label.

    Args:
        name: name of the case, unique in its data set.
        image: file of the image, or folder of its DICOM series.
        label: file of the label.
    """

    name: str
    image: Path
    label: Path


def list_volumes(
    pairs: Sequence[VolumePair],
    rule: SliceRule,
    meaning: LabelMeaning,
    source: str,
    problems: Problems,
    *,
    channel: int | None = None,
    affine_tolerance: float = 0.1,
) -> list[Item]:
    """List slices of volumes; each label is read once, images only where a sample is loaded.

    Args:
        pairs: the volumes; a case is its own group.
        rule: which slices.
        meaning: what label values mean.
        source: name of the source.
        problems: takes volumes that cannot be used.
        channel: index of the channel to use of images with several.
        affine_tolerance: see :func:`scan_volume`.
    """
    check_tolerance(affine_tolerance)

    def scan(pair: VolumePair) -> list[int] | ValueError:
        try:
            return scan_volume(pair.image, pair.label, rule, meaning, affine_tolerance)
        except ValueError as error:
            return error

    items: list[Item] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for pair, found in zip(pairs, pool.map(scan, pairs), strict=True):
            if isinstance(found, ValueError):
                problems.add_error(pair.label, found)
                continue
            for index in found:
                item = slice_item(pair.name, pair.image, pair.label, index, rule.plane, meaning, source, pair.name)
                if channel is not None:
                    item["reader"]["channel"] = channel
                items.append(item)
    return items


def check_tolerance(affine_tolerance: float) -> None:
    """Check how far a label may lie from its image.

    Raises:
        ValueError: when it is negative.
    """
    if not affine_tolerance >= 0:
        raise ValueError(f"affine_tolerance must not be negative, got {affine_tolerance}.")


def slice_item(
    name: str, image: Path, label: Path, index: int, plane: str, meaning: LabelMeaning, source: str, group: str
) -> Item:
    """Return the item of one slice of a volume."""
    return {
        "image": str(image),
        "label": str(label),
        "name": f"{name}/{plane}_{index:03d}",
        "group": group,
        "source": source,
        "reader": {**meaning.hints(), "plane": plane, "index": index},
    }


def scan_volume(
    image: Path, label: Path, rule: SliceRule, meaning: LabelMeaning, affine_tolerance: float = 0.1
) -> list[int]:
    """Check a volume and its label, and return the indices of the slices to use.

    Args:
        image: file or DICOM folder of the image; only its header is read.
        label: file of the label.
        rule: which slices.
        meaning: what label values mean.
        affine_tolerance: how far, in voxels, a corner of the label may lie from the same corner of its image.

    Raises:
        ValueError: when a file cannot be read, the label has another size or orientation or lies elsewhere, its values
            cannot be used, or no slice fits the rule.
    """
    shape, affine = volume_header(image)
    volume = read_volume(label)
    if volume.array.shape[:3] != shape:
        found = times(volume.array.shape[:3])
        raise ValueError(f"the label is {found} voxels, but the image {image.name} {times(shape)}")
    shift = _largest_shift(affine, volume.affine, shape)
    if shift > affine_tolerance:
        raise ValueError(
            f"the label lies elsewhere than the image {image.name}: its affine moves a corner by {shift:.3g} voxels "
            f"(affine_tolerance is {affine_tolerance:g})"
        )
    plane = slice_plane(affine, rule.plane)
    if slice_plane(volume.affine, rule.plane) != plane:  # a large tolerance lets such labels through
        raise ValueError(f"the label is stored in another orientation than the image {image.name}")
    check_label(volume.array, meaning.label_type, meaning.ignore_value)
    areas = slice_areas(volume.array, plane, meaning.label_type, meaning.ignore_value, meaning.labels)
    if rule.slices != "largest":
        return rule.choose(areas)
    return rule.choose(areas, {index: meaning.covered(plane.take(volume.array, index)) for index in areas})


def times(numbers: Sequence[int]) -> str:
    """Return sizes as text, such as 240×240."""
    return "×".join(str(number) for number in numbers)


def _counts(value: object) -> bool:
    """Tell whether a value is a whole number above 0."""
    return isinstance(value, (int, np.integer)) and bool(value >= 1)


def _largest_shift(image: NDArray[np.float64], label: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the largest distance between the same corner of two affines, in the image's smallest voxel edges."""
    corners = np.stack(np.meshgrid(*[(0, length - 1) for length in shape], [1], indexing="ij"), axis=-1).reshape(-1, 4)
    distance = np.linalg.norm(corners @ (image - label).T, axis=1).max()
    edge = np.linalg.norm(image[:3, :3], axis=0).min()
    return float(distance / edge) if edge > 0 else float("inf") if distance > 0 else 0.0
