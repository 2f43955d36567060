"""Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022): ``imagesTr/``, ``labelsTr/``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adaptiveclick_med.data.folder_layout import find_pairs
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, VolumePair, list_volumes

__all__ = ["SOURCE", "declared", "list_items"]

_OBJECTS = {"labels": "labels", "one": "binary", "components": "components"}
_WHAT = "dataset_dir of the Medical Segmentation Decathlon"


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
    rule, meaning = SliceRule(plane, slices, every, min_area), LabelMeaning(_OBJECTS[objects], None, labels)
    root = existing_folder(dataset_dir, _WHAT)
    for name in ("imagesTr", "labelsTr"):
        if not (root / name).is_dir():
            raise DataSetError(f"{root} is not the folder of a Decathlon task: there is no {name}/ in it.")
    pairs = [
        VolumePair(pair.name, pair.image, pair.label) for pair in find_pairs(root, "imagesTr", "labelsTr", problems)
    ]
    return list_volumes(pairs, rule, meaning, "msd", problems, channel=channel)


def declared(dataset_dir: str | Path | None) -> tuple[Benchmark, list[Path]]:
    """Return what ``dataset.json`` says of a task: ``numTraining`` volumes, and the files that ``training`` names.

    Without that file there is no number and no name.

    Raises:
        DataSetError: when the file is there and cannot be used.
        FileNotFoundError: when the folder does not exist.
    """
    root = existing_folder(dataset_dir, _WHAT)
    file = root / "dataset.json"
    if not file.is_file():
        return SOURCE.benchmark, []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        count = int(content["numTraining"])
        files = [root / entry[key] for entry in content.get("training", []) for key in ("image", "label")]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataSetError(f"{file} does not describe a Decathlon task: {reason}.") from error
    return Benchmark(images={"all": count}, unit="volume", reference="numTraining of dataset.json"), files


SOURCE = Source("msd", list_items, benchmark=Benchmark(unit="volume"), title="Medical Segmentation Decathlon")
