"""ssTEM: mitochondria in serial-section electron microscopy of the Drosophila nerve cord (Gerhard et al., 2013)."""

from __future__ import annotations

import re
from pathlib import Path

from adaptiveclick_med.data.files import PICTURE_SUFFIXES, file_stem, file_suffix, picture_size, read_picture
from adaptiveclick_med.data.labels import label_layers, largest_object, picture_label
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder
from adaptiveclick_med.data.splits import contiguous_groups

__all__ = ["SOURCE", "list_items"]

_LABEL_TYPE = "binary_components"


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems) -> list[Item]:
    """List the sections in order. Every 8-connected component of ``mask > 0`` is an object.

    Neighbouring sections are near copies of each other, so the last sections validate and no shuffle is used.

    Args:
        dataset_dir: the folder that holds ``raw/*.tif`` and ``mitochondria/*.png``, or its parent with ``stack1/``.
        seed: without effect.
        problems: takes sections without a mask and the reverse, files that cannot be read, sizes that differ, and
            empty masks.

    Raises:
        DataSetError: when there is no ``raw`` or ``mitochondria`` folder, or no section.
        FileNotFoundError: when the folder does not exist.
    """
    root = existing_folder(dataset_dir, "dataset_dir of the ssTEM data set")
    stack = root if (root / "raw").is_dir() else root / "stack1"
    if not (stack / "raw").is_dir() or not (stack / "mitochondria").is_dir():
        raise DataSetError(f"{root} is not an ssTEM folder: looked for raw/ and mitochondria/ there and in stack1/.")
    raw, masks = _sections(stack / "raw"), _sections(stack / "mitochondria")
    if not raw:
        raise DataSetError(f"no section found in {stack / 'raw'}: looked for pictures such as 00.tif.")
    items: list[Item] = []
    for name in sorted(raw.keys() | masks.keys(), key=_natural):
        if name not in masks or name not in raw:
            problems.add((raw | masks)[name], f"the section has no {'mask' if name in raw else 'picture'}")
            continue
        try:
            mask = picture_label(read_picture(masks[name]), _LABEL_TYPE)
            size = picture_size(raw[name])
            if mask.shape != size:
                raise ValueError(f"the mask has size {list(mask.shape)}, but the picture {list(size)}")
            if not largest_object(label_layers(mask, "binary")):
                raise ValueError("the mask is empty: it has no object")
        except ValueError as error:
            problems.add_error(masks[name], error)
            continue
        items.append(picture_item(name, raw[name], masks[name], "sstem", {"label_type": _LABEL_TYPE}))
    return items


def _sections(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by stem, without hidden files."""
    files = [path for path in folder.iterdir() if file_suffix(path) in PICTURE_SUFFIXES]
    return {file_stem(path): path for path in files if not path.name.startswith(".")}


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which section 10 follows section 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


SOURCE = Source(
    "sstem",
    list_items,
    contiguous_groups,
    benchmark=Benchmark(
        min_area=1,
        images={"all": 20},
        reference="Gerhard et al., Segmented anisotropic ssTEM dataset of neural tissue, figshare 2013, stack 1",
    ),
    title="ssTEM",
)
