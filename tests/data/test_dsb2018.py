from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items
from adaptiveclick_med.data.dsb2018 import decode_annotation
from adaptiveclick_med.transforms.loading import LoadSampled

SIZE = (12, 15)


def region(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


MASKS = (region(0, 0, 4, 4), region(6, 6, 9, 10), region(2, 2, 7, 8))  # the third meets both others


def write_case(folder: Path, name: str, masks: tuple[np.ndarray, ...] = MASKS, colour: str = "RGBA") -> Path:
    case = folder / name
    for kind in ("images", "masks"):
        (case / kind).mkdir(parents=True)
    picture = Image.fromarray(np.arange(180, dtype=np.uint8).reshape(SIZE))
    picture.convert(colour).save(case / "images" / f"{name}.png")
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(case / "masks" / f"mask_{number}.png")
    return case


def test_one_mask_an_object(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_case(tmp_path / "stage1_train", name)
    items = get_items("dsb2018", tmp_path)
    assert [item["name"] for item in items] == ["a", "b"]
    assert items == get_items("dsb2018", tmp_path / "stage1_train")
    assert items[0]["group"] == "a" and items[0]["source"] == "dsb2018" and items[0]["reader"] == {}
    loaded = LoadSampled()(items[0])
    assert loaded["image"].shape == (3, *SIZE)  # transparency is dropped
    expected = np.zeros((2, *SIZE), np.int32)
    expected[0][MASKS[0] > 0], expected[0][MASKS[1] > 0], expected[1][MASKS[2] > 0] = 1, 2, 3
    assert torch.equal(loaded["label"].as_tensor(), torch.from_numpy(expected))


def test_an_empty_mask_is_no_object_and_keeps_its_number(tmp_path: Path) -> None:
    write_case(tmp_path, "a", (MASKS[0], MASKS[0] * 0, MASKS[1]))
    (item,) = get_items("dsb2018", tmp_path)
    layers = decode_annotation(item["label"])
    assert layers.shape == (1, *SIZE) and np.unique(layers).tolist() == [0, 1, 3]
    write_case(tmp_path, "b", (MASKS[0] * 0,))
    assert decode_annotation(get_items("dsb2018", tmp_path)[1]["label"]).any() == np.False_


def test_masks_may_be_soft_or_coloured(tmp_path: Path) -> None:
    case = write_case(tmp_path, "a", ((MASKS[0] > 0).astype(np.uint8) * 3,))
    Image.fromarray(MASKS[1]).convert("RGB").save(case / "masks" / "mask_1.png")
    (item,) = get_items("dsb2018", tmp_path)
    assert [int((decode_annotation(item["label"]) == number).sum()) for number in (1, 2)] == [16, 12]


def test_masks_of_another_size(tmp_path: Path) -> None:
    case = write_case(tmp_path, "a")
    Image.fromarray(MASKS[0].T.copy()).save(case / "masks" / "mask_1.png")
    (item,) = get_items("dsb2018", tmp_path)
    with pytest.raises(ValueError, match=r"label of a: .*mask_1.png has size \[15, 12\], the other masks \[12, 15\]"):
        LoadSampled()(item)
    write_case(tmp_path, "b", tuple(mask.T.copy() for mask in MASKS))
    with pytest.raises(ValueError, match="label of b is 15×12 pixels, but the image 12×15"):
        LoadSampled()(get_items("dsb2018", tmp_path)[1])


def test_a_broken_mask_is_named_when_it_is_read(tmp_path: Path) -> None:
    case = write_case(tmp_path, "a")
    (case / "masks" / "mask_2.png").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"cannot read .*a/masks/mask_2\.png"):
        LoadSampled()(get_items("dsb2018", tmp_path)[0])


def test_problems_are_named(tmp_path: Path) -> None:
    write_case(tmp_path, "good")
    two = write_case(tmp_path, "two")
    (two / "images" / "other.png").write_bytes((two / "images" / "two.png").read_bytes())
    (write_case(tmp_path, "none") / "images" / "none.png").unlink()
    write_case(tmp_path, "bare", ())
    (write_case(tmp_path, "no_folder", ()) / "masks").rmdir()
    (tmp_path / "good" / "masks" / "._mask_0.png").write_bytes(b"rubbish")
    with pytest.raises(DataSetError) as caught:
        get_items("dsb2018", tmp_path)
    for words in (
        "two/images: one image is expected, found 2.",
        "none/images: one image is expected, found 0.",
        "bare/masks: there is no mask.",
        "no_folder/masks: there is no mask.",
    ):
        assert words in str(caught.value)
    (item,) = get_items("dsb2018", tmp_path, on_error="skip")
    assert item["name"] == "good" and len(item["label"]["files"]) == 3


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="is not a DSB2018 folder: looked for stage1_train/ID/images"):
        get_items("dsb2018", tmp_path)


@pytest.mark.parity
def test_real_pictures(shared: Path) -> None:
    items = get_items("dsb2018", shared / "data" / "DSB2018")
    assert len(items) == 222
    files = [file for item in items for file in item["label"]["files"]]
    assert len(files) == len(set(files)) == 10983
    for item in items[:5]:
        layers = decode_annotation(item["label"])
        union = np.any([np.asarray(Image.open(file)) > 0 for file in item["label"]["files"]], axis=0)
        assert np.array_equal((layers > 0).any(axis=0), union)
        assert len(np.unique(layers)) - 1 == len(item["label"]["files"])
