"""Find and pair the images and labels of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from adaptiveclick_med.data.files import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_stem, file_suffix
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import existing_folder

__all__ = ["IMAGE_FOLDERS", "LABEL_FOLDERS", "Pair", "find_pairs"]

IMAGE_FOLDERS = ("images", "image", "imagestr", "imgs", "img", "raw", "scans", "volumes")
"""Names of image folders, in any case."""
LABEL_FOLDERS = (
    *("labels", "label", "labelstr", "masks", "mask", "annotations", "annotation"),
    *("segmentations", "segmentation", "segs", "seg", "gt"),
)
"""Names of label folders, in any case."""

_LABEL_TAG = re.compile(r"(?:^|[_\-. ])(?:labels?|seg|segmentation|masks?|gt)$", re.IGNORECASE)
_IMAGE_TAG = re.compile(r"(?:^|[_\-. ])(?:images?|img)$|[_\-. ]0000$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """An image and its label.

    Args:
        name: what both file names share, with the sub-folder, with ``/`` between; unique in its data set.
        image: file of the image.
        label: file of the label.
    """

    name: str
    image: Path
    label: Path


def find_pairs(
    dataset_dir: str | Path | None,
    image_dir: str | Path | None,
    label_dir: str | Path | None,
    problems: Problems,
) -> list[Pair]:
    """Pair images and labels by file name.

    In order: the folders ``image_dir`` and ``label_dir`` where given; else one folder named as in :data:`IMAGE_FOLDERS`
    and one named as in :data:`LABEL_FOLDERS`; else files side by side, told apart by the end of their names
    (``case_image.nii.gz`` or ``case.nii.gz`` with ``case_label.nii.gz``, ``_seg``, ``_mask`` or ``_gt``), also in
    sub-folders (``case1/image.nii.gz``, ``case1/label.nii.gz``). In two folders, names must be equal up to such an
    ending and the suffix. Sub-folders are searched; hidden files and those that start with ``._`` are passed over.

    Args:
        dataset_dir: the folder of the data set.
        image_dir: folder of the images, absolute or inside ``dataset_dir``.
        label_dir: folder of the labels, likewise.
        problems: takes images without a label, labels without an image, and names that are not unique.

    Returns:
        the pairs, sorted by name.

    Raises:
        ValueError: when only one of ``image_dir`` and ``label_dir`` is given.
        DataSetError: when no image is found (the message says what was looked for), or two folders could be meant.
        FileNotFoundError: when a folder does not exist.
    """
    if (image_dir is None) != (label_dir is None):
        raise ValueError("image_dir and label_dir must be given together.")
    if image_dir is not None and label_dir is not None:
        base = Path() if dataset_dir is None else Path(dataset_dir).expanduser()
        images_folder = existing_folder(base / Path(image_dir).expanduser(), "image_dir")
        labels_folder = existing_folder(base / Path(label_dir).expanduser(), "label_dir")
        return _pair_folders(images_folder, labels_folder, problems)
    root = existing_folder(dataset_dir, "dataset_dir of the folder data set")
    images, labels = _named_folder(root, IMAGE_FOLDERS, "image_dir"), _named_folder(root, LABEL_FOLDERS, "label_dir")
    if images and labels:
        return _pair_folders(images, labels, problems)
    return _pair_siblings(root, problems)


def _named_folder(root: Path, names: Iterable[str], argument: str) -> Path | None:
    found = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name.lower() in names]
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise DataSetError(f"{root} has several folders that could be meant ({listed}): pass image_dir and label_dir.")
    return found[0] if found else None


def _files(root: Path) -> list[Path]:
    """Return all pictures and volumes below ``root``, sorted, without hidden ones."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if not name.startswith(".") and file_suffix(name) in (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES):
                found.append(Path(folder) / name)
    return found


def _nothing_found(root: Path, looked_for: str) -> DataSetError:
    suffixes = ", ".join((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))
    return DataSetError(f"no image found in {root}: looked for {looked_for}, with a suffix out of {suffixes}.")


def _stem(path: Path, root: Path) -> str:
    return (path.parent.relative_to(root) / file_stem(path)).as_posix()


def _pair_folders(images_folder: Path, labels_folder: Path, problems: Problems) -> list[Pair]:
    images = _unique(((_stem(path, images_folder), path) for path in _files(images_folder)), "images", problems)
    labels = _unique(((_stem(path, labels_folder), path) for path in _files(labels_folder)), "labels", problems)
    if not images:
        raise _nothing_found(images_folder, "images")
    if not labels:
        raise _nothing_found(labels_folder, "labels")
    pairs = [Pair(name, images.pop(name), labels.pop(name)) for name in sorted(images.keys() & labels.keys())]
    image_rest = _unique(((_IMAGE_TAG.sub("", name), path) for name, path in images.items()), "images", problems)
    label_rest = _unique(((_LABEL_TAG.sub("", name), path) for name, path in labels.items()), "labels", problems)
    return _paired(pairs, image_rest, label_rest, problems)


def _pair_siblings(root: Path, problems: Problems) -> list[Pair]:
    images, labels = [], []
    for path in _files(root):
        stem = _stem(path, root)
        if _LABEL_TAG.search(Path(stem).name):
            labels.append((_base(stem, _LABEL_TAG), path))
        else:
            images.append((_base(stem, _IMAGE_TAG), path))
    if not images or not labels:
        looked_for = (
            f"a folder of images ({', '.join(IMAGE_FOLDERS)}) beside a folder of labels ({', '.join(LABEL_FOLDERS)}), "
            "and for pairs such as case_image.nii.gz and case_label.nii.gz (or _seg, _mask, _gt)"
        )
        raise _nothing_found(root, looked_for)
    return _paired([], _unique(images, "images", problems), _unique(labels, "labels", problems), problems)


def _base(stem: str, tag: re.Pattern[str]) -> str:
    """Return the stem without its tag; the sub-folder's name stands for a file that is named by its tag alone."""
    path = Path(stem)
    base = tag.sub("", path.name)
    return (path.parent / base).as_posix() if base else path.parent.as_posix()


def _unique(files: Iterable[tuple[str, Path]], what: str, problems: Problems) -> dict[str, Path]:
    """Return the files by name, and note names that two files share."""
    found: dict[str, list[Path]] = {}
    for name, path in files:
        found.setdefault(name, []).append(path)
    for name, paths in found.items():
        if len(paths) > 1:
            listed = ", ".join(path.name for path in paths)
            problems.add(paths[0], f"{len(paths)} {what} share the name {name!r} ({listed})")
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def _paired(pairs: list[Pair], images: dict[str, Path], labels: dict[str, Path], problems: Problems) -> list[Pair]:
    for name in sorted(images.keys() | labels.keys()):
        if name not in labels:
            problems.add(images[name], "the image has no label of the same name")
        elif name not in images:
            problems.add(labels[name], "the label has no image of the same name")
        else:
            pairs.append(Pair(name, images[name], labels[name]))
    return sorted(pairs, key=lambda pair: pair.name)
