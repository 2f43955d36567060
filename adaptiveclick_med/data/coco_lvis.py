"""COCO-LVIS: COCO's pictures with the instances of both annotations, as trees of objects and their parts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import naming
from adaptiveclick_med.data.pickles import load_plain_pickle
from adaptiveclick_med.data.picture_pairs import data_set_folder, picture_item
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder
from adaptiveclick_med.data.splits import SECTIONS

__all__ = ["SOURCE", "decode_annotation", "list_items"]

_FOLDERS = {"training": "train", "validation": "val"}
_PLACES = ("COCO_LVIS", "COCO-LVIS", "COCOLVIS")
_HIERARCHY = "hannotation.pickle"


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems, section: str = "all") -> list[Item]:
    """List the pictures in the order of their names. ``hannotation.pickle`` is read, masks where a sample is loaded.

    Ids of the data set start at 0, so the object number is id + 1. An item has, beside the usual keys:

    - ``hierarchy``: int32 [N, 2]: the number of each object, and the number of the object that it is a part of, or 0;
    - ``num_instances``: n; objects of a higher number are "stuff" (sky, grass), which has no hierarchy.

    :class:`adaptiveclick_med.transforms.RandSelectTargetd` takes both.

    Args:
        dataset_dir: the folder that holds ``train/`` and ``val/``, each with ``images/*.jpg``, ``masks/*.pickle`` and
            ``hannotation.pickle``; or its parent.
        seed: without effect.
        problems: takes missing pictures and masks, and entries of ``hannotation.pickle`` that cannot be used.
        section: ``"training"`` (``train/``), ``"validation"`` (``val/``) or ``"all"``: those that exist.

    Raises:
        ValueError: when ``section`` is unknown.
        DataSetError: when a folder is missing, or ``hannotation.pickle`` is no dictionary.
        UnreadableFileError: when ``hannotation.pickle`` is missing, damaged, or holds anything but plain data.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    items: list[Item] = []
    for folder in _section_folders(dataset_dir, section):
        items += _list_section(folder, problems)
    return items


def _section_folders(dataset_dir: str | Path | None, section: str) -> list[Path]:
    """Return the folders of a section."""
    names = list(_FOLDERS.values()) if section == "all" else [_FOLDERS[section]]
    root = existing_folder(dataset_dir, "dataset_dir of the COCO-LVIS data set")
    for name in names:
        with suppress(DataSetError):
            root = data_set_folder(root, "COCO-LVIS", (name,), _PLACES)
            break
    there = [name for name in names if (root / name).is_dir()] or names[:1]
    return [data_set_folder(root, "COCO-LVIS", (f"{name}/images", f"{name}/masks")) / name for name in there]


def _list_section(folder: Path, problems: Problems) -> list[Item]:
    """List ``train/`` or ``val/``."""
    file = folder / _HIERARCHY
    entries = load_plain_pickle(file)
    if not isinstance(entries, Mapping):
        raise DataSetError(
            f"{file} holds a {type(entries).__name__}; a dictionary from picture to hierarchy is expected."
        )
    there = {name: {path.name for path in (folder / name).iterdir()} for name in ("images", "masks")}
    items: list[Item] = []
    for name, entry in sorted((str(key), entry) for key, entry in entries.items()):
        image, masks = folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}.pickle"
        missing = [path for path in (image, masks) if path.name not in there[path.parent.name]]
        for path in missing:
            problems.add(path, f"the file is missing; {file.name} names it")
        try:
            hierarchy, instances = _hierarchy(entry)
        except ValueError as error:
            problems.add(file, f"picture {name}: {error}")
            continue
        if missing:
            continue
        ids = (hierarchy[:, 0] - 1).tolist()
        label = {"format": "coco_lvis", "file": str(masks), "instances": instances, "ids": ids}
        item = picture_item(name, image, label, "coco_lvis")
        items.append({**item, "hierarchy": hierarchy, "num_instances": instances})
    return items


def _hierarchy(entry: Any) -> tuple[NDArray[np.int32], int]:
    """Return (object number, parent's number or 0) of each object, and the number of instances."""
    try:
        nodes, instances = entry["hierarchy"], int(entry["num_instance_masks"])
        parents = {int(key): None if node is None else node["parent"] for key, node in nodes.items()}
        parents = {key: None if parent is None else int(parent) for key, parent in parents.items()}
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"it has no usable hierarchy and num_instance_masks ({type(error).__name__}: {error})"
        ) from error
    for key, parent in parents.items():
        if not 0 <= key < instances:
            raise ValueError(f"object {key} of the hierarchy is outside its {instances} instance masks")
        if parent is not None and parent not in parents:
            raise ValueError(f"object {key} is a part of {parent}, which is not in the hierarchy")
        above = parent
        for _ in parents:
            if above is None:
                break
            above = parents[above]
        if above is not None:
            raise ValueError(f"object {key} is a part of itself")
    pairs = [(key + 1, 0 if parent is None else parent + 1) for key, parent in parents.items()]
    return np.array(pairs, dtype=np.int32).reshape(-1, 2), instances


def decode_annotation(label: Mapping[str, Any]) -> NDArray[np.int32]:
    """Draw the objects of one picture.

    Args:
        label: ``file``: a pickle of (layers, mapping): PNG-encoded grey pictures as uint8 arrays, and for each id, from
            0, its (layer, value), as a dictionary or a list; ``ids``: the ids that must be there.

    Returns:
        [L, H, W] int32, the layers of the file: object number id + 1, 0 background.

    Raises:
        UnreadableFileError: when the file cannot be read; when an id is missing, its (layer, value) is not in the
            layers or belongs to two ids, layers differ in size, or one is no PNG.
    """
    file = label["file"]
    with naming(file):
        content = load_plain_pickle(file)
        if not isinstance(content, tuple | list) or len(content) != 2:
            raise ValueError("it is no pair of layers and mapping")
        encoded, mapping = content
        places = _places(mapping)
        missing = sorted(set(label.get("ids", ())) - places.keys())
        if missing:
            raise ValueError(f"object {missing[0]} of the hierarchy has no mask: it is not in the mapping")
        layers = [_decoded(layer, index) for index, layer in enumerate(encoded)]
        return _drawn(layers, places)


def _places(mapping: Any) -> dict[int, tuple[int, int]]:
    """Return the layer and value of each id."""
    try:
        pairs = mapping.items() if isinstance(mapping, Mapping) else enumerate(mapping)
        return {int(key): (int(layer), int(value)) for key, (layer, value) in pairs}
    except (TypeError, ValueError) as error:
        raise ValueError(f"its mapping is no dictionary or list of (layer, value): {error}") from error


def _decoded(layer: Any, index: int) -> NDArray[Any]:
    """Return the values of one PNG-encoded layer."""
    from PIL import Image

    try:
        if not isinstance(layer, np.ndarray) or layer.dtype != np.uint8:
            raise TypeError("a uint8 array of an encoded PNG is expected")
        with Image.open(io.BytesIO(layer.tobytes()), formats=["PNG"]) as picture:
            values = np.array(picture)
    except Exception as error:
        raise ValueError(f"layer {index} cannot be decoded: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise ValueError(f"layer {index} is no grey picture")
    return values


def _drawn(layers: list[NDArray[Any]], places: Mapping[int, tuple[int, int]]) -> NDArray[np.int32]:
    """Give each object its number in the layer where it lies."""
    if not layers:
        raise ValueError("it has no layer")
    for index, layer in enumerate(layers):
        if layer.shape != layers[0].shape:
            raise ValueError(f"layer {index} has size {list(layer.shape)}, layer 0 {list(layers[0].shape)}")
    numbers = [np.zeros(int(layer.max(initial=0)) + 1, dtype=np.int32) for layer in layers]
    present = [set(np.unique(layer).tolist()) for layer in layers]
    for key, (index, value) in places.items():
        if not 0 <= index < len(layers) or value < 1 or value not in present[index]:
            raise ValueError(f"object {key} is value {value} of layer {index}, which is not there")
        if key < 0 or numbers[index][value]:
            raise ValueError(f"value {value} of layer {index} belongs to two objects, or to an id below 0")
        numbers[index][value] = key + 1
    return np.stack([table[layer] for table, layer in zip(numbers, layers, strict=True)])


SOURCE = Source(
    "coco_lvis",
    list_items,
    benchmark=Benchmark(
        section="validation",
        min_area=1,
        reference="Sofiiuk et al., Reviving iterative training with mask guidance for interactive segmentation, 2021",
    ),
    title="COCO-LVIS",
)
