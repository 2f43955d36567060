"""Lists of images with clicks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptiveclick_med.data import DataSetError
from adaptiveclick_med.data.clicked import clicked_items

CLICKS = [[3, 4.5, True], [1, 0, False]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.jpg", "scan.nii.gz", "scan.MHA"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, entries: Any) -> Path:
    path = folder / "clicks.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_pictures_and_slices(folder: Path) -> None:
    items = clicked_items(
        write(
            folder,
            [
                {"image": "a.png", "clicks": CLICKS},
                {"image": "sub/b.jpg", "clicks": CLICKS[:1], "slice": 3},
                {"image": "scan.nii.gz", "clicks": CLICKS, "slice": 7},
                {"image": "scan.MHA", "clicks": CLICKS, "slice": 0, "plane": "sagittal"},
            ],
        )
    )
    assert items[0] == {
        "image": str(folder / "a.png"),
        "clicks": [(3.0, 4.5, True), (1.0, 0.0, False)],
        "name": "a.png",
        "reader": {},
    }
    assert [item["name"] for item in items[1:]] == [
        "sub/b.jpg",
        "scan.nii.gz/axial_007",
        "scan.MHA/sagittal_000",
    ]
    assert [item["reader"] for item in items[1:]] == [
        {},
        {"plane": "axial", "index": 7},
        {"plane": "sagittal", "index": 0},
    ]


def test_the_images_may_lie_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("clicks")
    path = write(elsewhere, [{"image": "a.png", "clicks": CLICKS}])
    assert clicked_items(path, folder)[0]["image"] == str(folder / "a.png")
    with pytest.raises(DataSetError, match=r"entry 0: there is no image .*a\.png"):
        clicked_items(path)
    absolute = write(elsewhere, [{"image": str(folder / "a.png"), "clicks": CLICKS}])
    assert clicked_items(absolute, "")[0]["image"] == str(folder / "a.png")


def test_another_object_of_the_same_image_gets_another_name(folder: Path) -> None:
    slices = [{"image": "scan.nii.gz", "clicks": CLICKS, "slice": index} for index in (1, 2, 1)]
    pictures = [{"image": "a.png", "clicks": CLICKS}] * 3
    names = [item["name"] for item in clicked_items(write(folder, [*slices, *pictures]))]
    assert names == [
        *("scan.nii.gz/axial_001", "scan.nii.gz/axial_002", "scan.nii.gz/axial_001#2"),
        *("a.png", "a.png#2", "a.png#3"),
    ]


def test_all_problems_are_named(folder: Path) -> None:
    entries = [
        {"image": "a.png", "clicks": CLICKS},
        {"image": "missing.png", "clicks": CLICKS},
        {"clicks": CLICKS},
        {"image": "a.png"},
        "a.png",
        {"image": "a.png", "clicks": []},
        {"image": "a.png", "clicks": CLICKS[1:]},
        {"image": "a.png", "clicks": [[1, 2]]},
        {"image": "a.png", "clicks": [[1, 2, 1]]},
        {"image": "a.png", "clicks": [[1, "x", True]]},
        {"image": "a.png", "clicks": [[1, float("nan"), True]]},
        {"image": "scan.nii.gz", "clicks": CLICKS},
        {"image": "scan.nii.gz", "clicks": CLICKS, "slice": 2.7},
        {"image": "scan.nii.gz", "clicks": CLICKS, "slice": 2, "plane": "oblique"},
        {"image": 3, "clicks": CLICKS},
        {"image": "a.png", "clicks": None},
    ]
    with pytest.raises(DataSetError) as error:
        clicked_items(write(folder, entries))
    head, *lines = str(error.value).split("\n")
    assert head.endswith("clicks.json cannot be used:")
    expected = [
        "entry 1: there is no image",
        "entry 2: image is missing",
        "entry 3: clicks is missing",
        "entry 4: a dictionary was expected, got str",
        "entry 5: the first click must be positive",
        "entry 6: the first click must be positive",
        "entry 7: a click must be [row, column, true or false], got [1, 2]",
        "entry 8: a click must be [row, column, true or false], got [1, 2, 1]",
        "entry 9: could not convert string to float",
        "entry 10: column of a click must be a finite number",
        "entry 11: ",
        "entry 12: slice must be a whole number, got 2.7",
        "entry 13: plane must be one of axial, coronal, sagittal, got 'oblique'",
        "entry 14: ",
        "entry 15: ",
    ]
    assert len(lines) == len(expected)
    assert [line for line, start in zip(lines, expected, strict=True) if not line.startswith(start)] == []
    assert lines[10].endswith("is a volume, so slice is needed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is no JSON"),
        ("", "is no JSON"),
        ("{}", "must hold a list of at least one entry"),
        ("[]", "must hold a list of at least one entry"),
        ('{"image": "a.png"}', "must hold a list of at least one entry"),
    ],
)
def test_other_content(folder: Path, content: str, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        clicked_items(write(folder, content))


def test_no_text(folder: Path) -> None:
    path = write(folder, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataSetError, match="is no JSON"):
        clicked_items(path)


def test_no_file(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file of clicks .*none\.json"):
        clicked_items(folder / "none.json")
    with pytest.raises(FileNotFoundError, match="There is no file of clicks"):
        clicked_items(folder)
