from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from adaptiveclick_med.data import DataSetError, Source, get_items, get_source, register_source, registry, source_names
from adaptiveclick_med.data.files import UnreadableFileError
from adaptiveclick_med.data.problems import Problems


def list_numbers(dataset_dir, *, seed, problems, count=4, bad=0):
    for number in range(bad):
        problems.add(f"file{number}", "it is damaged.")
    return [{"name": str(n), "group": str(n), "source": "numbers", "seed": seed} for n in range(count)]


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "_REGISTERED", {})
    register_source(Source("numbers", list_numbers))
    return "Numbers"


def test_names_in_any_case() -> None:
    assert {"coco", "folder", "mixed", "phantoms", "sstem"} <= set(source_names())
    assert get_source("ssTEM").name == "sstem"
    assert get_source("DSB-2018").name == get_source("dsb 2018").name == "dsb2018"
    assert get_source("Decathlon").name == "msd"
    with pytest.raises(ValueError, match=f"unknown dataset 'imagenet'; valid names are {', '.join(source_names())}."):
        get_items("imagenet")


def test_a_source_of_your_own(numbers: str) -> None:
    assert [item["name"] for item in get_items(numbers, count=2, seed=7)] == ["0", "1"]
    assert get_items(numbers, seed=7)[0]["seed"] == 7
    register_source(Source("numbers", list_numbers))
    with pytest.raises(ValueError, match="already"):
        register_source(Source("coco", list_numbers))
    with pytest.raises(ValueError, match="lower case"):
        register_source(Source("Own", list_numbers))


def test_sections_and_samples(numbers: str) -> None:
    training = get_items(numbers, section="training", count=14, val_fraction=0.3)
    validation = get_items(numbers, section="validation", count=14, val_fraction=0.3)
    assert (len(training), len(validation)) == (10, 4)
    assert {item["name"] for item in training + validation} == {str(number) for number in range(14)}
    assert len(get_items(numbers, section="training", count=14, max_samples=3)) == 3


def test_unknown_options_list_the_valid_ones(numbers: str) -> None:
    with pytest.raises(ValueError, match="unknown option colour for dataset 'numbers'; its options are: count, bad"):
        get_items(numbers, colour=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"section": "test"}, "training, validation, all"),
        ({"val_fraction": 0.0}, "val_fraction"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"max_samples": 0}, "max_samples"),
        ({"on_error": "ignore"}, "'raise' or 'skip'"),
        ({"count": 0}, "no usable item"),
        ({"count": 1, "section": "validation"}, "section is empty"),
    ],
)
def test_bad_arguments(numbers: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_items(numbers, **arguments)


def test_all_problems_come_in_one_error(numbers: str) -> None:
    with pytest.raises(DataSetError) as caught:
        get_items(numbers, bad=25)
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 problems in the data set numbers:"
    assert lines[1] == "  - file0: it is damaged." and lines[20] == "  - file19: it is damaged."
    assert lines[21] == "  ... and 5 more." and "on_error='skip'" in lines[22]


def test_skipped_problems_are_logged(numbers: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(get_items(numbers, bad=2, on_error="skip")) == 4
    assert [record.getMessage() for record in caplog.records] == [
        "numbers: left out file0: it is damaged.",
        "numbers: left out file1: it is damaged.",
    ]


def test_problems_name_the_file_that_could_not_be_read() -> None:
    problems = Problems()
    problems.add_error("label.png", UnreadableFileError("cannot read image.png: broken.", "image.png", "broken"))
    problems.add_error("label.png", ValueError("it is empty"))
    assert problems.found == [("image.png", "cannot be read: broken"), ("label.png", "it is empty")]


def test_folders_must_exist(tmp_path: Path) -> None:
    for name in ("folder", "sstem", "coco"):
        with pytest.raises(ValueError, match=r"dataset_dir.*missing"):
            get_items(name)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            get_items(name, tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError, match="file"):
            get_items(name, tmp_path / "file")


def test_heavy_readers_are_imported_only_where_used() -> None:
    code = (
        "import sys; import adaptiveclick_med.data as data; from adaptiveclick_med.data import coco, folder, phantoms\n"
        "heavy = {'SimpleITK', 'pycocotools', 'nibabel', 'torch', 'monai'} & set(sys.modules); print(sorted(heavy))\n"
        "import adaptiveclick_med.transforms.loading, adaptiveclick_med.data.training\n"
        "print(sorted({'SimpleITK', 'pycocotools'} & set(sys.modules)), data.ClickTrainingDataset.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", errors="replace", check=True
    )
    assert done.stdout.splitlines() == ["[]", "[] ClickTrainingDataset"]
