"""DAVIS: single frames of videos with one object each (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

from pathlib import Path

from adaptiveclick_med.data.picture_pairs import list_picture_pairs
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source

__all__ = ["SOURCE", "list_items"]


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems) -> list[Item]:
    """List the frames in the order of their names; files are opened where a sample is loaded.

    The object is where any colour of the mask is above 0.

    Args:
        dataset_dir: the folder that holds ``img/`` and ``gt/``, or its parent with ``DAVIS/``.
        seed: without effect.
        problems: takes frames without a mask, masks without a frame, and names that two files share.

    Raises:
        DataSetError: when a folder is missing or holds no picture.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    return list_picture_pairs(
        dataset_dir,
        problems,
        source="davis",
        title="DAVIS",
        images="img",
        masks="gt",
        label_type="binary",
    )


SOURCE = Source(
    "davis",
    list_items,
    benchmark=Benchmark(
        min_area=1,
        crop_size=672,
        images={"all": 345},
        objects={"all": 345},
        reference="Perazzi et al., A benchmark dataset and evaluation methodology for video object segmentation, 2016;"
        " 345 frames as in the AdaptiveClick paper",
    ),
    title="DAVIS",
)
