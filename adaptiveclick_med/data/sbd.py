"""SBD, the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011): natural pictures with object instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import naming
from adaptiveclick_med.data.pickles import load_plain_pickle
from adaptiveclick_med.data.picture_pairs import (
    data_set_folder,
    listed_pairs,
    picture_item,
    read_names,
    section_lists,
)
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source

__all__ = ["SOURCE", "decode_annotation", "list_items"]

_PLACES = ("dataset", "benchmark_RELEASE/dataset", "benchmark/benchmark_RELEASE/dataset", "SBD")
_POWER = 1.25
_SHOWN = 5
_NUMBERS = (int, float, np.integer, np.floating)


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    section: str = "all",
    sampling_scores: str | Path | None = None,
) -> list[Item]:
    """List the pictures in the order of the published lists; files are opened where a sample is loaded.

    Args:
        dataset_dir: the folder that holds ``img/*.jpg``, ``inst/*.mat``, ``train.txt`` and ``val.txt``, or one that has
            it inside as the original download does (``benchmark_RELEASE/dataset/``).
        seed: without effect.
        problems: takes listed pictures or annotations that are missing, and names that are listed again.
        section: ``"training"`` (``train.txt``), ``"validation"`` (``val.txt``) or ``"all"``: those lists that exist.
        sampling_scores: file with the published difficulty s of each training picture, in [0, 1], as a path or as a
            name in the folder of the data set. JSON, or a pickle of plain data: a dictionary from picture name to s, or
            a list of sequences that begin with the place in ``train.txt``, from 0, (or the name) and end with s.
            Training items then get the ``weight`` (1 - s) ** 1.25. Without effect on validation.

    Raises:
        ValueError: when ``section`` is unknown; when the file of scores is not as above, a score is outside [0, 1], or
            a picture has none.
        DataSetError: when a folder or the list that is needed is missing.
        FileNotFoundError: when ``dataset_dir`` does not exist.
    """
    root = data_set_folder(dataset_dir, "SBD", ("img", "inst"), _PLACES)
    lists = section_lists(root, section, problems)
    weights: dict[str, float] = {}
    if sampling_scores is not None and "training" in lists:
        file = Path(sampling_scores).expanduser()
        weights = _weights(file if file.is_file() else root / file, read_names(root / "train.txt"))
    items: list[Item] = []
    for pair in listed_pairs(lists, root / "img", root / "inst", ".mat", problems):
        item = picture_item(pair.name, pair.image, {"format": "sbd", "file": str(pair.label)}, "sbd")
        if weights and pair.section == "training":
            item["weight"] = weights[pair.name]
        items.append(item)
    return items


def _weights(file: Path, names: Sequence[str]) -> dict[str, float]:
    """Return how often training draws each picture, in proportion."""
    scores = _scores(file, names)
    missing = [name for name in names if name not in scores]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ValueError(f"sampling_scores {file} has no score of {', '.join(missing[:_SHOWN])}{more}.")
    return {name: (1 - scores[name]) ** _POWER for name in names}


def _scores(file: Path, names: Sequence[str]) -> dict[str, float]:
    """Read the scores by name."""
    content = _read_scores(file)
    if isinstance(content, Mapping):
        entries = list(content.items())
    elif isinstance(content, list | tuple | np.ndarray):
        rows = [entry if isinstance(entry, list | tuple | np.ndarray) else () for entry in content]
        if any(len(row) < 2 for row in rows):
            raise ValueError(
                f"sampling_scores {file}: each entry of a list must be a sequence of name (or place) and s."
            )
        entries = [(row[0], row[-1]) for row in rows]
    else:
        raise ValueError(
            f"sampling_scores {file} holds a {type(content).__name__}; a dictionary or a list is expected."
        )
    scores: dict[str, float] = {}
    for key, value in entries:
        name = _name(key, names, file)
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 <= value <= 1:
            raise ValueError(f"sampling_scores {file}: the score of {name} must be between 0 and 1, got {value!r}.")
        if name in scores:
            raise ValueError(f"sampling_scores {file} has two scores of {name}.")
        scores[name] = float(value)
    return scores


def _read_scores(file: Path) -> Any:
    if file.suffix.lower() != ".json":
        return load_plain_pickle(file)
    with naming(file):
        return json.loads(file.read_text(encoding="utf-8"))


def _name(key: Any, names: Sequence[str], file: Path) -> str:
    """Return the name of a picture by its name or its place in the list."""
    if isinstance(key, str):
        return key.removesuffix(".jpg")
    if isinstance(key, _NUMBERS) and not isinstance(key, bool) and float(key).is_integer():
        if 0 <= key < len(names):
            return names[int(key)]
        raise ValueError(f"sampling_scores {file}: place {key} is outside the {len(names)} pictures of train.txt.")
    raise ValueError(f"sampling_scores {file}: a name or a place in train.txt is expected, got {key!r}.")


def decode_annotation(label: Mapping[str, Any]) -> NDArray[np.int32]:
    """Read the objects of one picture.

    Args:
        label: ``file``: a MATLAB file whose ``GTinst`` has the instance numbers as its first field.

    Returns:
        [1, H, W] int32: instance numbers above 0, 0 background.

    Raises:
        UnreadableFileError: when the file is missing, is damaged, or holds no such picture.
    """
    from scipy.io import loadmat

    file = label["file"]
    with naming(file):
        content = loadmat(file, variable_names=["GTinst"])
        try:
            instances = np.asarray(content["GTinst"][0][0][0])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("it holds no GTinst with a segmentation") from error
        if instances.ndim != 2 or instances.dtype.kind not in "iu" or instances.min(initial=0) < 0:
            raise ValueError(f"GTinst is no picture of instance numbers: {instances.dtype}, {list(instances.shape)}")
        return instances.astype(np.int32)[None]


SOURCE = Source(
    "sbd",
    list_items,
    benchmark=Benchmark(
        section="validation",
        min_area=1,
        images={"training": 8498, "validation": 2857},
        objects={"validation": 6671},
        reference="Hariharan et al., Semantic contours from inverse detectors, 2011",
    ),
    title="SBD",
)
