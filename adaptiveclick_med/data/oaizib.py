"""OAI-ZIB: knee MR with bones and cartilage (Ambellan et al., Medical Image Analysis 2019), as volumes or pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from adaptiveclick_med.data.exported import list_exported
from adaptiveclick_med.data.files import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from adaptiveclick_med.data.folder_layout import IMAGE_FOLDERS, LABEL_FOLDERS
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, VolumePair, list_volumes

__all__ = ["CARTILAGES", "SOURCE", "declared", "list_items"]

CARTILAGES = (2, 4)
"""Label values of the femoral and the tibial cartilage; 1 and 3 are the bones."""

_OBJECTS = {"labels": "labels", "one": "binary"}
_LABEL_FOLDERS = ("segmentation_masks", *LABEL_FOLDERS)
_WHAT = "dataset_dir of the OAI-ZIB data set"


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    objects: str = "labels",
    labels: Sequence[int] | None = CARTILAGES,
    plane: str = "sagittal",
    slices: str = "largest",
    every: int = 1,
    min_area: int = 20,
    affine_tolerance: float = 0.1,
) -> list[Item]:
    """List slices, by default of each volume the sagittal one in which the cartilages are largest.

    The list of 150 slices that the paper used is not published.

    Args:
        dataset_dir: a folder with volumes or with exported slices. Volumes:
            ``segmentation_masks/CASE.segmentation_masks.mhd`` and ``images/CASE.mhd`` (other volume formats likewise),
            or a folder ``images/CASE/`` with one DICOM series in it or below it. ``CASE`` is a file name up to its
            first dot; folders may also be named as in :mod:`adaptiveclick_med.data.folder_layout`. Exported slices:
            ``image/*.png`` and ``annotations/*.png``, also in ``test/``; each value above 0 is an object there, and of
            the options only ``objects`` applies.
        seed: without effect.
        problems: takes cases without a label or without one image, and files that cannot be used.
        objects: ``"labels"``: one object for each label. ``"one"``: one object of all.
        labels: label values of the volumes that count: 1 femur, 2 its cartilage, 3 tibia, 4 its cartilage; ``None``:
            all.
        plane: see :class:`adaptiveclick_med.data.volumes.SliceRule`.
        slices: see there.
        every: see there.
        min_area: see there.
        affine_tolerance: see :func:`adaptiveclick_med.data.volumes.scan_volume`.

    Raises:
        ValueError: when an option is unknown or out of range.
        DataSetError: when neither volumes nor exported slices are found.
        FileNotFoundError: when the folder does not exist.
    """
    if objects not in _OBJECTS:
        raise ValueError(f"objects must be one of {', '.join(_OBJECTS)}, got {objects!r}.")
    rule, meaning = SliceRule(plane, slices, every, min_area), LabelMeaning(_OBJECTS[objects], None, labels)
    root = existing_folder(dataset_dir, _WHAT)
    exported = _exported(root)
    if exported:
        each = LabelMeaning("instances" if objects == "labels" else "binary")
        return list_exported(exported / "image", exported / "annotations", each, "oaizib", problems)
    pairs = _pairs(root, problems)
    return list_volumes(pairs, rule, meaning, "oaizib", problems, affine_tolerance=affine_tolerance)


def declared(dataset_dir: str | Path | None) -> tuple[Benchmark, list[Path]]:
    """Return how much a copy should hold: the 150 exported slices of the benchmark, or the 507 volumes.

    Raises:
        FileNotFoundError: when the folder does not exist.
    """
    if _exported(existing_folder(dataset_dir, _WHAT)):
        return SOURCE.benchmark, []
    return Benchmark(min_area=1, images={"all": 507}, unit="volume", reference="Ambellan et al., 2019"), []


def _exported(root: Path) -> Path | None:
    """Return the folder that holds ``image/`` and ``annotations/`` with pictures."""
    for folder in (root / "test", root):
        annotations = folder / "annotations"
        found = annotations.iterdir() if (folder / "image").is_dir() and annotations.is_dir() else ()
        if any(file_suffix(path) in PICTURE_SUFFIXES for path in found):
            return folder
    return None


def _pairs(root: Path, problems: Problems) -> list[VolumePair]:
    """Return the cases that have one label and one image."""
    images = _by_case(_folder(root, IMAGE_FOLDERS), folders=True)
    labels = _by_case(_folder(root, _LABEL_FOLDERS), folders=False)
    pairs = []
    for case in sorted(images.keys() | labels.keys()):
        found = [*images.get(case, []), *labels.get(case, [])]
        if len(images.get(case, [])) != 1 or len(labels.get(case, [])) != 1:
            counts = f"{len(images.get(case, []))} images and {len(labels.get(case, []))} labels"
            listed = ", ".join(path.name for path in found)
            problems.add(found[0], f"case {case} has {counts}, one of each is expected ({listed})")
            continue
        image, label = found
        try:
            pairs.append(VolumePair(case, _series(image) if image.is_dir() else image, label))
        except ValueError as error:
            problems.add_error(image, error)
    return pairs


def _folder(root: Path, names: Sequence[str]) -> Path:
    """Return the first folder in ``root`` that has one of the names, in any case."""
    found = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    for name in names:
        if name in found:
            return found[name]
    raise DataSetError(
        f"{root} is not an OAI-ZIB folder: looked for segmentation_masks/ and images/, and for image/ and annotations/ "
        "with pictures, there and in test/."
    )


def _by_case(folder: Path, *, folders: bool) -> dict[str, list[Path]]:
    """Return volumes, and folders where asked for, by case: the name up to the first dot."""
    cases: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        usable = folders if path.is_dir() else file_suffix(path) in VOLUME_SUFFIXES
        if usable and not path.name.startswith("."):
            cases.setdefault(path.name.split(".")[0], []).append(path)
    return cases


def _series(folder: Path) -> Path:
    """Return the only folder that holds files: ``folder`` itself, or one below it.

    Raises:
        ValueError: when there is none, or more than one.
    """
    found = [Path(below) for below, _, names in os.walk(folder) if any(not name.startswith(".") for name in names)]
    if len(found) != 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in sorted(found))
        raise ValueError(f"one folder with a DICOM series is expected in it, found {len(found)}: {listed or 'none'}")
    return found[0]


SOURCE = Source(
    "oaizib",
    list_items,
    benchmark=Benchmark(
        min_area=1,
        images={"all": 150},
        objects={"all": 300},
        reference="150 slices with 300 objects, AdaptiveClick (Lin et al., 2024), Sec. IV-A",
    ),
    title="OAI-ZIB",
)
