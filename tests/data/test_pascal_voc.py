from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.transforms.loading import LoadSampled

LABEL = np.array([[0, 1, 1, 255], [2, 2, 255, 0], [0, 20, 0, 0]], dtype=np.uint8)
COLOURS = np.random.RandomState(0).randint(0, 256, (256, 3)).astype(np.uint8)


def palette(label: np.ndarray) -> Image.Image:
    picture = Image.fromarray(label)
    picture.putpalette(COLOURS.ravel().tolist())
    assert picture.mode == "P"
    return picture


def write_voc(folder: Path, train: tuple[str, ...] = ("2007_1", "2007_2"), val: tuple[str, ...] = ("2008_1",)) -> Path:
    for name in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for name in (*train, *val):
        Image.fromarray(np.full((3, 4, 3), 90, dtype=np.uint8)).save(folder / "JPEGImages" / f"{name}.jpg")
        palette(LABEL).save(folder / "SegmentationObject" / f"{name}.png")
    Image.fromarray(np.zeros((3, 4, 3), dtype=np.uint8)).save(folder / "JPEGImages" / "detection_only.jpg")
    for name, names in (("train", train), ("val", val)):
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{entry}\n" for entry in names))
    return folder


def names_of(items: list[dict]) -> list[str]:
    return [item["name"] for item in items]


def test_indices_are_objects_and_255_counts_nowhere(tmp_path: Path) -> None:
    for item in get_items("pascal_voc", write_voc(tmp_path)):
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 3, 4) and loaded["source"] == "pascal_voc"
        assert loaded["label"].tolist() == [[[0, 1, 1, -1], [2, 2, -1, 0], [0, 20, 0, 0]]]


@pytest.mark.parametrize("inside", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_sections_are_the_published_lists(tmp_path: Path, inside: str) -> None:
    write_voc(tmp_path / inside)
    assert names_of(get_items("voc", tmp_path)) == ["2007_1", "2007_2", "2008_1"]
    assert names_of(get_items("voc", tmp_path, section="training")) == ["2007_1", "2007_2"]
    assert names_of(get_items("voc", tmp_path, section="validation", seed=3, val_fraction=0.9)) == ["2008_1"]


def test_only_the_list_in_use_is_needed(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Segmentation"
    (lists / "train.txt").unlink()
    assert names_of(get_items("pascal_voc", tmp_path, section="validation")) == ["2008_1"]
    assert names_of(get_items("pascal_voc", tmp_path)) == ["2008_1"]
    with pytest.raises(DataSetError, match=r"the training section needs the list .*train\.txt, which does not exist"):
        get_items("pascal_voc", tmp_path, section="training")
    (lists / "val.txt").write_text("\n \n")
    with pytest.raises(DataSetError, match=r"the list .*val\.txt is empty"):
        get_items("pascal_voc", tmp_path)
    (lists / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"cannot read .*val\.txt: .*utf-8"):
        get_items("pascal_voc", tmp_path)
    (lists / "val.txt").unlink()
    with pytest.raises(DataSetError, match=r"there is neither train\.txt nor val\.txt"):
        get_items("pascal_voc", tmp_path)


def test_published_numbers() -> None:
    source = get_source("Pascal VOC")
    assert source.title == "Pascal VOC" and source.benchmark.section == "validation" and source.benchmark.min_area == 1
    assert source.benchmark.images == {"training": 1464, "validation": 1449}
    assert source.benchmark.objects == {"validation": 3427} and source.benchmark.reference


def test_a_label_saved_in_colours_is_one_clear_error(tmp_path: Path) -> None:
    first, second, third = get_items("pascal_voc", write_voc(tmp_path))
    palette(LABEL).convert("RGB").save(first["label"])
    with pytest.raises(ValueError, match=r"label of 2007_1: the label is a colour.*SegmentationObject/2007_1\.png"):
        LoadSampled()(first)
    palette(LABEL.T).save(second["label"])
    with pytest.raises(ValueError, match=r"label of 2007_2 is 4×3 pixels, but the image 3×4 \(.*2007_2\.png\)"):
        LoadSampled()(second)
    palette(np.full((3, 4), 255, dtype=np.uint8)).save(third["label"])
    assert LoadSampled()(third)["label"].unique().tolist() == [-1]


def test_problems_are_named(tmp_path: Path) -> None:
    write_voc(tmp_path, val=("2008_1", "2008_2", "2007_1"))
    (tmp_path / "JPEGImages" / "2007_2.jpg").unlink()
    (tmp_path / "SegmentationObject" / "2008_2.png").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("pascal_voc", tmp_path)
    message = str(caught.value)
    assert "2007_2.jpg: the file is missing; the list of the training section names it" in message
    assert "2008_2.png: the file is missing; the list of the validation section names it" in message
    assert "val.txt: the name 2007_1 is listed before" in message
    assert names_of(get_items("pascal_voc", tmp_path, on_error="skip")) == ["2007_1", "2008_1"]
    with pytest.raises(DataSetError, match=r"looked for JPEGImages/ and SegmentationObject/ .*VOCdevkit/VOC2012/"):
        get_items("pascal_voc", tmp_path / "ImageSets")
