"""BraTS: tumours in brain MR (Menze et al., IEEE TMI 2015; the 2020 edition has 369 cases), as volumes or pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from adaptiveclick_med.data.exported import list_exported
from adaptiveclick_med.data.files import file_stem, file_suffix
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, existing_folder
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, VolumePair, list_volumes

__all__ = ["MODALITIES", "SOURCE", "list_items"]

MODALITIES = ("flair", "t1", "t1ce", "t2")
"""The images of a case; ``t1ce`` is T1 with contrast agent, also called ``t1c``."""

_OBJECTS = {"whole_tumour": "binary", "labels": "labels"}
_OTHER_NAMES = {"t1c": "t1ce", "segm": "seg", "otmulticlass": "seg"}
# BraTS20_Training_001_flair.nii.gz; Flair_subtrMeanDivStd.nii.gz; OTMultiClass.nii.gz
_FILE = re.compile(r"(?:.*_)?(flair|t1|t1ce|t1c|t2|segm?)|(flair|t1|t1c|t2)_subtrmeandivstd|(otmulticlass)")


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    modality: str = "flair",
    objects: str = "whole_tumour",
    labels: Sequence[int] | None = None,
    plane: str = "axial",
    slices: str = "largest",
    every: int = 1,
    min_area: int = 20,
) -> list[Item]:
    """List slices of the cases, by default of each case the axial Flair slice in which the tumour is largest.

    The list of slices that the paper used is not published.

    Args:
        dataset_dir: a folder that holds, itself or one level below, case folders: of 2020
            (``CASE/*_flair.nii.gz``, ``_t1``, ``_t1ce``, ``_t2``, ``_seg``; also ``.nii``) or of 2013 and 2015
            (``CASE/Flair_subtrMeanDivStd.nii.gz``, ``T1_``, ``T1c_``, ``T2_``, ``OTMultiClass.nii.gz``). Or a folder
            that holds exported slices, ``image/*.png`` and ``annotation/*.png``, to which only ``objects`` and
            ``labels`` apply.
        seed: without effect.
        problems: takes cases without the label or the modality, and files that cannot be used.
        modality: one of :data:`MODALITIES`.
        objects: ``"whole_tumour"``: one object of all labels. ``"labels"``: one object for each label.
        labels: label values that count, by default all.
        plane: see :class:`adaptiveclick_med.data.volumes.SliceRule`.
        slices: see there.
        every: see there.
        min_area: see there.

    Raises:
        ValueError: when an option is unknown or out of range.
        DataSetError: when neither a case nor exported slices are found.
        FileNotFoundError: when the folder does not exist.
    """
    wanted = _OTHER_NAMES.get(str(modality).lower(), str(modality).lower())
    if wanted not in MODALITIES:
        raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}.")
    if objects not in _OBJECTS:
        raise ValueError(f"objects must be one of {', '.join(_OBJECTS)}, got {objects!r}.")
    rule, meaning = SliceRule(plane, slices, every, min_area), LabelMeaning(_OBJECTS[objects], None, labels)
    root = existing_folder(dataset_dir, "dataset_dir of the BraTS data set")
    if (root / "image").is_dir() and (root / "annotation").is_dir():
        return list_exported(root / "image", root / "annotation", meaning, "brats", problems)
    pairs = _pairs(root, wanted, problems)
    return list_volumes(pairs, rule, meaning, "brats", problems)


def _pairs(root: Path, modality: str, problems: Problems) -> list[VolumePair]:
    """Return the cases that have the label and the modality."""
    cases = _cases(root)
    if not cases:
        raise DataSetError(
            f"{root} is not a BraTS folder: looked there and one level below for case folders with files such as "
            "*_flair.nii.gz and *_seg.nii.gz (or Flair_subtrMeanDivStd.nii.gz and OTMultiClass.nii.gz), and for image/ "
            "and annotation/."
        )
    pairs: dict[str, VolumePair] = {}
    for folder, files in cases:
        wanted = {kind: files.get(kind, []) for kind in (modality, "seg")}
        absent = [kind for kind, found in wanted.items() if not found]
        several = [path.name for found in wanted.values() for path in found if found[1:]]
        if folder.name in pairs:
            problems.add(folder, f"there is another case of that name: {pairs[folder.name].label.parent}")
        elif absent:
            problems.add(folder, f"the case has no {' and no '.join(map(_expected, absent))}")
        elif several:
            problems.add(folder, f"the case has several files where one is expected: {', '.join(several)}")
        else:
            pairs[folder.name] = VolumePair(folder.name, wanted[modality][0], wanted["seg"][0])
    return list(pairs.values())


def _expected(kind: str) -> str:
    return "label (*_seg.nii.gz or OTMultiClass.nii.gz)" if kind == "seg" else f"{kind} image (*_{kind}.nii.gz)"


def _cases(root: Path) -> list[tuple[Path, dict[str, list[Path]]]]:
    """Return the case folders in ``root`` and one level below, sorted, with their files by modality or ``"seg"``."""
    cases = []
    for folder in _folders(root):
        files = _case_files(folder)
        if files:
            cases.append((folder, files))
        else:
            cases += [(below, found) for below in _folders(folder) if (found := _case_files(below))]
    return sorted(cases, key=lambda case: case[0].name)


def _folders(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]


def _case_files(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or file_suffix(path) not in (".nii", ".nii.gz") or not path.is_file():
            continue
        match = _FILE.fullmatch(file_stem(path).lower())
        if match:
            kind = next(group for group in match.groups() if group)
            files.setdefault(_OTHER_NAMES.get(kind, kind), []).append(path)
    return files


SOURCE = Source(
    "brats",
    list_items,
    benchmark=Benchmark(
        min_area=1,
        images={"all": 369},
        objects={"all": 369},
        unit="case",
        reference="BraTS 2020, training data",
    ),
    title="BraTS",
)
