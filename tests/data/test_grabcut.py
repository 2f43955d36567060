from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.transforms.loading import LoadSampled

MASK = np.zeros((6, 8), dtype=np.uint8)
MASK[1:4, 1:5] = 255
MASK[1:4, 5] = 128
MASK[5, 0] = 64
MASK[5, 7] = 129
EXPECTED = np.zeros((6, 8), dtype=int)
EXPECTED[1:4, 1:5] = 1
EXPECTED[1:4, 5] = -1
EXPECTED[5, 7] = 1


def write_grabcut(folder: Path, names: tuple[str, ...] = ("a.jpg", "b.JPG", "c.bmp", "d.png")) -> Path:
    for name in ("data_GT", "boundary_GT"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(np.full((6, 8, 3), number * 20, dtype=np.uint8)).save(folder / "data_GT" / name)
        Image.fromarray(MASK).save(folder / "boundary_GT" / f"{Path(name).stem}.bmp")
    return folder


def test_pictures_and_masks(tmp_path: Path) -> None:
    items = get_items("grabcut", write_grabcut(tmp_path))
    assert [Path(item["image"]).name for item in items] == ["a.jpg", "b.JPG", "c.bmp", "d.png"]
    assert [item["name"] for item in items] == [item["group"] for item in items] == ["a", "b", "c", "d"]
    assert {item["source"] for item in items} == {"grabcut"}
    for number, item in enumerate(items):
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 6, 8) and int(loaded["image"].float().mean()) == number * 20
        assert loaded["label"].tolist() == [EXPECTED.tolist()]


def test_colour_masks_of_equal_channels_are_grey(tmp_path: Path) -> None:
    items = get_items("grabcut", write_grabcut(tmp_path, ("a.jpg",)))
    Image.fromarray(np.repeat(MASK[..., None], 3, axis=2)).save(items[0]["label"])
    assert LoadSampled()(items[0])["label"].tolist() == [EXPECTED.tolist()]
    Image.fromarray(np.stack([MASK, MASK, MASK * 0], axis=2)).save(items[0]["label"])
    with pytest.raises(ValueError, match=r"label of a: the label is a colour picture.*\(.*boundary_GT/a\.bmp\)"):
        LoadSampled()(items[0])


@pytest.mark.parametrize("inside", ["GrabCut", "grabcut"])
def test_the_parent_folder_will_do(tmp_path: Path, inside: str) -> None:
    write_grabcut(tmp_path / inside)
    items = get_items("grabcut", tmp_path)
    assert len(items) == 4 and items == get_items("grabcut", tmp_path / inside)


def test_published_numbers() -> None:
    source = get_source("GrabCut")
    assert source.title == "GrabCut" and source.benchmark.section == "all" and source.benchmark.min_area == 1
    assert source.benchmark.images == source.benchmark.objects == {"all": 50}
    assert source.benchmark.crop_size is None and source.benchmark.reference


def test_problems_are_named(tmp_path: Path) -> None:
    write_grabcut(tmp_path)
    (tmp_path / "boundary_GT" / "a.bmp").unlink()
    (tmp_path / "data_GT" / "b.JPG").unlink()
    (tmp_path / "data_GT" / "c.jpg").write_bytes(b"")
    (tmp_path / "data_GT" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "data_GT" / "._d.png").write_bytes(b"")
    with pytest.raises(DataSetError) as caught:
        get_items("grabcut", tmp_path)
    message = str(caught.value)
    assert "a.jpg: the image has no label of the same name" in message
    assert "b.bmp: the label has no image of the same name" in message
    assert "2 images share the name 'c' (c.bmp, c.jpg)" in message
    assert "Thumbs" not in message and "._d" not in message
    assert [item["name"] for item in get_items("grabcut", tmp_path, on_error="skip")] == ["d"]


def test_what_only_loading_can_find(tmp_path: Path) -> None:
    first, second, third, _ = get_items("grabcut", write_grabcut(tmp_path))
    Image.fromarray(MASK[:5]).save(first["label"])
    with pytest.raises(ValueError, match=r"label of a is 5×8 pixels, but the image 6×8 \(.*boundary_GT/a\.bmp\)"):
        LoadSampled()(first)
    Image.fromarray(np.full((6, 8), 128, dtype=np.uint8)).save(second["label"])
    label = LoadSampled()(second)["label"]
    assert label.unique().tolist() == [-1]  # nothing but pixels to ignore: no object
    Path(third["label"]).write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"cannot read .*c\.bmp"):
        LoadSampled()(third)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataSetError, match="is not the folder of GrabCut: looked for data_GT/ and boundary_GT/ in it and in GrabCut/"
    ):
        get_items("grabcut", tmp_path)
    for name in ("data_GT", "boundary_GT"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataSetError, match=r"no image found in .*data_GT"):
        get_items("grabcut", tmp_path)
    with pytest.raises(FileNotFoundError, match="dataset_dir of the GrabCut data set does not exist"):
        get_items("grabcut", tmp_path / "none")
    with pytest.raises(ValueError, match="dataset_dir of the GrabCut data set is missing"):
        get_items("grabcut")


@pytest.mark.parity
def test_the_50_pictures(shared: Path) -> None:
    items = get_items("grabcut", shared / "data" / "GrabCut")
    assert len(items) == 50 and items == get_items("grabcut", shared / "data")
    assert {item["name"] for item in items} >= {"music", "scissors", "stone1", "stone2", "banana1", "106024"}
    load = LoadSampled()
    objects = object_pixels = ignored = 0
    for item in items:
        loaded = load(item)
        label = loaded["label"].as_tensor()
        assert loaded["image"].shape[0] == 3 and label.shape == (1, *loaded["image"].shape[1:])
        assert label.min() >= -1 and label.max() == 1
        objects += int((label == 1).any())
        object_pixels += int((label == 1).sum())
        ignored += int((label == -1).sum())
    assert (objects, object_pixels, ignored) == (50, 2301780, 75739)
