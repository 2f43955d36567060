from __future__ import annotations

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Flipd, SpatialCropd
from PIL import Image

from adaptiveclick_med.data import files
from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.transforms import loading
from adaptiveclick_med.transforms.loading import LoadSampled
from adaptiveclick_med.transforms.scaling import ScaleToUnitRGBd

RANDOM = np.random.RandomState(0)
VOXELS = RANDOM.randint(-1000, 3000, (6, 5, 4)).astype(np.int16)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1]])  # RAS


@pytest.fixture
def item(tmp_path: Path) -> dict:
    nibabel.save(nibabel.Nifti1Image(VOXELS, AFFINE), tmp_path / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image((VOXELS > 0).astype(np.float32) * 3, AFFINE), tmp_path / "label.nii.gz")
    return {
        "image": str(tmp_path / "image.nii.gz"),
        "label": str(tmp_path / "label.nii.gz"),
        "name": "case/axial_002",
        "group": "case",
        "source": "folder",
        "reader": {"label_type": "instances", "plane": "axial", "index": 2},
    }


def test_slice_of_a_volume(item: dict) -> None:
    loaded = LoadSampled()(item)
    assert set(loaded) == {"image", "label", "name", "group", "source"} and "reader" in item
    image, label = loaded["image"], loaded["label"]
    shown = VOXELS[::-1, ::-1, 2].T  # rows to posterior, columns to the left
    assert isinstance(image, MetaTensor) and image.dtype == torch.int16 and image[0].tolist() == shown.tolist()
    assert label.dtype == torch.int32 and label.tolist() == [((shown > 0) * 3).tolist()]
    assert image.affine.tolist() == [[0, -2, 0, 0], [-3, 0, 0, -8], [0, 0, 5, 40], [0, 0, 0, 1]]
    assert torch.equal(image.affine, label.affine)
    assert image.meta["spacing"].tolist() == [3.0, 2.0]
    assert image.meta["filename_or_obj"] == item["image"]
    assert image.meta["intensity_range"].tolist() == [np.percentile(VOXELS, (0.5, 99.5)).tolist()]


def test_a_mask_can_be_put_back(item: dict) -> None:
    meta = LoadSampled()(item)["label"].meta
    mask = np.zeros((5, 6), dtype=np.uint8)
    mask[0, 1] = 7
    target = np.zeros(meta["volume_shape"].tolist(), dtype=np.uint8)
    plane = slice_plane(meta["volume_affine"].numpy(), meta["plane"])
    plane.put(target, meta["slice_index"], mask)
    assert np.argwhere(target).tolist() == [[4, 4, 2]] and meta["volume_affine"].tolist() == AFFINE.tolist()


def test_spatial_transforms_keep_the_place_in_the_world(item: dict) -> None:
    loaded = LoadSampled()(item)
    world = loaded["image"].affine @ torch.tensor([3.0, 4.0, 0.0, 1.0], dtype=torch.float64)
    value = loaded["image"][0, 3, 4]
    cropped = SpatialCropd(["image", "label"], roi_start=[2, 1], roi_end=[5, 6])(loaded)
    flipped = Flipd(["image", "label"], spatial_axis=1)(cropped)["image"]
    assert flipped[0, 1, 1] == value
    assert torch.allclose(flipped.affine @ torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64), world)


def test_a_volume_is_scaled_as_a_whole(item: dict) -> None:
    flat = VOXELS.copy()
    flat[:, :, 2] = 0
    flat[0, 0, 2] = 1
    nibabel.save(nibabel.Nifti1Image(flat, AFFINE), item["image"])
    image = ScaleToUnitRGBd("image")(LoadSampled()(item))["image"]
    low, high = np.percentile(flat, (0.5, 99.5))
    assert image.shape == (3, 5, 6) and image.dtype == torch.float32
    assert float(image.max() - image.min()) == pytest.approx(1 / (high - low), rel=1e-3)


def test_batches_of_slices(item: dict) -> None:
    items = [{**item, "reader": {**item["reader"], "index": index}} for index in range(4)]
    load = LoadSampled()
    loader = DataLoader([ScaleToUnitRGBd("image")(load(one)) for one in items], batch_size=4)
    (batch,) = loader
    assert batch["image"].shape == (4, 3, 5, 6) and batch["label"].shape == (4, 1, 5, 6)
    assert batch["image"].meta["slice_index"].tolist() == [0, 1, 2, 3]


def test_files_are_read_once(item: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(loading, "read_volume", lambda path: read.append(path) or files.read_volume(path))
    load = LoadSampled()
    first = load(item)["image"]
    first.fill_(0)
    assert load(item)["image"].any() and len(read) == 2
    nibabel.save(nibabel.Nifti1Image(VOXELS * 0 + 5, AFFINE), item["image"])
    assert (load(item)["image"] == 5).all() and len(read) == 3
    assert pickle.loads(pickle.dumps(load))(item)["image"].shape == (1, 5, 6) and len(read) == 5


def test_the_cache_is_bounded_by_bytes(tmp_path: Path, item: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(loading, "read_volume", lambda path: read.append(Path(path).name) or files.read_volume(path))
    items = []
    for number in range(3):
        nibabel.save(nibabel.Nifti1Image(VOXELS, AFFINE), tmp_path / f"{number}.nii")
        items.append({**item, "image": str(tmp_path / f"{number}.nii")})
    load = LoadSampled("image", cache_bytes=2 * VOXELS.nbytes)
    for number in (0, 1, 0, 2, 0, 1):  # 2 drives out 1, the one not used for longest
        load(items[number])
    assert read == ["0.nii", "1.nii", "2.nii", "1.nii"]
    small = LoadSampled("image", cache_bytes=10)
    small(items[0])
    small(items[0])
    assert read[4:] == ["0.nii", "0.nii"]


def test_channels_and_layers(tmp_path: Path, item: dict) -> None:
    channels = np.stack([VOXELS, VOXELS * 2], axis=-1)
    layers = np.stack([VOXELS > 0, VOXELS > 500], axis=-1).astype(np.uint8) * np.array([1, 2], dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(channels, AFFINE), item["image"])
    nibabel.save(nibabel.Nifti1Image(layers, AFFINE), item["label"])
    loaded = LoadSampled()(item)
    assert loaded["image"].shape == loaded["label"].shape == (2, 5, 6)
    assert loaded["image"][1].tolist() == (channels[::-1, ::-1, 2, 1].T).tolist()
    assert set(loaded["label"][1].unique().tolist()) == {0, 2}
    ranges = loaded["image"].meta["intensity_range"]
    assert ranges.shape == (2, 2) and torch.allclose(ranges[1], 2 * ranges[0])
    rgb = ScaleToUnitRGBd("image", channels=1)(loaded)["image"]
    alone = ScaleToUnitRGBd("image", channels=0)(loaded)["image"]
    assert torch.allclose(rgb, alone, atol=1e-6)


def test_pictures(tmp_path: Path) -> None:
    grey = np.array([[0, 300, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    colour = RANDOM.randint(0, 255, (2, 3, 4)).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    load = LoadSampled("image")
    image = load({"image": tmp_path / "grey.png", "name": "g"})["image"]
    assert image.dtype == torch.int32 and image.tolist() == [grey.tolist()]
    assert image.meta["filename_or_obj"] == "g" and image.affine.tolist() == np.eye(4).tolist()
    image = load({"image": str(tmp_path / "colour.png")})["image"]
    assert image.dtype == torch.uint8 and image.tolist() == colour[..., :3].transpose(2, 0, 1).tolist()
    assert "intensity_range" not in image.meta


def test_arrays_are_pictures_or_volumes() -> None:
    picture = {"image": np.ones((3, 4, 5), dtype=np.float32), "label": np.eye(4, 5, dtype=np.uint8)}
    loaded = LoadSampled()(picture)
    assert loaded["image"].shape == (3, 4, 5) and loaded["label"].sum() == 4
    loaded["image"].fill_(9)
    assert picture["image"].max() == 1
    reader = {"plane": "sagittal", "index": 5, "affine": AFFINE.tolist(), "intensity_range": [[0.0, 10.0]]}
    loaded = LoadSampled()({"image": VOXELS, "label": (VOXELS > 0).astype(np.uint8), "reader": reader})
    assert loaded["image"][0].tolist() == VOXELS[5, ::-1, ::-1].T.tolist()
    assert loaded["image"].meta["intensity_range"].tolist() == [[0.0, 10.0]]


def test_label_hints(tmp_path: Path) -> None:
    mask = np.array([[0, 9, 0, 4], [255, 0, 0, 0]], dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.png")
    load = LoadSampled("label")
    for label_type, expected in (
        ("instances", [[0, 9, 0, 4], [-1, 0, 0, 0]]),
        ("binary", [[0, 1, 0, 1], [-1, 0, 0, 0]]),
        ("components", [[0, 1, 0, 2], [-1, 0, 0, 0]]),
    ):
        item = {"label": str(tmp_path / "a.png"), "reader": {"label_type": label_type, "ignore_value": 255}}
        assert load(item)["label"].tolist() == [expected]


def test_errors(tmp_path: Path, item: dict) -> None:
    load = LoadSampled()
    with pytest.raises(ValueError, match="image of case/axial_002: slice index 9 is outside the volume's 4 slices"):
        load({**item, "reader": {"plane": "axial", "index": 9}})
    with pytest.raises(ValueError, match="a volume needs plane and index"):
        load({**item, "reader": {}})
    with pytest.raises(ValueError, match=r"none\.nii\.gz: there is no such file"):
        load({**item, "image": str(tmp_path / "none.nii.gz")})
    with pytest.raises(ValueError, match="label of a is 3×4 pixels, but the image 4×4"):
        load({"name": "a", "image": np.zeros((4, 4)), "label": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"image of a: it has shape \[2, 2, 2, 2\]"):
        load({"name": "a", "image": np.zeros((2, 2, 2, 2)), "label": np.zeros((2, 2))})
    with pytest.raises(TypeError, match="got int"):
        load({"image": 3, "label": 4})
    with pytest.raises(KeyError):
        load({"image": np.zeros((4, 4))})
    assert "label" not in LoadSampled(allow_missing_keys=True)({"image": np.zeros((4, 4))})
    with pytest.raises(ValueError, match="no finite value"):
        load({**item, "image": np.full((6, 5, 4), np.nan, dtype=np.float32)})
