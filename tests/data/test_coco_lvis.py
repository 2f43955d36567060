from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.data.coco_lvis import decode_annotation
from adaptiveclick_med.transforms.clicks import RandSelectTargetd
from adaptiveclick_med.transforms.loading import LoadSampled

SIZE = (12, 16)
# Layer 0: person (id 0) and sky (id 4, stuff). Layer 1: head (id 1), arm (id 2). Layer 2: eye (id 3).
LAYERS = np.zeros((3, *SIZE), dtype=np.uint8)
LAYERS[0, 2:10, 2:10] = 7
LAYERS[0, 0:2] = 9
LAYERS[1, 2:6, 2:8] = 1
LAYERS[1, 7:10, 2:5] = 2
LAYERS[2, 3:4, 3:5] = 255
MAPPING = {0: (0, 7), 1: (1, 1), 2: (1, 2), 3: (2, 255), 4: (0, 9)}
HIERARCHY = {
    0: {"parent": None, "children": [1, 2], "node_level": 0},
    1: {"parent": 0, "children": [3], "node_level": 1},
    2: {"parent": 0, "children": [], "node_level": 1},
    3: {"parent": 1, "children": [], "node_level": 2},
}


def encoded(layer: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, format="PNG")
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def write_masks(path: Path, layers: Any = LAYERS, mapping: Any = MAPPING) -> Path:
    path.write_bytes(pickle.dumps(([encoded(layer) for layer in layers], mapping)))
    return path


def write_section(folder: Path, entries: dict[Any, Any]) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for name in entries:
        Image.fromarray(np.full((*SIZE, 3), 90, dtype=np.uint8)).save(folder / "images" / f"{name}.jpg")
        write_masks(folder / "masks" / f"{name}.pickle")
    (folder / "hannotation.pickle").write_bytes(pickle.dumps(entries))
    return folder


def entry(hierarchy: Any = HIERARCHY, instances: Any = 4) -> dict[str, Any]:
    return {"hierarchy": hierarchy, "num_instance_masks": instances}


def write_coco_lvis(folder: Path) -> Path:
    write_section(folder / "train", {"000000000009": entry(), "000000000025": entry({0: None, 1: None}, 2)})
    write_section(folder / "val", {"000000000139": entry()})
    return folder


def names_of(items: list[dict]) -> list[str]:
    return [item["name"] for item in items]


def test_objects_parts_and_stuff(tmp_path: Path) -> None:
    first, second, _ = get_items("coco_lvis", write_coco_lvis(tmp_path))
    loaded = LoadSampled()(first)
    assert loaded["image"].shape == (3, *SIZE) and loaded["source"] == "coco_lvis"
    expected = np.zeros((3, *SIZE), dtype=int)
    for id_, (layer, value) in MAPPING.items():
        expected[layer][LAYERS[layer] == value] = id_ + 1
    assert str(loaded["label"].dtype) == "torch.int32" and loaded["label"].tolist() == expected.tolist()
    assert loaded["hierarchy"].dtype == np.int32
    assert loaded["hierarchy"].tolist() == [[1, 0], [2, 1], [3, 1], [4, 2]] and loaded["num_instances"] == 4
    assert second["hierarchy"].tolist() == [[1, 0], [2, 0]] and second["num_instances"] == 2


def test_a_part_is_chosen_below_its_object(tmp_path: Path) -> None:
    item = LoadSampled()(get_items("coco_lvis", write_coco_lvis(tmp_path), section="validation")[0])
    select = RandSelectTargetd(min_area=1, part_probability=1.0, stuff_probability=0.0).set_random_state(0)
    seen = set()
    for _ in range(20):
        chosen = select(item)
        area = int((chosen["target"] == 1).sum())
        seen.add(area)  # the eye (2) of the head (24), or the arm (9) of the person (64)
        assert int(chosen["required"].sum()) == {2: 24 - 2, 9: 64 - 9}[area]
        assert not chosen["others"][0, 0:2].any()  # no sky
    assert seen == {2, 9}


@pytest.mark.parametrize("inside", [".", "COCO_LVIS", "coco-lvis"])
def test_sections_are_folders(tmp_path: Path, inside: str) -> None:
    write_coco_lvis(tmp_path / inside)
    assert names_of(get_items("coco_lvis", tmp_path)) == ["000000000009", "000000000025", "000000000139"]
    assert names_of(get_items("COCO-LVIS", tmp_path, section="training")) == ["000000000009", "000000000025"]
    assert names_of(get_items("coco_lvis", tmp_path, section="validation", seed=5)) == ["000000000139"]


def test_only_the_section_in_use_is_needed(tmp_path: Path) -> None:
    write_coco_lvis(tmp_path)
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    assert names_of(get_items("coco_lvis", tmp_path)) == ["000000000139"]
    assert names_of(get_items("coco_lvis", tmp_path, section="validation")) == ["000000000139"]
    with pytest.raises(
        DataSetError, match="not the folder of COCO-LVIS: looked for train/images/ and train/masks/ in it"
    ):
        get_items("coco_lvis", tmp_path, section="training")
    with pytest.raises(DataSetError, match="not the folder of COCO-LVIS"):
        get_items("coco_lvis", tmp_path / "elsewhere")
    (tmp_path / "val" / "hannotation.pickle").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*val/hannotation\.pickle: there is no such file"):
        get_items("coco_lvis", tmp_path)
    (tmp_path / "val" / "masks").rename(tmp_path / "val" / "other")
    with pytest.raises(DataSetError, match="looked for val/images/ and val/masks/"):
        get_items("coco_lvis", tmp_path)


def test_published_numbers() -> None:
    source = get_source("coco_lvis")
    assert source.title == "COCO-LVIS" and source.benchmark.section == "validation" and source.benchmark.min_area == 1
    assert not source.benchmark.images and not source.benchmark.objects and source.benchmark.reference


def test_ids_of_other_types(tmp_path: Path) -> None:
    numbers = {np.int64(0): None, 1: {"parent": np.int64(0), "children": [], "node_level": 1}}
    write_section(tmp_path / "val", {9: entry(numbers, np.int64(2)), 10: entry({}, 0)})
    write_masks(tmp_path / "val" / "masks" / "9.pickle", mapping=[(np.uint8(0), np.uint8(7)), [1, 1]])
    empty, first = get_items("coco_lvis", tmp_path)
    assert [empty["name"], first["name"]] == ["10", "9"]
    assert first["hierarchy"].tolist() == [[1, 0], [2, 1]]
    assert np.unique(LoadSampled()(first)["label"]).tolist() == [0, 1, 2]
    assert empty["hierarchy"].shape == (0, 2) and empty["num_instances"] == 0
    assert np.unique(LoadSampled()(empty)["label"]).tolist() == [0, 1, 2, 3, 4, 5]


def test_problems_are_named(tmp_path: Path) -> None:
    bad: dict[str, tuple[Any, str]] = {
        "a": (entry({0: {"parent": 7}}), "object 0 is a part of 7, which is not in the hierarchy"),
        "b": (entry({0: {"parent": 1}, 1: {"parent": 0}}), "object 0 is a part of itself"),
        "c": (entry({5: None}), "object 5 of the hierarchy is outside its 4 instance masks"),
        "d": ({"hierarchy": {}}, "it has no usable hierarchy and num_instance_masks (KeyError: 'num_instance_masks')"),
        "e": (entry({0: {"children": []}}), "it has no usable hierarchy and num_instance_masks (KeyError: 'parent')"),
        "f": (entry([1, 2]), "it has no usable hierarchy and num_instance_masks (AttributeError"),
        "g": (3, "it has no usable hierarchy and num_instance_masks (TypeError"),
    }
    section = write_section(
        tmp_path / "val", {name: value for name, (value, _) in bad.items()} | {"h": entry(), "i": entry(), "j": entry()}
    )
    (section / "images" / "h.jpg").unlink()
    (section / "masks" / "i.pickle").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("coco_lvis", tmp_path)
    message = str(caught.value)
    for name, (_, reason) in bad.items():
        assert f"hannotation.pickle: picture {name}: {reason}" in message
    assert "h.jpg: the file is missing; hannotation.pickle names it" in message
    assert "i.pickle: the file is missing; hannotation.pickle names it" in message
    assert names_of(get_items("coco_lvis", tmp_path, on_error="skip")) == ["j"]


def test_a_hostile_or_useless_list(tmp_path: Path) -> None:
    section = write_section(tmp_path / "val", {"a": entry()})
    (section / "hannotation.pickle").write_bytes(pickle.dumps({"a": os.getcwd}))
    with pytest.raises(ValueError, match=r"hannotation\.pickle: it names \w+\.getcwd, which is no plain data"):
        get_items("coco_lvis", tmp_path)
    (section / "hannotation.pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataSetError, match=r"hannotation\.pickle holds a list; a dictionary"):
        get_items("coco_lvis", tmp_path)


def damaged() -> dict[str, tuple[Any, str]]:
    layers = [encoded(layer) for layer in LAYERS]
    wide = encoded(np.zeros((12, 17), dtype=np.uint8))
    colours = encoded(np.zeros((*SIZE, 3), dtype=np.uint8))
    return {
        "absent id": (
            (layers, {0: (0, 7), 1: (1, 1), 3: (2, 255)}),
            r"object 2 of the hierarchy has no mask: it is not in the mapping",
        ),
        "absent value": ((layers, MAPPING | {5: (1, 77)}), "object 5 is value 77 of layer 1, which is not there"),
        "absent layer": ((layers, MAPPING | {5: (3, 1)}), "object 5 is value 1 of layer 3, which is not there"),
        "layer -1": ((layers, MAPPING | {5: (-1, 1)}), "object 5 is value 1 of layer -1, which is not there"),
        "background": ((layers, MAPPING | {5: (1, 0)}), "object 5 is value 0 of layer 1, which is not there"),
        "value of two ids": ((layers, MAPPING | {5: (1, 1)}), "value 1 of layer 1 belongs to two objects"),
        "negative id": ((layers, MAPPING | {-1: (1, 1)}), "value 1 of layer 1 belongs to two objects, or to an id"),
        "layer of another size": (
            ([*layers[:2], wide], MAPPING),
            r"layer 2 has size \[12, 17\], layer 0 \[12, 16\]",
        ),
        "colour layer": (([colours, *layers[1:]], MAPPING), "layer 0 is no grey picture"),
        "cut PNG": (([layers[0][:40], *layers[1:]], MAPPING), "layer 0 cannot be decoded"),
        "no PNG": (([layers[0], np.zeros(50, dtype=np.uint8), layers[2]], MAPPING), "layer 1 cannot be decoded"),
        "layer of floats": (([LAYERS[0].astype(float), *layers[1:]], MAPPING), "layer 0 cannot be decoded: a uint8"),
        "no layer": (([], {}), "object 0 of the hierarchy has no mask"),
        "mapping of numbers": ((layers, {0: 3}), r"its mapping is no dictionary or list of \(layer, value\)"),
        "no pair": ({"layers": layers}, "it is no pair of layers and mapping"),
        "hostile": ((layers, {0: os.getcwd}), r"it names \w+\.getcwd"),
    }


@pytest.mark.parametrize("case", list(damaged()))
def test_masks_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    content, reason = damaged()[case]
    (item,) = get_items("coco_lvis", write_coco_lvis(tmp_path), section="validation")
    Path(item["label"]["file"]).write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=rf"cannot read .*val/masks/000000000139\.pickle: .*{reason}"):
        LoadSampled()(item)


def test_masks_of_another_size_than_the_picture(tmp_path: Path) -> None:
    (item,) = get_items("coco_lvis", write_coco_lvis(tmp_path), section="validation")
    Image.fromarray(np.zeros((5, 5, 3), dtype=np.uint8)).save(item["image"])
    with pytest.raises(ValueError, match=r"label of 000000000139 is 12×16 pixels, but the image 5×5 \(.*139\.pickle\)"):
        LoadSampled()(item)


def test_an_annotation_without_layers(tmp_path: Path) -> None:
    file = write_masks(tmp_path / "a.pickle", layers=[], mapping={})
    with pytest.raises(ValueError, match=r"a\.pickle: it has no layer"):
        decode_annotation({"format": "coco_lvis", "file": str(file), "instances": 0})
