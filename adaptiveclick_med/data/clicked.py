"""Images with clicks that were already made, listed in a JSON file: what inference without a user takes."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.data.files import VOLUME_SUFFIXES, file_suffix
from adaptiveclick_med.data.geometry import PLANES
from adaptiveclick_med.data.problems import DataSetError
from adaptiveclick_med.data.registry import Item

__all__ = ["clicked_items"]


def clicked_items(clicks_file: str | Path, dataset_dir: str | Path | None = None) -> list[Item]:
    """List the images of a JSON file of clicks.

    The file holds a list. An entry has ``image`` (file name), ``clicks`` (a list of [row, column, positive], the first
    one positive) and, for a volume, ``slice`` (index along the array axis of the plane) and ``plane`` (``"axial"``,
    ``"coronal"`` or ``"sagittal"``; by default axial). Rows and columns are those of the picture, or of the slice as
    :mod:`adaptiveclick_med.data.geometry` shows it. An image or a slice may come again, for another object; the names
    then end in ``#2``, ``#3`` and so on.

    Args:
        clicks_file: the JSON file.
        dataset_dir: folder of the images; by default the folder of the JSON file.

    Returns:
        dictionaries with ``image``, ``clicks`` (list of (row, column, positive)), ``name`` and ``reader``.

    Raises:
        FileNotFoundError: when the JSON file does not exist.
        DataSetError: when it is no JSON, an entry is not as above, or an image is missing; all problems are named.
    """
    clicks_file = Path(clicks_file)
    if not clicks_file.is_file():
        raise FileNotFoundError(f"There is no file of clicks {clicks_file}.")
    try:
        entries = json.loads(clicks_file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataSetError(f"{clicks_file} is no JSON: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise DataSetError(f"{clicks_file} must hold a list of at least one entry.")
    folder = Path(dataset_dir) if dataset_dir else clicks_file.parent
    items: list[Item] = []
    problems: list[str] = []
    for number, entry in enumerate(entries):
        try:
            items.append(_item(entry, folder))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            problems.append(f"entry {number}: {reason}")
    if problems:
        raise DataSetError(f"{clicks_file} cannot be used:\n" + "\n".join(problems))
    seen: Counter[str] = Counter()
    for item in items:
        seen[item["name"]] += 1
        if seen[item["name"]] > 1:
            item["name"] = f"{item['name']}#{seen[item['name']]}"
    return items


def _item(entry: Any, folder: Path) -> Item:
    if not isinstance(entry, dict):
        raise ValueError(f"a dictionary was expected, got {type(entry).__name__}")
    image = folder / entry["image"]
    if not image.is_file():
        raise ValueError(f"there is no image {image}")
    clicks = []
    for click in entry["clicks"]:
        if not isinstance(click, list) or len(click) != 3 or not isinstance(click[2], bool):
            raise ValueError(f"a click must be [row, column, true or false], got {click!r}")
        checked = Click(float(click[0]), float(click[1]), click[2])
        clicks.append((checked.row, checked.column, checked.positive))
    if not clicks or not clicks[0][2]:
        raise ValueError("the first click must be positive")
    reader: dict[str, Any] = {}
    name = entry["image"]
    if file_suffix(os.fspath(image)) in VOLUME_SUFFIXES:
        if "slice" not in entry:
            raise ValueError(f"{image} is a volume, so slice is needed")
        if type(entry["slice"]) is not int:
            raise ValueError(f"slice must be a whole number, got {entry['slice']!r}")
        reader = {"plane": entry.get("plane", "axial"), "index": entry["slice"]}
        if reader["plane"] not in PLANES:
            raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {reader['plane']!r}")
        name = f"{name}/{reader['plane']}_{reader['index']:03d}"
    return {"image": os.fspath(image), "clicks": clicks, "name": name, "reader": reader}
