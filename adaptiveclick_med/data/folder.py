"""Your own data: a folder of images and masks, as 2-D pictures or as NIfTI, NRRD, MHA or MHD volumes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adaptiveclick_med.data.exported import scan_picture
from adaptiveclick_med.data.files import is_volume
from adaptiveclick_med.data.folder_layout import Pair, find_pairs
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item, Source
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, check_tolerance, scan_volume, slice_item

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
    labels: Sequence[int] | None = None,
    plane: str = "axial",
    slices: str = "all",
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
        labels: label values that count; all others become background. By default all count.
        plane: see :class:`adaptiveclick_med.data.volumes.SliceRule`.
        slices: see there.
        min_area: see there.
        every: see there.
        group_pattern: regular expression whose first group, searched in the pair's name, is the ``group`` of the item,
            for patients with several files, for example ``"(patient\d+)_"``. By default a volume is its own group, and
            so is a picture, but for pictures in a sub-folder, which share the sub-folder as group.
        affine_tolerance: how far, in voxels, a corner of the label may lie from the same corner of its image.

    Raises:
        ValueError: when an option is out of range or unknown.
        DataSetError: when no image is found.
        FileNotFoundError: when a folder does not exist.
    """
    rule = SliceRule(plane, slices, every, min_area)
    check_tolerance(affine_tolerance)
    pattern = _compiled(group_pattern)
    meaning = LabelMeaning(label_type, ignore_value, labels)
    pairs = find_pairs(dataset_dir, image_dir, label_dir, problems)

    def scan(pair: Pair) -> list[int | None] | ValueError:
        """Return the slices to use (``None`` for a picture), or the problem."""
        try:
            if is_volume(pair.image) != is_volume(pair.label):
                raise ValueError(f"one is a volume and the other a picture ({pair.image.name}, {pair.label.name})")
            if is_volume(pair.image):
                return list(scan_volume(pair.image, pair.label, rule, meaning, affine_tolerance))
            scan_picture(pair.image, pair.label, meaning)
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
                items += _pair_items(pair, found, meaning, plane, pattern)
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


def _pair_items(
    pair: Pair, slices: Sequence[int | None], meaning: LabelMeaning, plane: str, pattern: re.Pattern[str] | None
) -> list[Item]:
    """Return the items of one image."""
    subfolder = pair.name.rpartition("/")[0]
    group = pair.name if is_volume(pair.image) or not subfolder else subfolder
    match = pattern.search(pair.name) if pattern else None
    if match:
        group = match.group(1)
    items: list[Item] = []
    for index in slices:
        if index is None:
            items.append(picture_item(pair.name, pair.image, pair.label, "folder", meaning.hints(), group=group))
        else:
            items.append(slice_item(pair.name, pair.image, pair.label, index, plane, meaning, "folder", group))
    return items


SOURCE = Source("folder", list_items, title="folder")
