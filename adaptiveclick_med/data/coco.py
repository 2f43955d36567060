"""COCO: ``annotations/instances_*.json`` and the picture folder of the same name; masks by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.layers import stack_objects
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Item, Source, existing_folder

__all__ = ["SOURCE", "decode_annotation", "list_items"]


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    annotations: str | Path | None = None,
    image_dir: str | Path | None = None,
) -> list[Item]:
    """List the pictures that have an object; pictures without one are passed over.

    Args:
        dataset_dir: the folder that holds ``annotations/`` and the picture folder.
        seed: without effect.
        problems: takes missing pictures, and annotations that name an unknown picture or have no outline.
        annotations: the JSON file, where there are several: a path, or a name in ``annotations/``.
        image_dir: folder of the pictures, absolute or inside ``dataset_dir``. By default the folder named as the JSON
            file ends (``train2017`` for ``instances_train2017.json``), then ``images/`` and that folder in it.

    Raises:
        DataSetError: when the JSON file or the picture folder is not found, or the file is not COCO instances.
        FileNotFoundError: when the folder does not exist.
    """
    root = existing_folder(dataset_dir, "dataset_dir of the COCO data set")
    file = _annotation_file(root, annotations)
    pictures = _picture_folder(root, file, image_dir)
    images, objects = _read(file)
    present = {path.name for path in pictures.iterdir()}
    by_picture: dict[int, list[dict[str, Any]]] = {}
    for entry in objects:
        if entry["image_id"] not in images:
            problems.add(file, f"annotation {entry.get('id')} names an unknown image_id {entry['image_id']}")
        elif not entry.get("segmentation"):
            problems.add(file, f"annotation {entry.get('id')} has no segmentation")
        else:
            kept = {"segmentation": entry["segmentation"], "crowd": bool(entry.get("iscrowd", 0))}
            by_picture.setdefault(entry["image_id"], []).append(kept)
    items: list[Item] = []
    for image_id, picture in sorted(images.items()):
        entries = by_picture.get(image_id, [])
        if all(entry["crowd"] for entry in entries):
            continue
        path = pictures / picture["file_name"]
        if path.name not in present and not path.is_file():
            problems.add(path, f"the picture is missing; {file.name} names it")
            continue
        name = Path(picture["file_name"]).with_suffix("").as_posix()
        size = [int(picture["height"]), int(picture["width"])]
        items.append(picture_item(name, path, {"format": "coco", "size": size, "objects": entries}, "coco"))
    return items


def _annotation_file(root: Path, annotations: str | Path | None) -> Path:
    if annotations is not None:
        for path in (Path(annotations).expanduser(), root / annotations, root / "annotations" / annotations):
            if path.is_file():
                return path
        raise DataSetError(f"annotations {str(annotations)!r} is not a file, nor one in {root / 'annotations'}.")
    found = sorted((root / "annotations").glob("instances_*.json"))
    if len(found) != 1:
        listed = f" ({', '.join(path.name for path in found)}): pass annotations= to choose" if found else ""
        raise DataSetError(f"looked for one annotations/instances_*.json in {root}, found {len(found)}{listed}.")
    return found[0]


def _picture_folder(root: Path, file: Path, image_dir: str | Path | None) -> Path:
    if image_dir is not None:
        return existing_folder(root / Path(image_dir).expanduser(), "image_dir")
    name = file.stem.removeprefix("instances_")
    candidates = [root / name, root / "images" / name, root / "images"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    listed = ", ".join(str(folder) for folder in candidates)
    raise DataSetError(f"no picture folder for {file.name}: looked for {listed}. Pass image_dir=.")


def _read(file: Path) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """Return the pictures by id and all annotations."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {int(picture["id"]): picture for picture in content["images"]}
        for picture in images.values():
            if not {"file_name", "height", "width"} <= picture.keys():
                raise KeyError("file_name, height or width of a picture")
        objects = list(content["annotations"])
        if any("image_id" not in entry for entry in objects):
            raise KeyError("image_id of an annotation")
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataSetError(f"{file} is not a COCO instances file: {reason}.") from error
    return images, objects


def decode_annotation(label: Mapping[str, Any]) -> NDArray[np.int32]:
    """Draw the objects of one picture.

    Args:
        label: ``format``: ``"coco"``; ``size``: [height, width] in pixels; ``objects``: each with a ``segmentation``
            (polygons, RLE or compressed RLE) and ``crowd``.

    Returns:
        [L, H, W] int32: object n of the list has number n, from 1. Each object goes to the first layer where it meets
        no other, so there are as many layers as needed. Crowd regions outside all objects are -1, ignore, in all
        layers.
    """
    from pycocotools import mask as coco_mask

    height, width = label["size"]
    crowd = np.zeros((height, width), dtype=bool)
    masks, numbers = [], []
    for number, entry in enumerate(label["objects"], start=1):
        outline = entry["segmentation"]
        if isinstance(outline, list):
            outline = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
        elif isinstance(outline["counts"], list):
            outline = coco_mask.frPyObjects(outline, height, width)
        region = coco_mask.decode(outline).astype(bool)
        if region.shape != (height, width):
            raise ValueError(
                f"object {number} has a mask of size {list(region.shape)}, the picture is {height}×{width}."
            )
        if entry["crowd"]:
            crowd |= region
            continue
        masks.append(region)
        numbers.append(number)
    layers = stack_objects(masks, (height, width), numbers)
    layers[:, crowd & ~layers.any(axis=0)] = -1
    return layers


SOURCE = Source("coco", list_items, title="COCO")
