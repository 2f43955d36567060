"""Data sets to evaluate: what is filled in, and YAML files of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptiveclick_med.evaluation import DataSetChoice, read_choices


@pytest.mark.parametrize(
    ("name", "section", "min_area", "crop_size", "title"),
    [
        ("GrabCut", "all", 1, None, "GrabCut"),
        ("davis", "all", 1, 672, "DAVIS"),
        ("SBD", "validation", 1, None, "SBD"),
        ("Pascal VOC", "validation", 1, None, "Pascal VOC"),
        ("BraTS", "all", 1, None, "BraTS"),
        ("folder", "all", 20, None, "folder"),
    ],
)
def test_what_is_left_open_is_the_papers_way(
    name: str, section: str, min_area: int, crop_size: int | None, title: str
) -> None:
    choice = DataSetChoice(name).complete()
    assert (choice.section, choice.min_area, choice.crop_size, choice.title) == (section, min_area, crop_size, title)
    own = DataSetChoice(name, section="training", min_area=7, crop_size=100, name="mine").complete()
    assert (own.section, own.min_area, own.crop_size, own.title) == ("training", 7, 100, "mine")


def test_errors() -> None:
    with pytest.raises(ValueError, match="unknown dataset 'nothing'"):
        DataSetChoice("nothing")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_clicks": 0}, "max_clicks must be a whole number of at least 1, got 0"),
        ({"max_clicks": "20"}, "max_clicks must be a whole number of at least 1, got '20'"),
        ({"max_samples": 0}, "max_samples must be a whole number of at least 1, got 0"),
        ({"min_area": 1.5}, "min_area must be a whole number of at least 0, got 1.5"),
        ({"val_fraction": 1.0}, "val_fraction must be above 0 and below 1, got 1.0"),
        ({"section": "test"}, "section must be one of training, validation, all, got 'test'"),
        ({"dataset_dir": 3}, "dataset_dir must be a folder, got 3"),
        ({"name": "../other"}, "name must be the name of a folder, without / and"),
        ({"name": ".."}, "name must be the name of a folder"),
        ({"options": ["every"]}, "options must be a dictionary"),
        ({"options": {"evry": 2}}, "unknown option evry for dataset 'folder'; its options are: image_dir, "),
        ({"intensity_window": 5}, "intensity_window cannot be 5: "),
        ({"channels": "red"}, "channels must be whole numbers, got 'red'"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSetChoice("folder", **values)


def test_as_dict_is_plain() -> None:
    values = DataSetChoice("folder", options={"image_dir": Path("a/b"), "labels": (1, 2)}).as_dict()
    assert values["options"] == {"image_dir": "a/b", "labels": [1, 2]}


def test_read_choices(tmp_path: Path) -> None:
    file = tmp_path / "sets.yaml"
    file.write_text(
        "datasets:\n  - dataset: GrabCut\n    dataset_dir: data/GrabCut\n"
        "  - {dataset: msd, dataset_dir: d, name: hippocampus, options: {every: 2}, max_samples: 5}\n"
    )
    first, second = read_choices(file)
    assert (first.name, first.dataset_dir, first.min_area) == ("grabcut", "data/GrabCut", 1)
    assert (second.name, second.options, second.max_samples) == ("hippocampus", {"every": 2}, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: []", "must hold datasets: a list of at least one"),
        ("- GrabCut", "must hold datasets"),
        ("datasets: [GrabCut]", "data set 1 must be a dictionary with dataset, got 'GrabCut'"),
        ("datasets: [{dataset: folder, folder: x}]", "data set 1 has unknown keys folder; valid ones are dataset, "),
        ("datasets: [{dataset: folder}, {dataset: nothing}]", "data set 2: unknown dataset 'nothing'"),
        ("datasets: [{dataset: folder}, {dataset: folder}]", "has folder more than once: give each a name"),
        ("datasets: [", "is no YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sets.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_choices(file)
    assert str(file) in str(error.value)
    with pytest.raises(FileNotFoundError, match="no file of data sets"):
        read_choices(tmp_path / "none.yaml")
