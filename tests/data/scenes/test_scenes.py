from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from scipy import ndimage

from adaptiveclick_med.data import ClickTrainingDataset, get_items
from adaptiveclick_med.data.scenes import KINDS, decode_annotation, make_scene
from adaptiveclick_med.data.scenes.canvas import MIN_AREA
from adaptiveclick_med.transforms import RandSelectTargetd, RandSimulateClicksd, ScaleToUnitRGBd, augmentation
from adaptiveclick_med.transforms.loading import LoadSampled

SIZE = (128, 144)
SECTIONS = ("training", "validation", "all")
EIGHT = np.ones((3, 3))


def same(one: Any, other: Any) -> bool:
    return np.array_equal(one.image, other.image) and np.array_equal(one.label, other.label)


def objects(label: np.ndarray) -> dict[int, tuple[int, np.ndarray]]:
    """Layer and mask of each object, by number."""
    return {int(n): (index, layer == n) for index, layer in enumerate(label) for n in np.unique(layer) if n > 0}


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_seeded(kind: str) -> None:
    first = make_scene(kind, 3, size=SIZE, seed=5)
    assert same(first, make_scene(kind, 3, size=SIZE, seed=5))
    for other in (
        make_scene(kind, 4, size=SIZE, seed=5),
        make_scene(kind, 3, size=SIZE, seed=6),
        make_scene(kind, 3, size=SIZE, seed=5, section="validation"),
    ):
        assert other.image.shape != first.image.shape or not np.array_equal(other.image, first.image)


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_objects(kind: str) -> None:
    channels = set()
    for number in range(12):
        scene = make_scene(kind, number, size=SIZE)
        channels.add(len(scene.image))
        assert scene.image.dtype == np.uint8 and scene.image.shape[1:] == SIZE
        assert int(scene.image.max()) - int(scene.image.min()) > 40
        assert scene.label.dtype == np.int32 and scene.label.ndim == 3 and scene.label.shape[1:] == SIZE
        assert scene.label.min() >= -1
        found = objects(scene.label)
        assert len(found) == sum(len(np.unique(layer[layer > 0])) for layer in scene.label) > 0
        for _, mask in found.values():
            pieces, count = ndimage.label(mask, EIGHT)
            areas = np.bincount(pieces.ravel())[1:]
            assert MIN_AREA <= mask.sum() <= 0.5 * mask.size
            assert count <= 5 and areas.min() >= max(MIN_AREA, 0.2 * areas.max())
    assert channels <= {1, 3} and (channels == {1, 3}) == (kind in ("cells", "vessels", "shapes"))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_lie_inside_what_they_are_parts_of(kind: str) -> None:
    """Objects of each kind hold smaller ones: lesions, cores, nuclei, hollows, details."""
    pairs = 0
    for number in range(16):
        found = objects(make_scene(kind, number, size=SIZE, seed=1).label)
        for layer, mask in found.values():
            around = [m for other, m in found.values() if other == layer - 1]
            pairs += any(not (mask & ~whole).any() and whole.sum() > mask.sum() for whole in around)
    assert pairs >= 3


def test_lesions_stay_in_one_organ() -> None:
    lesions = 0
    for number in range(12):
        label = make_scene("abdomen", number, size=(192, 192), seed=2).label
        if len(label) < 2:
            continue
        organs, inner = label[-2], label[-1]
        for lesion in np.unique(inner[inner > 0]):
            owners = set(np.unique(organs[inner == lesion]).tolist()) - {-1}
            assert len(owners) == 1
            lesions += owners != {0}
    assert lesions >= 10


def test_odd_and_small_sizes() -> None:
    for kind in KINDS:
        for size in ((64, 64), (97, 131), (256, 65)):
            scene = make_scene(kind, 1, size=size)
            assert scene.image.shape[1:] == scene.label.shape[1:] == size


def test_items_paint_when_they_are_loaded() -> None:
    items = get_items("scenes", num_images=40, size=SIZE, kinds=["cells", "head"], seed=2)
    assert len({item["name"] for item in items}) == len({item["group"] for item in items}) == 40
    assert items[0]["name"].startswith("training_000000_") and items[0]["source"] == "scenes"
    assert {item["image"]["kind"] for item in items} == {"cells", "head"}
    item = items[3]
    loaded = LoadSampled()(item)
    scene = make_scene(item["image"]["kind"], 3, size=SIZE, seed=2)
    assert np.array_equal(loaded["image"].numpy(), scene.image) and loaded["image"].dtype == torch.uint8
    assert np.array_equal(loaded["label"].numpy(), scene.label) and loaded["label"].dtype == torch.int32
    loaded["label"].fill_(7)
    assert np.array_equal(LoadSampled()(item)["label"].numpy(), scene.label)
    assert not decode_annotation(item["image"]).flags.writeable


def test_sections_are_different_series() -> None:
    sections = {name: get_items("scenes", section=name, num_images=10, val_fraction=0.3) for name in SECTIONS}
    assert [len(sections[name]) for name in SECTIONS] == [7, 3, 10]
    assert sections["all"] == sections["training"] + sections["validation"]
    more = get_items("scenes", section="training", num_images=1000)
    assert more[:7] == sections["training"] and len(more) == 700
    assert not {item["group"] for item in more} & {item["group"] for item in sections["validation"]}
    parts = [{"dataset": "scenes", "options": {"num_images": 10}}, {"dataset": "scenes", "name": "b"}]
    held_back = get_items("mixed", parts=parts, section="validation")
    assert {item["image"]["series"] for item in held_back} == {"validation"} and len(held_back) == 303


def test_weights() -> None:
    items = get_items("scenes", num_images=2000, kinds=["head", "shapes", "cells"], weights=[1, 0, 3])
    counts = Counter(item["image"]["kind"] for item in items)
    assert set(counts) == {"head", "cells"} and counts["cells"] / 2000 == pytest.approx(0.75, abs=0.04)
    assert set(Counter(item["image"]["kind"] for item in get_items("scenes"))) == set(KINDS)


def test_training_takes_them() -> None:
    items = get_items("scenes", section="training", num_images=15, size=SIZE)
    transform = Compose(
        [
            LoadSampled(),
            ScaleToUnitRGBd("image"),
            augmentation("medical", 64),
            RandSelectTargetd(),
            RandSimulateClicksd(required_key="required"),
        ]
    )
    dataset = ClickTrainingDataset(items, transform, seed=1, keep_empty=0.0)
    for sample in dataset:
        assert sample["image"].shape == (3, 64, 64) and sample["target"].shape == (1, 64, 64)
        assert sample["image"].min() >= 0 and sample["image"].max() <= 1
        assert (sample["target"] == 1).sum() >= 20 and (sample["points"][:24, 0] >= 0).any()
    assert torch.equal(dataset[4]["image"], dataset[4]["image"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["head", "liver"]}, "kinds must be different names out of abdomen, head, .* got head, liver"),
        ({"kinds": "liver"}, "got liver"),
        ({"kinds": []}, "kinds must be"),
        ({"kinds": ["head", "head"]}, "kinds must be different"),
        ({"weights": [1, 2]}, r"weights must be one number for each of the 5 kinds.* got \[1, 2\]"),
        ({"kinds": ["head"], "weights": [0]}, "not all 0"),
        ({"kinds": ["head", "cells"], "weights": [1, -1]}, "at least 0"),
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"size": (32, 256)}, "size must be"),
        ({"size": (256,)}, "size must be"),
        ({"seed": -1}, "seed must be 0 or above"),
        ({"colour": 1}, "its options are: num_images, size, kinds, weights"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_items("scenes", **options)


def test_bad_scenes() -> None:
    with pytest.raises(ValueError, match="section must be one of training, validation, got 'all'"):
        make_scene("head", section="all")
    with pytest.raises(ValueError, match="number must be 0 or above, got -1"):
        make_scene("head", -1)
    with pytest.raises(ValueError, match="kinds must be"):
        make_scene("foot")
