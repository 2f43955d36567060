"""Pascal VOC 2012 (Everingham et al., IJCV 2015): the object segmentations of its segmentation challenge."""

from __future__ import annotations

from pathlib import Path

from adaptiveclick_med.data.picture_pairs import data_set_folder, listed_pairs, picture_item, section_lists
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source

__all__ = ["SOURCE", "list_items"]

_IMAGES, _LABELS = "JPEGImages", "SegmentationObject"


def list_items(dataset_dir: str | Path | None, *, seed: int, problems: Problems, section: str = "all") -> list[Item]:
    """List the pictures in the order of the published lists; files are opened where a sample is loaded.

    Each palette index of a label is one object; 255 counts nowhere.

    Args:
        dataset_dir: the folder that holds ``JPEGImages/*.jpg``, ``SegmentationObject/*.png`` and
            ``ImageSets/Segmentation/``, or one that has it as ``VOC2012/`` or ``VOCdevkit/VOC2012/``.
        seed: without effect.
        problems: takes listed pictures or labels that are missing, and names that are listed again.
        section: ``"training"`` (``train.txt``), ``"validation"`` (``val.txt``) or ``"all"``: those lists that exist.

    Raises:
        ValueError: when ``section`` is unknown.
        DataSetError: when a folder or the list that is needed is missing.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    places = ("VOCdevkit/VOC2012", "VOC2012")
    root = data_set_folder(dataset_dir, "Pascal VOC", (_IMAGES, _LABELS), places)
    lists = section_lists(root / "ImageSets" / "Segmentation", section, problems)
    hints = {"label_type": "instances", "ignore_value": 255}
    return [
        picture_item(pair.name, pair.image, pair.label, "pascal_voc", hints)
        for pair in listed_pairs(lists, root / _IMAGES, root / _LABELS, ".png", problems)
    ]


SOURCE = Source(
    "pascal_voc",
    list_items,
    benchmark=Benchmark(
        section="validation",
        min_area=1,
        images={"training": 1464, "validation": 1449},
        objects={"validation": 3427},
        reference="Everingham et al., The Pascal Visual Object Classes challenge: a retrospective, 2015",
    ),
    title="Pascal VOC",
)
