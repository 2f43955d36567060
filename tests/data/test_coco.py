from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from adaptiveclick_med.data import DataSetError, get_items
from adaptiveclick_med.data.coco import decode_annotation
from adaptiveclick_med.transforms.loading import LoadSampled

SIZE = (10, 14)


def rectangle(top: int, left: int, bottom: int, right: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def region(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def compressed(mask: np.ndarray) -> dict:
    code = coco_mask.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]]))).tolist()
    counts = np.diff([0, *edges]).tolist()
    return {"size": list(SIZE), "counts": counts}


def write(root: Path, annotations: list[dict], name: str = "train2017", pictures: int = 2) -> Path:
    (root / name).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images = []
    for number in range(1, pictures + 1):
        file_name = f"{number:012d}.png"
        Image.fromarray(np.full((*SIZE, 3), number, dtype=np.uint8)).save(root / name / file_name)
        images.append({"id": number, "file_name": file_name, "height": SIZE[0], "width": SIZE[1]})
    content = {"images": images, "annotations": annotations, "categories": []}
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    return root


ANNOTATIONS = [
    {"id": 1, "image_id": 1, "segmentation": rectangle(1, 1, 5, 5), "iscrowd": 0},
    {"id": 2, "image_id": 1, "segmentation": compressed(region(3, 3, 8, 8)), "iscrowd": 0},
    {"id": 3, "image_id": 1, "segmentation": uncompressed(region(6, 10, 9, 13))},
    {"id": 4, "image_id": 1, "segmentation": uncompressed(region(4, 4, 5, 14)), "iscrowd": 1},
]


def test_objects_go_to_the_first_free_layer(tmp_path: Path) -> None:
    items = get_items("coco", write(tmp_path, ANNOTATIONS))
    assert [item["name"] for item in items] == ["000000000001"]  # the second picture has no object
    loaded = LoadSampled()(items[0])
    label = loaded["label"].as_tensor()
    assert loaded["image"].shape == (3, *SIZE) and label.dtype == torch.int32
    expected = np.zeros((2, *SIZE), dtype=np.int32)
    expected[0][region(1, 1, 5, 5) > 0] = 1
    expected[1][region(3, 3, 8, 8) > 0] = 2
    expected[0][region(6, 10, 9, 13) > 0] = 3
    ignore = (region(4, 4, 5, 14) > 0) & (expected == 0).all(axis=0)
    expected[:, ignore] = -1
    assert label.tolist() == expected.tolist() and (label == -1).sum() == 2 * 6


def test_polygons_of_several_parts_are_one_object() -> None:
    parts = rectangle(0, 0, 2, 2) + rectangle(5, 5, 8, 8)
    label = decode_annotation({"size": SIZE, "objects": [{"segmentation": parts, "crowd": False}]})
    assert label.shape == (1, *SIZE) and label.max() == 1 and label.sum() == 4 + 9


def test_masks_of_another_size_are_refused() -> None:
    small = compressed(np.ones((3, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="object 1 has a mask of size"):
        decode_annotation({"size": SIZE, "objects": [{"segmentation": small, "crowd": False}]})


def test_problems_are_named(tmp_path: Path) -> None:
    more = [
        {"id": 5, "image_id": 99, "segmentation": rectangle(1, 1, 5, 5)},
        {"id": 6, "image_id": 2, "segmentation": []},
        {"id": 7, "image_id": 2, "segmentation": rectangle(1, 1, 5, 5)},
    ]
    write(tmp_path, ANNOTATIONS + more)
    (tmp_path / "train2017" / "000000000001.png").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("coco", tmp_path)
    message = str(caught.value)
    assert "annotation 5 names an unknown image_id 99" in message
    assert "annotation 6 has no segmentation" in message
    assert "000000000001.png: the picture is missing; instances_train2017.json names it" in message
    assert [item["name"] for item in get_items("coco", tmp_path, on_error="skip")] == ["000000000002"]


def test_wrong_size_is_found_when_loading(tmp_path: Path) -> None:
    (item,) = get_items("coco", write(tmp_path, ANNOTATIONS))
    Image.fromarray(np.zeros((5, 5, 3), dtype=np.uint8)).save(item["image"])
    with pytest.raises(ValueError, match="label of 000000000001 is 10×14 pixels, but the image 5×5"):
        LoadSampled()(item)


def test_which_annotations_and_pictures(tmp_path: Path) -> None:
    write(tmp_path, ANNOTATIONS)
    write(tmp_path, ANNOTATIONS, "val2017")
    with pytest.raises(
        DataSetError, match=r"found 2 \(instances_train2017.json, instances_val2017.json\): pass annota"
    ):
        get_items("coco", tmp_path)
    (item,) = get_items("coco", tmp_path, annotations="instances_val2017.json")
    assert "val2017" in item["image"]
    file = tmp_path / "annotations" / "instances_val2017.json"
    (item,) = get_items("coco", tmp_path, annotations=file, image_dir="train2017")
    assert "train2017" in item["image"]
    with pytest.raises(DataSetError, match=r"annotations 'none.json' is not a file"):
        get_items("coco", tmp_path, annotations="none.json")
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    assert len(get_items("coco", tmp_path, annotations="instances_val2017.json")) == 1


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"looked for one annotations/instances_\*.json in .*, found 0"):
        get_items("coco", tmp_path)
    write(tmp_path, ANNOTATIONS)
    file = tmp_path / "annotations" / "instances_train2017.json"
    for content, reason in (
        ("{", "Expecting property name"),
        ('{"images": []}', "'annotations' is missing"),
        ('{"images": [{"id": 1}], "annotations": []}', "file_name, height or width of a picture' is missing"),
        ('{"images": [], "annotations": [{}]}', "image_id of an annotation' is missing"),
    ):
        file.write_text(content)
        with pytest.raises(DataSetError, match=f"not a COCO instances file: .*{reason}"):
            get_items("coco", tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DataSetError, match=r"no picture folder.*images/train2017.*image_dir="):
        get_items("coco", tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize(("folder", "objects"), [("COCO-MINI", 731), ("COCO_Tiny", 699)])
def test_real_pictures(shared: Path, folder: str, objects: int) -> None:
    items = get_items("coco", shared / "data" / "COCO" / folder)
    assert len(items) == 80
    assert sum(not entry["crowd"] for item in items for entry in item["label"]["objects"]) == objects
    load = LoadSampled()
    for item in items[:8]:
        loaded = load(item)
        kept = sum(not entry["crowd"] for entry in item["label"]["objects"])
        assert len(set(loaded["label"].unique().tolist()) - {-1, 0}) == kept
