"""Single pictures and their labels, one file each, such as slices exported from volumes: checked, and listed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adaptiveclick_med.data.files import is_volume, picture_size, read_picture
from adaptiveclick_med.data.folder_layout import Pair, find_pairs
from adaptiveclick_med.data.labels import check_label, largest_object, picture_label
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item
from adaptiveclick_med.data.volumes import LabelMeaning, times

__all__ = ["list_exported", "scan_picture"]


def list_exported(images: Path, labels: Path, meaning: LabelMeaning, source: str, problems: Problems) -> list[Item]:
    """List slices that were exported as pictures; a picture is its own group.

    Args:
        images: folder of the images.
        labels: folder of the labels, see :func:`adaptiveclick_med.data.folder_layout.find_pairs`.
        meaning: what label values mean.
        source: name of the source.
        problems: takes pictures that cannot be used.

    Raises:
        DataSetError: when a folder holds no picture.
    """

    def scan(pair: Pair) -> ValueError | None:
        try:
            if is_volume(pair.image) or is_volume(pair.label):
                raise ValueError(f"pictures are expected here, not volumes ({pair.image.name}, {pair.label.name})")
            scan_picture(pair.image, pair.label, meaning)
        except ValueError as error:
            return error
        return None

    pairs = find_pairs(None, images, labels, problems)
    items: list[Item] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for pair, error in zip(pairs, pool.map(scan, pairs), strict=True):
            if error is None:
                items.append(picture_item(pair.name, pair.image, pair.label, source, meaning.hints()))
            else:
                problems.add_error(pair.label, error)
    return items


def scan_picture(image: Path, label: Path, meaning: LabelMeaning) -> None:
    """Check one picture and its label; of the picture only the size is read.

    Raises:
        ValueError: when a file cannot be read, the sizes differ, the label's values cannot be used, or it has no
            object.
    """
    size = picture_size(image)
    array = picture_label(read_picture(label, indices=True), meaning.label_type)
    if array.shape != size:
        raise ValueError(f"the label is {times(array.shape)} pixels, but the image {image.name} {times(size)}")
    check_label(array, meaning.label_type, meaning.ignore_value)
    if not largest_object(meaning.layers(array)):
        raise ValueError("the label is empty: it has no object")
