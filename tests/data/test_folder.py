from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items
from adaptiveclick_med.transforms.loading import LoadSampled

SQUARE = np.zeros((12, 16), dtype=np.uint8)
SQUARE[2:6, 2:7] = 1
SQUARE[8:11, 3:6] = 2


def picture(path: Path, array: np.ndarray = SQUARE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2, 5, 1]) if affine is None else affine), path)


def cube(value: int = 1) -> np.ndarray:
    label = np.zeros((16, 12, 8), dtype=np.uint8)
    label[2:9, 3:8, 2:6] = value  # 7 × 5 = 35 px in each of four axial slices
    label[12, 10, 1] = value  # one voxel
    return label


def names(items: list) -> list[str]:
    return [item["name"] for item in items]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.png", "labels/{}.png"),
        ("imagesTr/{}.jpg", "labelsTr/{}.png"),
        ("IMG/{}.bmp", "Annotations/{}.tif"),
        ("image/{}.png", "mask/{}_mask.png"),
        ("images/{}_0000.png", "labels/{}.png"),
        ("{}_image.png", "{}_label.png"),
        ("{}.jpg", "{}_seg.png"),
        ("{}.png", "{}-mask.png"),
        ("{}/image.png", "{}/label.png"),
    ],
)
def test_layouts(tmp_path: Path, image: str, label: str) -> None:
    for name in ("b", "a"):
        picture(tmp_path / image.format(name))
        picture(tmp_path / label.format(name))
    (tmp_path / "notes.txt").touch()
    items = get_items("folder", tmp_path)
    assert names(items) == ["a", "b"]
    assert items[0] == {
        "image": str(tmp_path / image.format("a")),
        "label": str(tmp_path / label.format("a")),
        "name": "a",
        "group": "a",
        "source": "folder",
        "reader": {"label_type": "instances"},
    }


def test_explicit_folders(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "a.png")
    picture(tmp_path / "truth" / "a.png")
    for image_dir, label_dir in (("pictures", "truth"), (tmp_path / "pictures", tmp_path / "truth")):
        assert names(get_items("folder", tmp_path, image_dir=image_dir, label_dir=label_dir)) == ["a"]
    both = {"image_dir": tmp_path / "pictures", "label_dir": tmp_path / "truth"}
    assert names(get_items("folder", **both)) == ["a"]
    with pytest.raises(ValueError, match="image_dir and label_dir must be given together"):
        get_items("folder", tmp_path, image_dir="pictures")
    with pytest.raises(FileNotFoundError, match="label_dir does not exist"):
        get_items("folder", tmp_path, image_dir="pictures", label_dir="none")


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        picture(tmp_path / folder / "a.png")
        (tmp_path / folder / "._a.png").write_bytes(b"rubbish")
        (tmp_path / folder / "__MACOSX").mkdir()
        (tmp_path / folder / "__MACOSX" / "b.png").write_bytes(b"rubbish")
    assert names(get_items("folder", tmp_path)) == ["a"]


def test_subfolders_are_groups_of_pictures(tmp_path: Path) -> None:
    for name in ("p1/a", "p1/b", "p2/a", "c"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "labels" / f"{name}.png")
    items = get_items("folder", tmp_path)
    assert names(items) == ["c", "p1/a", "p1/b", "p2/a"]
    assert [item["group"] for item in items] == ["c", "p1", "p1", "p2"]


def test_group_pattern(tmp_path: Path) -> None:
    for name in ("pat1_x", "pat1_y", "pat2_x", "other"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "labels" / f"{name}.png")
    with pytest.raises(DataSetError, match=r"other.png: group_pattern .* does not match"):
        get_items("folder", tmp_path, group_pattern=r"(pat\d)_")
    items = get_items("folder", tmp_path, group_pattern=r"(pat\d)_", on_error="skip")
    assert [item["group"] for item in items] == ["pat1", "pat1", "pat2"]
    for wrong in ("pat", "(pat"):
        with pytest.raises(ValueError, match="group_pattern"):
            get_items("folder", tmp_path, group_pattern=wrong)


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"no image found.*imagestr.*labelstr.*case_label\.nii\.gz.*\.mhd"):
        get_items("folder", tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataSetError, match=r"no image found in .*images: looked for images"):
        get_items("folder", tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(DataSetError, match=r"no image found in .*labels: looked for labels"):
        get_items("folder", tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DataSetError, match=r"several folders.*\(images, imagesTr\): pass image_dir"):
        get_items("folder", tmp_path)


def test_every_problem_is_named(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for name in ("good", "lonely", "small", "empty", "broken", "twice", "ignored"):
        picture(images / f"{name}.png")
        picture(labels / f"{name}.png")
    (labels / "lonely.png").unlink()
    picture(labels / "stray.png")
    picture(labels / "small.png", SQUARE[:5])
    picture(labels / "empty.png", SQUARE * 0)
    picture(labels / "ignored.png", (SQUARE > 0).astype(np.uint8) * 9)
    (images / "broken.png").write_bytes(b"rubbish")
    picture(images / "twice.jpg")
    with pytest.raises(DataSetError) as caught:
        get_items("folder", tmp_path, ignore_value=9)
    message = str(caught.value)
    for words in (
        "images/lonely.png: the image has no label of the same name.",
        "labels/stray.png: the label has no image of the same name.",
        "labels/small.png: the label is 5×16 pixels, but the image small.png 12×16.",
        "labels/empty.png: the label is empty: it has no object.",
        "labels/ignored.png: the label is empty: it has no object.",
        "images/broken.png: cannot be read: ",
        "2 images share the name 'twice' (twice.jpg, twice.png).",
    ):
        assert words in message
    assert names(get_items("folder", tmp_path, ignore_value=9, on_error="skip")) == ["good"]


def test_soft_masks_are_refused_unless_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "labels" / "a.png", np.where(SQUARE == 1, 255, SQUARE * 60).astype(np.uint8))
    with pytest.raises(DataSetError, match="label_type='auto' cannot tell"):
        get_items("folder", tmp_path)
    counts = {}
    for label_type in ("instances", "binary", "binary_components"):
        (item,) = get_items("folder", tmp_path, label_type=label_type)
        counts[label_type] = len(LoadSampled()(item)["label"].as_tensor().unique()) - 1
    assert counts == {"instances": 2, "binary": 1, "binary_components": 2}


def test_slices_of_a_volume(tmp_path: Path) -> None:
    volume(tmp_path / "imagesTr" / "case.nii.gz", cube().astype(np.int16) * 100)
    volume(tmp_path / "labelsTr" / "case.nii.gz", cube(3))
    items = get_items("folder", tmp_path)
    assert names(items) == [f"case/axial_00{index}" for index in (2, 3, 4, 5)]
    assert items[0]["group"] == "case"
    assert items[0]["reader"] == {"label_type": "instances", "plane": "axial", "index": 2}
    assert len(get_items("folder", tmp_path, min_area=1)) == 5
    assert names(get_items("folder", tmp_path, every=3)) == ["case/axial_002", "case/axial_005"]
    assert names(get_items("folder", tmp_path, plane="sagittal")) == [f"case/sagittal_{i:03d}" for i in range(2, 9)]
    assert names(get_items("folder", tmp_path, plane="coronal")) == [f"case/coronal_{i:03d}" for i in range(3, 8)]
    with pytest.raises(
        DataSetError, match=r"no axial slice has an object of 36 pixels \(min_area\); the largest has 35"
    ):
        get_items("folder", tmp_path, min_area=36)


def test_planes_follow_the_affine_and_not_the_array(tmp_path: Path) -> None:
    turned = np.array([[0, 0, 2.0, 0], [2, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 1]])  # array axis 1 is superior
    label = cube().transpose(1, 2, 0)
    volume(tmp_path / "images" / "case.nii", label.astype(np.float32), turned)
    volume(tmp_path / "labels" / "case.nii", label, turned)
    straight = tmp_path / "straight"
    volume(straight / "images" / "case.nii", cube().astype(np.float32))
    volume(straight / "labels" / "case.nii", cube())
    for plane in ("axial", "coronal", "sagittal"):
        one, other = (get_items("folder", folder, plane=plane) for folder in (tmp_path, straight))
        assert names(one) == names(other)
        one, other = LoadSampled()(one[1]), LoadSampled()(other[1])
        assert torch.equal(one["label"].as_tensor(), other["label"].as_tensor())
        assert torch.allclose(one["image"].affine, other["image"].affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_other_volume_formats(tmp_path: Path, suffix: str) -> None:
    for name, array in (("case", cube().astype(np.float32)), ("case_label", cube())):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.transpose(2, 1, 0)), str(tmp_path / f"{name}{suffix}"))
    assert names(get_items("folder", tmp_path)) == [f"case/axial_00{index}" for index in (2, 3, 4, 5)]


def test_problems_of_volumes(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for name in ("good", "shape", "place", "empty", "half", "mixed", "negative", "cut"):
        volume(images / f"{name}.nii.gz", cube().astype(np.float32))
        volume(labels / f"{name}.nii.gz", cube())
    volume(labels / "shape.nii.gz", cube()[:-1])
    shifted = np.diag([2.0, 2, 5, 1])
    shifted[0, 3] = 1.0
    volume(labels / "place.nii.gz", cube(), shifted)
    volume(labels / "empty.nii.gz", cube() * 0)
    volume(labels / "half.nii.gz", cube() * np.float32(0.5))
    volume(labels / "negative.nii.gz", -2 * cube().astype(np.int16))
    (labels / "mixed.nii.gz").unlink()
    picture(labels / "mixed.png")
    (labels / "cut.nii.gz").write_bytes((labels / "cut.nii.gz").read_bytes()[:60])
    with pytest.raises(DataSetError) as caught:
        get_items("folder", tmp_path)
    message = str(caught.value)
    for words in (
        "labels/shape.nii.gz: the label is 15×12×8 voxels, but the image shape.nii.gz 16×12×8.",
        "labels/place.nii.gz: the label lies elsewhere than the image place.nii.gz: its affine moves a corner by 0.5",
        "labels/empty.nii.gz: the label is empty",
        "labels/half.nii.gz: label values must be whole numbers, got for example 0.5.",
        "labels/negative.nii.gz: label values must not be negative (but for -1, ignore), got -2.",
        "labels/mixed.png: one is a volume and the other a picture (mixed.nii.gz, mixed.png).",
        "labels/cut.nii.gz: cannot be read",
    ):
        assert words in message
    assert {item["group"] for item in get_items("folder", tmp_path, on_error="skip")} == {"good"}
    tolerant = get_items("folder", tmp_path, on_error="skip", affine_tolerance=0.6)
    assert {item["group"] for item in tolerant} == {"good", "place"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("label_type", "soft"), ("plane", "z"), ("min_area", 0), ("every", 0), ("affine_tolerance", -1.0)],
)
def test_bad_options(tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        get_items("folder", tmp_path, **{option: value})


@pytest.mark.parity
def test_real_volumes(shared: Path) -> None:
    folder = shared / "data" / "MSD_Hippocampus"
    items = get_items("folder", folder)
    assert len(items) == 4470 and len({item["name"] for item in items}) == 4470
    assert len({item["group"] for item in items}) == 195
    training = get_items("folder", folder, section="training", max_samples=150)
    validation = get_items("folder", folder, section="validation", max_samples=100)
    assert len({item["group"] for item in training}) == 137 and len({item["group"] for item in validation}) == 58
    loaded = LoadSampled()(validation[0])
    assert loaded["image"].shape == loaded["label"].shape and set(loaded["label"].unique().tolist()) <= {0, 1, 2}
