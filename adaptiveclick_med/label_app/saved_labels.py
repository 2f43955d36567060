"""The labels that users saved through the server, as slices to learn from and to measure with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from adaptiveclick_med.data import Item
from adaptiveclick_med.data.exported import scan_picture
from adaptiveclick_med.data.files import file_stem, is_volume, volume_header
from adaptiveclick_med.data.geometry import PLANES, slice_plane
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, scan_volume, slice_item

__all__ = ["SOURCE", "SavedLabel", "acquisition_plane", "hold_back", "image_file", "labelled_slices", "saved_labels"]

SOURCE = "saved labels"
"""What such items give as their source."""

_MEANING = LabelMeaning("auto")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedLabel:
    """An image and the label that a user saved for it.

    Attributes:
        image_id: the server's name of the image.
        image: file of the image, or folder of its DICOM series.
        label: file of the label.
    """

    image_id: str
    image: Path
    label: Path


def saved_labels(datastore: Any) -> list[SavedLabel]:
    """Return all images of a MONAI Label datastore that have a final label, sorted by id.

    Args:
        datastore: a ``monailabel`` ``Datastore``. One that stands for a PACS fetches what it does not have yet.
    """
    entries = datastore.datalist()
    objects = datastore.json().get("objects", {})
    names = [name for name, found in objects.items() if found.get("labels", {}).get("final")]  # in the same order
    if len(names) != len(entries):  # a label came or went between the two
        names = [file_stem(entry["label"]) for entry in entries]
    found = []
    for name, entry in zip(names, entries, strict=True):
        try:
            image = image_file(datastore, name)
        except ValueError:
            image = Path(entry["image"])  # reading it will tell what is wrong
        found.append(SavedLabel(name, image, Path(entry["label"])))
    return sorted(found, key=lambda saved: saved.image_id)


def image_file(datastore: Any, image_id: str) -> Path:
    """Return the file of an image; a datastore that stands for a PACS fetches it where needed.

    Raises:
        ValueError: when there is no such image, or it is no volume.
    """
    try:
        file = datastore.get_image_uri(image_id)
    except HTTPException as error:
        raise ValueError(str(error.detail)) from error
    if not file:
        raise ValueError(f"there is no image {image_id!r} (any more)")
    return Path(file)


def acquisition_plane(image: str | Path) -> str:
    """Return the plane whose slices run along the third array axis of a volume: the one that viewers show first.

    Args:
        image: file of a volume, or folder of a DICOM series; only the header is read.

    Raises:
        ValueError: when it cannot be read.
    """
    affine = volume_header(image)[1]
    return next(name for name in PLANES if slice_plane(affine, name).axes[0] == 2)


def labelled_slices(
    saved: Sequence[SavedLabel], *, every: int = 1, min_area: int = 20
) -> tuple[list[Item], list[tuple[str, str]]]:
    """List the slices that have an object, in the acquisition plane of each volume; pictures are one slice.

    Each label value is one object. Slices without a label are left out: nobody may have looked at them yet.

    Args:
        saved: images and labels.
        every: of those slices of a volume, keep the first and then each ``every``-th.
        min_area: smallest area in pixels of the largest object of a slice.

    Returns:
        items for ``LoadSampled`` with the image's id as ``group``, and (id, reason) of what cannot be used, which is
        also logged.
    """
    items: list[Item] = []
    left_out: list[tuple[str, str]] = []
    for each in saved:
        try:
            items += _slices(each, every, min_area)
        except ValueError as error:
            reason = str(error).strip().rstrip(".")
            left_out.append((each.image_id, reason))
            logger.warning("The label of %s is left out: %s.", each.image_id, reason)
    return items, left_out


def _slices(saved: SavedLabel, every: int, min_area: int) -> list[Item]:
    name = saved.image_id
    if is_volume(saved.image) != is_volume(saved.label):
        raise ValueError(f"one of {saved.image.name} and {saved.label.name} is a volume, the other a picture")
    if not is_volume(saved.image):
        scan_picture(saved.image, saved.label, _MEANING)
        return [picture_item(name, saved.image, saved.label, SOURCE, _MEANING.hints(), group=name)]
    plane = acquisition_plane(saved.image)
    found = scan_volume(saved.image, saved.label, SliceRule(plane, "all", every, min_area), _MEANING)
    return [slice_item(name, saved.image, saved.label, index, plane, _MEANING, SOURCE, name) for index in found]


def hold_back(image_ids: Sequence[str], share: float, seed: int = 0) -> set[str]:
    """Choose the images whose labels are held back from training, to measure with.

    The choice depends on (``seed``, id) alone: as labels are added, an image that was learned from is not held back
    later. At least one image is held back and at least one is learned from when there are two or more; of a single
    image, nothing is held back.

    Args:
        image_ids: all images with a label.
        share: share that is held back, in [0, 1); 0 holds nothing back.
        seed: of the choice, 0 or above.

    Returns:
        the ids that are held back.
    """
    place = {name: _uniform(f"{seed}:{name}") for name in image_ids}
    if share <= 0 or len(place) < 2:
        return set()
    order = sorted(place, key=lambda name: (place[name], name))
    count = sum(value < share for value in place.values())
    return set(order[: min(max(count, 1), len(order) - 1)])


def _uniform(text: str) -> float:
    """Return a number in [0, 1) that looks random and depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
