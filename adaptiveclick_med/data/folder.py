"""Your own data: a folder of images and masks, as 2-D pictures or as NIfTI, NRRD, MHA or MHD volumes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import (
    VOLUME_SUFFIXES,
    file_suffix,
    picture_size,
    read_picture,
    read_volume,
    volume_header,
)
from adaptiveclick_med.data.folder_layout import Pair, find_pairs
from adaptiveclick_med.data.geometry import PLANES, slice_plane
from adaptiveclick_med.data.labels import (
    LABEL_TYPES,
    check_label,
    label_layers,
    largest_object,
    picture_label,
    slice_areas,
)
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item, Source

__all__ = ["SOURCE", "list_items"]


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    image_dir: str | Path | None = None,
    label_dir: str | Path | None = None,
    label_type: str = "auto",
    ignore_value: int | None = None,
    plane: str = "axial",
    min_area: int = 20,
    every: int = 1,
    group_pattern: str | None = None,
    affine_tolerance: float = 0.1,
) -> list[Item]:
    r"""List a folder of images and masks; each label is read once, images only where a sample is loaded.

    A picture gives one item, a volume one item for each slice with an object of at least ``min_area`` pixels. How files
    are found and paired is told by :func:`adaptiveclick_med.data.folder_layout.find_pairs`; how slices are turned by
    :mod:`adaptiveclick_med.data.geometry`.

    Args:
        dataset_dir: the folder of the data set; may be ``None`` with ``image_dir`` and ``label_dir``.
        seed: without effect.
        problems: takes what cannot be used: files that cannot be read or have no partner, an image and a label that
            differ in size or place, a label without an object.
        image_dir: folder of the images, absolute or inside ``dataset_dir``.
        label_dir: folder of the labels, likewise.
        label_type: what label values mean, one of :data:`adaptiveclick_med.data.labels.LABEL_TYPES`. ``"auto"``: each
            distinct value is one object, so a mask with one value is one object. A fourth dimension of a label volume
            holds layers, for objects that overlap.
        ignore_value: label value of pixels that count nowhere, for example 255.
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``, by the affine.
        min_area: smallest area in pixels of the largest object of a slice.
        every: keep the first of those slices and then each ``every``-th.
        group_pattern: regular expression whose first group, searched in the pair's name, is the ``group`` of the item,
            for patients with several files, for example ``"(patient\d+)_"``. By default a volume is its own group, and
            so is a picture, but for pictures in a sub-folder, which share the sub-folder as group.
        affine_tolerance: how far, in voxels, a corner of the label may lie from the same corner of its image.

    Raises:
        ValueError: when an option is out of range or unknown.
        DataSetError: when no image is found.
        FileNotFoundError: when a folder does not exist.
    """
    if label_type not in LABEL_TYPES:
        raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {label_type!r}.")
    if plane not in PLANES:
        raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}.")
    for name, value in (("min_area", min_area), ("every", every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if affine_tolerance < 0:
        raise ValueError(f"affine_tolerance must not be negative, got {affine_tolerance}.")
    pattern = _compiled(group_pattern)
    hints: dict[str, object] = {"label_type": "instances" if label_type == "auto" else label_type}
    if ignore_value is not None:
        hints["ignore_value"] = ignore_value
    pairs = find_pairs(dataset_dir, image_dir, label_dir, problems)

    def scan(pair: Pair) -> list[int | None] | ValueError:
        """Return the slices to use (``None`` for a picture), or the problem."""
        try:
            if _is_volume(pair.image) != _is_volume(pair.label):
                raise ValueError(f"one is a volume and the other a picture ({pair.image.name}, {pair.label.name})")
            if _is_volume(pair.image):
                return _scan_volume(pair, label_type, ignore_value, plane, min_area, every, affine_tolerance)
            _scan_picture(pair, label_type, ignore_value)
            return [None]
        except ValueError as error:
            return error

    items: list[Item] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for pair, found in zip(pairs, pool.map(scan, pairs), strict=True):
            if isinstance(found, ValueError):
                problems.add_error(pair.label, found)
            elif pattern is not None and not pattern.search(pair.name):
                problems.add(pair.image, f"group_pattern {group_pattern!r} does not match the name {pair.name!r}")
            else:
                items += _pair_items(pair, found, hints, plane, pattern)
    return items


def _compiled(group_pattern: str | None) -> re.Pattern[str] | None:
    if group_pattern is None:
        return None
    try:
        pattern = re.compile(group_pattern)
    except re.error as error:
        raise ValueError(f"group_pattern {group_pattern!r} is not a regular expression: {error}.") from error
    if pattern.groups < 1:
        raise ValueError(f"group_pattern {group_pattern!r} needs a group in parentheses.")
    return pattern


def _is_volume(path: Path) -> bool:
    return file_suffix(path) in VOLUME_SUFFIXES


def _pair_items(
    pair: Pair, slices: Sequence[int | None], hints: dict[str, object], plane: str, pattern: re.Pattern[str] | None
) -> list[Item]:
    """Return the items of one image."""
    subfolder = pair.name.rpartition("/")[0]
    group = pair.name if _is_volume(pair.image) or not subfolder else subfolder
    match = pattern.search(pair.name) if pattern else None
    if match:
        group = match.group(1)
    items = []
    for index in slices:
        where = {} if index is None else {"plane": plane, "index": index}
        items.append(
            {
                "image": str(pair.image),
                "label": str(pair.label),
                "name": pair.name if index is None else f"{pair.name}/{plane}_{index:03d}",
                "group": group,
                "source": "folder",
                "reader": {**hints, **where},
            }
        )
    return items


def _scan_picture(pair: Pair, label_type: str, ignore_value: int | None) -> None:
    """Check one picture and its label; any problem is a ``ValueError``."""
    size = picture_size(pair.image)
    label = picture_label(read_picture(pair.label, indices=True), label_type)
    if label.shape != size:
        raise ValueError(f"the label is {_times(label.shape)} pixels, but the image {pair.image.name} {_times(size)}")
    check_label(label, label_type, ignore_value)
    if not largest_object(label_layers(label, label_type, ignore_value)):
        raise ValueError("the label is empty: it has no object")


def _scan_volume(
    pair: Pair,
    label_type: str,
    ignore_value: int | None,
    plane: str,
    min_area: int,
    every: int,
    affine_tolerance: float,
) -> list[int | None]:
    """Check one volume and its label, and return the slices to use; any problem is a ``ValueError``."""
    shape, affine = volume_header(pair.image)
    label = read_volume(pair.label)
    if label.array.shape[:3] != shape:
        found, expected = _times(label.array.shape[:3]), _times(shape)
        raise ValueError(f"the label is {found} voxels, but the image {pair.image.name} {expected}")
    shift = _largest_shift(affine, label.affine, shape)
    if shift > affine_tolerance:
        raise ValueError(
            f"the label lies elsewhere than the image {pair.image.name}: its affine moves a corner by {shift:.3g} "
            f"voxels (affine_tolerance is {affine_tolerance:g})"
        )
    check_label(label.array, label_type, ignore_value)
    areas = slice_areas(label.array, slice_plane(affine, plane), label_type, ignore_value)
    if not areas:
        raise ValueError("the label is empty: it has no object")
    chosen: list[int | None] = [index for index, area in areas.items() if area >= min_area]
    if not chosen:
        largest = max(areas.values())
        raise ValueError(f"no {plane} slice has an object of {min_area} pixels (min_area); the largest has {largest}")
    return chosen[::every]


def _times(numbers: Sequence[int]) -> str:
    return "×".join(str(number) for number in numbers)


def _largest_shift(image: NDArray[np.float64], label: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the largest distance between the same corner of two affines, in the image's smallest voxel edges."""
    corners = np.stack(np.meshgrid(*[(0, length - 1) for length in shape], [1], indexing="ij"), axis=-1).reshape(-1, 4)
    distance = np.linalg.norm(corners @ (image - label).T, axis=1).max()
    edge = np.linalg.norm(image[:3, :3], axis=0).min()
    return float(distance / edge) if edge > 0 else float("inf") if distance > 0 else 0.0


SOURCE = Source("folder", list_items)
