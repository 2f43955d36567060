"""DSB2018: nuclei in microscopy images (Caicedo et al., Nature Methods 2019), one mask file an object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import PICTURE_SUFFIXES, file_suffix, read_picture
from adaptiveclick_med.data.labels import picture_label
from adaptiveclick_med.data.layers import stack_objects
from adaptiveclick_med.data.picture_pairs import picture_item
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder

__all__ = ["SOURCE", "decode_annotation", "list_items"]


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems) -> list[Item]:
    """List the images in the order of their names; a nucleus is one file in ``masks/``.

    Args:
        dataset_dir: the folder that holds ``stage1_train/ID/images/*.png`` and ``masks/*.png``, or ``stage1_train``
            itself.
        seed: without effect.
        problems: takes cases without exactly one image, and cases without a mask.

    Raises:
        DataSetError: when no case is found.
        FileNotFoundError: when the folder does not exist.
    """
    root = existing_folder(dataset_dir, "dataset_dir of the DSB2018 data set")
    cases = root / "stage1_train" if (root / "stage1_train").is_dir() else root
    found = [path for path in sorted(cases.iterdir()) if (path / "images").is_dir()]
    if not found:
        raise DataSetError(f"{root} is not a DSB2018 folder: looked for stage1_train/ID/images there.")
    items: list[Item] = []
    for case in found:
        images, masks = _pictures(case / "images"), _pictures(case / "masks")
        if len(images) != 1:
            problems.add(case / "images", f"one image is expected, found {len(images)}")
        elif not masks:
            problems.add(case / "masks", "there is no mask")
        else:
            label = {"format": "object_masks", "files": [str(path) for path in masks]}
            items.append(picture_item(case.name, images[0], label, "dsb2018"))
    return items


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if file_suffix(path) in PICTURE_SUFFIXES and not path.name.startswith(".")
    )


def decode_annotation(label: Mapping[str, Any]) -> NDArray[np.int32]:
    """Draw the objects of one image.

    Args:
        label: ``files``: one mask a file, an object where it is above 0.

    Returns:
        [L, H, W] int32: the object of file n has number n, from 1; empty masks have none. Objects that meet lie in
        different layers.

    Raises:
        ValueError: when a file cannot be read, or masks differ in size.
    """
    masks: list[NDArray[np.bool_]] = []
    for file in label["files"]:
        mask = picture_label(read_picture(file), "binary") > 0
        if masks and mask.shape != masks[0].shape:
            raise ValueError(f"{file} has size {list(mask.shape)}, the other masks {list(masks[0].shape)}.")
        masks.append(mask)
    return stack_objects(masks, masks[0].shape)


SOURCE = Source(
    "dsb2018",
    list_items,
    benchmark=Benchmark(
        images={"all": 670},
        objects={"all": 29461},
        reference="2018 Data Science Bowl, stage1_train (Broad Bioimage Benchmark Collection BBBC038)",
    ),
    title="DSB2018",
)
