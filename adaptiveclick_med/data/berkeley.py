"""Berkeley: natural pictures with one object each (McGuinness and O'Connor, Pattern Recognition 2010)."""

from __future__ import annotations

from pathlib import Path

from adaptiveclick_med.data.picture_pairs import list_picture_pairs
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source

__all__ = ["SOURCE", "list_items"]


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems) -> list[Item]:
    """List the pictures in the order of their names; files are opened where a sample is loaded.

    A mask is above 128 on the object, 128 where pixels count nowhere, else background.

    Args:
        dataset_dir: the folder that holds ``images/`` and ``masks/``, or its parent with ``Berkeley/``.
        seed: without effect.
        problems: takes pictures without a mask, masks without a picture, and names that two files share.

    Raises:
        DataSetError: when a folder is missing or holds no picture.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    return list_picture_pairs(
        dataset_dir,
        problems,
        source="berkeley",
        title="Berkeley",
        images="images",
        masks="masks",
        label_type="trimap",
    )


SOURCE = Source(
    "berkeley",
    list_items,
    benchmark=Benchmark(
        min_area=1,
        images={"all": 100},
        objects={"all": 100},
        reference="McGuinness and O'Connor, A comparative evaluation of interactive segmentation algorithms, 2010",
    ),
    title="Berkeley",
)
