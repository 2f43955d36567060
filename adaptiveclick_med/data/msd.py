"""Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022): ``imagesTr/``, ``labelsTr/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptiveclick_med.data.folder_layout import find_pairs
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Item, Source, existing_folder
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, VolumePair, list_volumes

__all__ = ["SOURCE", "list_items"]

_OBJECTS = {"labels": "labels", "one": "binary", "components": "components"}


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    objects: str = "labels",
    labels: Sequence[int] | None = None,
    channel: int | None = None,
    plane: str = "axial",
    slices: str = "all",
    every: int = 1,
    min_area: int = 20,
) -> list[Item]:
    """List slices of the labelled volumes of one task.

    Args:
        dataset_dir: the folder of the task, with ``imagesTr/`` and ``labelsTr/``.
        seed: without effect.
        problems: takes volumes that cannot be used.
        objects: ``"labels"``: one object for each label. ``"one"``: one object of all. ``"components"``: each
            8-connected part of each label.
        labels: label values that count, by default all.
        channel: which channel (``modality`` of ``dataset.json``) to use of volumes with several.
        plane: see :class:`adaptiveclick_med.data.volumes.SliceRule`.
        slices: see there.
        every: see there.
        min_area: see there.

    Raises:
        ValueError: when an option is unknown or out of range.
        DataSetError: when there is no ``imagesTr`` or ``labelsTr``.
        FileNotFoundError: when the folder does not exist.
    """
    if objects not in _OBJECTS:
        raise ValueError(f"objects must be one of {', '.join(_OBJECTS)}, got {objects!r}.")
    root = existing_folder(dataset_dir, "dataset_dir of the Medical Segmentation Decathlon")
    for name in ("imagesTr", "labelsTr"):
        if not (root / name).is_dir():
            raise DataSetError(f"{root} is not the folder of a Decathlon task: there is no {name}/ in it.")
    pairs = find_pairs(root, "imagesTr", "labelsTr", problems)
    meaning = LabelMeaning(_OBJECTS[objects], None, None if labels is None else tuple(labels))
    return list_volumes(
        [VolumePair(pair.name, pair.image, pair.label) for pair in pairs],
        SliceRule(plane, slices, every, min_area),
        meaning,
        "msd",
        problems,
        channel=channel,
    )


SOURCE = Source("msd", list_items, title="Medical Segmentation Decathlon")
