from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.transforms.loading import LoadSampled

COLOURS = np.zeros((2, 3, 3), dtype=np.uint8)
COLOURS[0, 0] = (128, 0, 0)
COLOURS[0, 1] = (0, 0, 1)
COLOURS[1, 2] = (255, 255, 255)


def write_davis(folder: Path, masks: dict[str, Image.Image]) -> Path:
    for name in ("img", "gt"):
        (folder / name).mkdir(parents=True)
    for name, mask in masks.items():
        Image.fromarray(np.full((2, 3, 3), 50, dtype=np.uint8)).save(folder / "img" / f"{Path(name).stem}.jpg")
        mask.save(folder / "gt" / name)
    return folder


def test_any_colour_is_the_object(tmp_path: Path) -> None:
    palette = Image.fromarray((COLOURS.max(axis=-1) > 0).astype(np.uint8) * 2).convert("P")
    masks = {"bear_1.png": Image.fromarray(COLOURS), "dance_2.png": palette, "flat.bmp": Image.fromarray(COLOURS)}
    write_davis(tmp_path / "DAVIS", masks)
    items = get_items("davis", tmp_path)
    assert [item["name"] for item in items] == ["bear_1", "dance_2", "flat"]
    for item in items:
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 2, 3) and loaded["source"] == "davis"
        assert loaded["label"].tolist() == [[[1, 1, 0], [0, 0, 1]]]


def test_published_numbers() -> None:
    source = get_source("DAVIS")
    assert source.title == "DAVIS" and source.benchmark.crop_size == 672 and source.benchmark.min_area == 1
    assert source.benchmark.images == source.benchmark.objects == {"all": 345} and source.benchmark.reference


def test_problems_are_named(tmp_path: Path) -> None:
    write_davis(tmp_path, {name: Image.fromarray(COLOURS) for name in ("a.png", "b.png", "c.png")})
    (tmp_path / "gt" / "b.png").unlink()
    with pytest.raises(DataSetError, match=r"b\.jpg: the image has no label"):
        get_items("davis", tmp_path)
    first, second = get_items("davis", tmp_path, on_error="skip")
    assert [first["name"], second["name"]] == ["a", "c"]
    Image.fromarray(COLOURS[:, :2]).save(first["label"])
    with pytest.raises(ValueError, match=r"label of a is 2×2 pixels, but the image 2×3 \(.*gt/a\.png\)"):
        LoadSampled()(first)
    with pytest.raises(DataSetError, match="is not the folder of DAVIS: looked for img/ and gt/"):
        get_items("davis", tmp_path / "img")
