from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.transforms.loading import LoadSampled


def write_berkeley(folder: Path, names: tuple[str, ...] = ("100007", "189011", "test")) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    mask = np.array([[0, 128, 255], [127, 129, 200]], dtype=np.uint8)
    for name in names:
        Image.fromarray(np.full((2, 3, 3), 50, dtype=np.uint8)).save(folder / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def test_trimaps(tmp_path: Path) -> None:
    write_berkeley(tmp_path / "Berkeley")
    items = get_items("berkeley", tmp_path)
    assert items == get_items("berkeley", tmp_path / "Berkeley") and len(items) == 3
    for item in items:
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 2, 3) and loaded["source"] == "berkeley"
        assert loaded["label"].tolist() == [[[0, -1, 1], [0, 1, 1]]]


def test_published_numbers() -> None:
    source = get_source("berkeley")
    assert source.title == "Berkeley" and source.benchmark.min_area == 1 and source.benchmark.reference
    assert source.benchmark.images == source.benchmark.objects == {"all": 100}


def test_problems_are_named(tmp_path: Path) -> None:
    write_berkeley(tmp_path)
    (tmp_path / "masks" / "test.png").rename(tmp_path / "masks" / "other.png")
    with pytest.raises(DataSetError) as caught:
        get_items("berkeley", tmp_path)
    assert "test.jpg: the image has no label" in str(caught.value)
    assert "other.png: the label has no image" in str(caught.value)
    assert len(get_items("berkeley", tmp_path, on_error="skip")) == 2
    (tmp_path / "masks").rename(tmp_path / "labels")
    with pytest.raises(DataSetError, match="is not the folder of Berkeley: looked for images/ and masks/"):
        get_items("berkeley", tmp_path)
