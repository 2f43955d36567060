"""What the sets of natural pictures share: finding their folder, pairing pictures with masks, lists of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptiveclick_med.data.files import naming
from adaptiveclick_med.data.folder_layout import find_pairs
from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Item, existing_folder
from adaptiveclick_med.data.splits import SECTIONS

__all__ = [
    "ListedPair",
    "data_set_folder",
    "list_picture_pairs",
    "listed_pairs",
    "picture_item",
    "read_names",
    "section_lists",
]


@dataclass(frozen=True)
class ListedPair:
    """A picture that a published list names, and its label.

    Args:
        section: ``"training"`` or ``"validation"``.
        name: as listed.
        image: file of the picture.
        label: file of the label.
    """

    section: str
    name: str
    image: Path
    label: Path


def data_set_folder(
    dataset_dir: str | Path | None, title: str, needed: Sequence[str], inside: Sequence[str] = ()
) -> Path:
    """Return the folder of a data set: the one given, or one of a known name in it.

    Args:
        dataset_dir: the folder that a user names.
        title: name of the data set, for messages.
        needed: the folders that it must hold.
        inside: where else it may be, as paths inside ``dataset_dir``, in this order; upper and lower case are the same.

    Raises:
        ValueError: when ``dataset_dir`` is ``None``.
        DataSetError: when none of these folders holds what is needed.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    root = existing_folder(dataset_dir, f"dataset_dir of the {title} data set")
    candidates = [root, *(folder for path in inside for folder in _inside(root, path))]
    for folder in candidates:
        if all((folder / name).is_dir() for name in needed):
            return folder
    listed = " and ".join(f"{name}/" for name in needed)
    places = "".join(f", {path}/" for path in inside)
    raise DataSetError(
        f"{root} is not the folder of {title}: looked for {listed} in it{' and in' if inside else ''}{places[1:]}."
    )


def _inside(root: Path, path: str) -> list[Path]:
    """Return the folders of a path inside ``root``, in any case."""
    folders = [root]
    for part in Path(path).parts:
        folders = [
            child
            for folder in folders
            for child in sorted(folder.iterdir())
            if child.name.lower() == part.lower() and child.is_dir()
        ]
    return folders


def list_picture_pairs(
    dataset_dir: str | Path | None,
    problems: Problems,
    *,
    source: str,
    title: str,
    images: str,
    masks: str,
    label_type: str,
) -> list[Item]:
    """List a data set with one folder of pictures and one of masks, in the order of their names; no file is opened.

    Args:
        dataset_dir: the folder that holds both, or its parent, where it is named as the data set.
        problems: takes pictures without a mask, masks without a picture, and names that two files share.
        source: name of the source.
        title: name of the data set as published, and of its folder.
        images: the folder of the pictures.
        masks: the folder of the masks.
        label_type: what mask values mean, see :data:`adaptiveclick_med.data.labels.LABEL_TYPES`.

    Raises:
        DataSetError: when a folder is missing or holds no picture.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    folder = data_set_folder(dataset_dir, title, (images, masks), (title,))
    return [
        picture_item(pair.name, pair.image, pair.label, source, {"label_type": label_type})
        for pair in find_pairs(folder, images, masks, problems)
    ]


def section_lists(folder: Path, section: str, problems: Problems) -> dict[str, list[str]]:
    """Read the published lists of names, ``train.txt`` and ``val.txt``, that a section needs.

    Args:
        folder: the folder of the lists.
        section: ``"training"``, ``"validation"`` or ``"all"``: those that exist.
        problems: takes names that come again, in one list or in both.

    Returns:
        names by section, in the order of the lists, each once.

    Raises:
        ValueError: when ``section`` is unknown.
        DataSetError: when the list that is needed does not exist or is empty, or neither exists.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    files = {"training": folder / "train.txt", "validation": folder / "val.txt"}
    if section != "all":
        files = {section: files[section]}
        if not files[section].is_file():
            raise DataSetError(f"the {section} section needs the list {files[section]}, which does not exist.")
    files = {name: file for name, file in files.items() if file.is_file()}
    if not files:
        raise DataSetError(f"there is neither train.txt nor val.txt in {folder}.")
    lists: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, file in files.items():
        lines = read_names(file)
        if not lines:
            raise DataSetError(f"the list {file} is empty.")
        lists[name] = []
        for line in lines:
            if line in seen:
                problems.add(file, f"the name {line} is listed before")
            else:
                seen.add(line)
                lists[name].append(line)
    return lists


def read_names(file: Path) -> list[str]:
    """Return the names of a list, one a line, without empty lines.

    Raises:
        UnreadableFileError: when the file cannot be read or is no text.
    """
    with naming(file):
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def listed_pairs(
    lists: Mapping[str, Sequence[str]], images: Path, labels: Path, label_suffix: str, problems: Problems
) -> list[ListedPair]:
    """Return the listed pictures whose two files exist, in the order of the lists; no file is opened.

    Args:
        lists: names by section.
        images: folder of the pictures, ``NAME.jpg``.
        labels: folder of the labels.
        label_suffix: suffix of a label, such as ``".png"``.
        problems: takes files that are missing.
    """
    there = {folder: {path.name for path in folder.iterdir()} for folder in (images, labels)}
    found = []
    for section, names in lists.items():
        for name in names:
            pair = ListedPair(section, name, images / f"{name}.jpg", labels / f"{name}{label_suffix}")
            missing = [path for path in (pair.image, pair.label) if path.name not in there[path.parent]]
            for path in missing:
                problems.add(path, f"the file is missing; the list of the {section} section names it")
            if not missing:
                found.append(pair)
    return found


def picture_item(
    name: str,
    image: Path,
    label: Path | Mapping[str, Any],
    source: str,
    reader: Mapping[str, Any] | None = None,
    *,
    group: str | None = None,
) -> Item:
    """Return the item of one picture, which is its own group unless told otherwise."""
    return {
        "image": str(image),
        "label": str(label) if isinstance(label, Path) else dict(label),
        "name": name,
        "group": name if group is None else group,
        "source": source,
        "reader": dict(reader or {}),
    }
