from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items
from adaptiveclick_med.transforms.loading import LoadSampled


def write_stack(folder: Path, sections: int = 14) -> Path:
    for name in ("raw", "mitochondria"):
        (folder / name).mkdir(parents=True)
    random = np.random.RandomState(0)
    for number in range(sections):
        Image.fromarray(random.randint(0, 255, (20, 24)).astype(np.uint8)).save(folder / "raw" / f"{number:02d}.tif")
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[2:5, 2:5] = 255
        mask[5, 5] = 3  # touches by a corner: the same object
        mask[10:12, 10:14] = 17
        Image.fromarray(mask).save(folder / "mitochondria" / f"{number:02d}.png")
    return folder


def test_objects_are_8_connected_components(tmp_path: Path) -> None:
    items = get_items("sstem", write_stack(tmp_path / "stack1"))
    assert len(items) == 14 and items[3]["name"] == items[3]["group"] == "03"
    loaded = LoadSampled()(items[0])
    label = loaded["label"].as_tensor()
    assert loaded["image"].shape == label.shape == (1, 20, 24)
    assert [int((label == number).sum()) for number in label.unique()] == [480 - 18, 10, 8]


def test_the_parent_folder_will_do(tmp_path: Path) -> None:
    write_stack(tmp_path / "stack1", 3)
    assert get_items("sstem", tmp_path) == get_items("sstem", tmp_path / "stack1")


def test_the_last_sections_validate(tmp_path: Path) -> None:
    write_stack(tmp_path)
    for seed in (0, 1):
        names = [item["name"] for item in get_items("sstem", tmp_path, section="validation", seed=seed)]
        assert names == ["10", "11", "12", "13"]
    assert len(get_items("sstem", tmp_path, section="training")) == 10


def test_sections_are_in_numerical_order(tmp_path: Path) -> None:
    write_stack(tmp_path, 3)
    for folder, suffix in (("raw", ".tif"), ("mitochondria", ".png")):
        for old, new in (("00", "10"), ("01", "9"), ("02", "b")):
            (tmp_path / folder / f"{old}{suffix}").rename(tmp_path / folder / f"{new}{suffix}")
    assert [item["name"] for item in get_items("sstem", tmp_path)] == ["9", "10", "b"]


def test_problems_are_named(tmp_path: Path) -> None:
    write_stack(tmp_path, 6)
    masks = tmp_path / "mitochondria"
    (tmp_path / "raw" / "00.tif").unlink()
    (masks / "01.png").unlink()
    Image.fromarray(np.zeros((20, 24), dtype=np.uint8)).save(masks / "02.png")
    Image.fromarray(np.ones((24, 20), dtype=np.uint8)).save(masks / "03.png")
    (tmp_path / "raw" / "04.tif").write_bytes(b"rubbish")
    (tmp_path / "raw" / "._05.tif").write_bytes(b"rubbish")
    with pytest.raises(DataSetError) as caught:
        get_items("sstem", tmp_path)
    for words in ("00.png: the section has no picture", "01.tif: the section has no mask", "02.png: the mask is empty"):
        assert words in str(caught.value)
    assert "03.png: the mask has size [24, 20], but the picture [20, 24]" in str(caught.value)
    assert "raw/04.tif: cannot be read" in str(caught.value)
    assert [item["name"] for item in get_items("sstem", tmp_path, on_error="skip")] == ["05"]


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="looked for raw/ and mitochondria/"):
        get_items("sstem", tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "mitochondria").mkdir()
    with pytest.raises(DataSetError, match="no section found"):
        get_items("sstem", tmp_path)


@pytest.mark.parity
def test_real_sections(shared: Path) -> None:
    items = get_items("sstem", shared / "data" / "ssTEM")
    assert [item["name"] for item in items] == [
        path.stem for path in sorted((shared / "data/ssTEM/stack1/raw").iterdir())
    ]
    assert len(items) == 14
    load = LoadSampled()
    assert sum(int(load(item)["label"].max()) for item in items) == 269
