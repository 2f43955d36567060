from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.data.files import kept_locale
from adaptiveclick_med.data.oaizib import declared
from adaptiveclick_med.transforms.loading import LoadSampled

# slices (sagittal) run to the left, rows to inferior, columns to posterior, as ITK reads the DICOM series of a knee:
# the columns of the matrix are the directions of columns, rows and slices in LPS
DIRECTION = (0, 0, 1, 1, 0, 0, 0, -1, 0)
SPACING = (0.36, 0.36, 0.7)  # of columns, rows, slices


def knee() -> np.ndarray:
    """Labels as slices, rows, columns: bones 1, 3; cartilage 2, 4."""
    array = np.zeros((6, 16, 15), np.uint8)
    array[:, 0:4, :] = 1
    array[:, 12:16, :] = 3
    array[1, 4:7, 0:12] = 2  # 36 alone
    array[3, 4:7, 0:9] = 2  # 27, and
    array[3, 7:10, 0:8] = 4  # 24
    array[4, 4:7, 0:7] = 2  # 21
    return array


def write_volume(path: Path, array: np.ndarray, direction: tuple[float, ...] = DIRECTION) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection(direction)
    image.SetSpacing(SPACING)
    image.SetOrigin((10, -20, 30))
    SimpleITK.WriteImage(image, str(path))


def write_dicom(folder: Path, array: np.ndarray) -> None:
    folder.mkdir(parents=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, values in enumerate(array):
        image = SimpleITK.GetImageFromArray(values[None])
        image.SetSpacing(SPACING)
        image.SetDirection(DIRECTION)
        place = [10 + number * SPACING[2], -20, 30]
        image.SetOrigin(place)
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "0\\1\\0\\0\\0\\-1",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number:03d}.dcm"))
        with kept_locale():  # ITK leaves that of C behind when it writes DICOM, too
            writer.Execute(image)


def signal(label: np.ndarray) -> np.ndarray:
    return (label.astype(np.int16) + 1) * 100


def write_case(folder: Path, case: str, image: str = "images/{}.mhd", label: np.ndarray | None = None) -> None:
    label = knee() if label is None else label
    write_volume(folder / "segmentation_masks" / f"{case}.segmentation_masks.mhd", label)
    write_volume(folder / image.format(case), signal(label))


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_both_cartilages_in_the_sagittal_slice_where_they_are_largest(tmp_path: Path) -> None:
    for case in ("9001104", "9000099"):
        write_case(tmp_path, case)
    items = get_items("oaizib", tmp_path)
    assert names(items) == ["9000099/sagittal_003", "9001104/sagittal_003"]
    assert items[1] == {
        "image": str(tmp_path / "images" / "9001104.mhd"),
        "label": str(tmp_path / "segmentation_masks" / "9001104.segmentation_masks.mhd"),
        "name": "9001104/sagittal_003",
        "group": "9001104",
        "source": "oaizib",
        "reader": {"label_type": "labels", "labels": [2, 4], "plane": "sagittal", "index": 3},
    }
    loaded = LoadSampled()(items[0])
    shown = loaded["label"].numpy()[0]
    assert np.array_equal(shown, np.where(np.isin(knee()[3], (2, 4)), knee()[3], 0))
    assert [int((shown == number).sum()) for number in (2, 4)] == [27, 24]
    assert np.array_equal(loaded["image"].numpy()[0], signal(knee())[3])
    assert loaded["image"].meta["spacing"].tolist() == pytest.approx([0.36, 0.36])


@pytest.mark.parametrize("image", ["images/{}.nii.gz", "Images/{}.nrrd", "image/{}.mha", "images/{}.dess.mhd"])
def test_other_names_and_formats(tmp_path: Path, image: str) -> None:
    write_case(tmp_path, "9001104", image)
    assert names(get_items("OAI-ZIB", tmp_path)) == ["9001104/sagittal_003"]


def test_labels_in_another_folder_and_format(tmp_path: Path) -> None:
    write_volume(tmp_path / "labels" / "9001104.nii.gz", knee())
    write_volume(tmp_path / "images" / "9001104.nii.gz", signal(knee()))
    assert names(get_items("oaizib", tmp_path)) == ["9001104/sagittal_003"]


@pytest.mark.parametrize("below", ["", "20050818/10457803"])
def test_dicom_series(tmp_path: Path, below: str) -> None:
    write_case(tmp_path, "9001104")
    (tmp_path / "images" / "9001104.mhd").unlink()
    (tmp_path / "images" / "9001104.raw").unlink()
    folder = tmp_path / "images" / "9001104" / below
    write_dicom(folder, signal(knee()))
    (folder / ".DS_Store").touch()
    # the series starts on the other side than the label does
    image = SimpleITK.ReadImage(str(tmp_path / "segmentation_masks" / "9001104.segmentation_masks.mhd"))
    turned = image[:, :, ::-1]
    SimpleITK.WriteImage(turned, str(tmp_path / "segmentation_masks" / "9001104.segmentation_masks.mhd"))
    (item,) = get_items("oaizib", tmp_path)
    assert item["image"] == str(folder) and item["name"] == "9001104/sagittal_002"
    loaded = LoadSampled()(item)
    assert np.array_equal(loaded["image"].numpy()[0], signal(knee())[3])
    assert np.array_equal(loaded["label"].numpy()[0] > 0, np.isin(knee()[3], (2, 4)))


@pytest.mark.parametrize(
    ("options", "expected", "numbers"),
    [
        ({"labels": [2]}, [1], {0, 2}),
        ({"labels": [1, 3]}, [0], {0, 1, 3}),
        ({"labels": None}, [3], {0, 1, 2, 3, 4}),
        ({"objects": "one"}, [3], {0, 1}),
        ({"slices": "all"}, [1, 3, 4], {0, 2}),
        ({"slices": "all", "every": 2}, [1, 4], {0, 2}),
        ({"slices": "all", "min_area": 28}, [1], {0, 2}),
        ({"min_area": 28}, [1], {0, 2}),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], expected: list[int], numbers: set[int]) -> None:
    write_case(tmp_path, "a")
    items = get_items("oaizib", tmp_path, **options)
    assert names(items) == [f"a/sagittal_00{index}" for index in expected]
    assert set(LoadSampled()(items[-1])["label"].unique().tolist()) == numbers


def test_other_planes(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    (item,) = get_items("oaizib", tmp_path, plane="axial", min_area=1)
    areas = np.isin(knee(), (2, 4)).sum(axis=(0, 2))
    assert item["name"] == f"a/axial_{int(areas.argmax()):03d}" == "a/axial_004"


def test_problems_are_named(tmp_path: Path) -> None:
    masks, images = tmp_path / "segmentation_masks", tmp_path / "images"
    for case in ("bones", "cut", "empty", "good", "lonely", "moved", "nested", "twice", "unlabelled"):
        write_case(tmp_path, case)
    write_volume(masks / "bones.segmentation_masks.mhd", np.where(knee() % 2, knee(), 0))
    (masks / "cut.segmentation_masks.raw").unlink()
    for case in ("empty", "nested", "lonely"):
        (images / f"{case}.mhd").unlink()
    (images / "empty" / "a").mkdir(parents=True)
    for below in ("a", "b"):
        write_dicom(images / "nested" / below, signal(knee()))
    write_volume(masks / "moved.segmentation_masks.mhd", knee(), (0, 0, 1, 0.9998, -0.02, 0, -0.02, -0.9998, 0))
    write_volume(images / "twice.nrrd", signal(knee()))
    (masks / "unlabelled.segmentation_masks.mhd").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("oaizib", tmp_path)
    for words in (
        "bones.segmentation_masks.mhd: the label is empty: it has no object.",
        "cut.segmentation_masks.mhd: cannot be read: ",
        "images/empty: one folder with a DICOM series is expected in it, found 0: none.",
        "lonely.segmentation_masks.mhd: case lonely has 0 images and 1 labels, one of each is expected",
        "moved.segmentation_masks.mhd: the label lies elsewhere than the image moved.mhd",
        "images/nested: one folder with a DICOM series is expected in it, found 2: a, b.",
        "images/twice.mhd: case twice has 2 images and 1 labels, one of each is expected (twice.mhd, twice.nrrd, "
        "twice.segmentation_masks.mhd).",
        "images/unlabelled.mhd: case unlabelled has 1 images and 0 labels",
    ):
        assert words in str(caught.value)
    assert names(get_items("oaizib", tmp_path, on_error="skip")) == ["good/sagittal_003"]
    tolerant = get_items("oaizib", tmp_path, on_error="skip", affine_tolerance=1)
    assert {item["group"] for item in tolerant} == {"good", "moved"}


class TestExportedSlices:
    def write(self, folder: Path, *labels: np.ndarray) -> Path:
        for kind in ("image", "annotations"):
            (folder / kind).mkdir(parents=True)
        for number, label in enumerate(labels):
            Image.fromarray(label * 50).convert("RGB").save(folder / "image" / f"{number}.png")
            Image.fromarray(label).save(folder / "annotations" / f"{number}.png")
        return folder

    @pytest.mark.parametrize("below", ["", "test"])
    def test_each_value_is_an_object(self, tmp_path: Path, below: str) -> None:
        label = np.where(np.isin(knee()[3], (2, 4)), knee()[3] // 2, 0).astype(np.uint8)  # 1 and 2
        folder = self.write(tmp_path / below, label)
        (item,) = get_items("oaizib", tmp_path)
        assert item == {
            "image": str(folder / "image" / "0.png"),
            "label": str(folder / "annotations" / "0.png"),
            "name": "0",
            "group": "0",
            "source": "oaizib",
            "reader": {"label_type": "instances"},
        }
        loaded = LoadSampled()(item)
        assert loaded["image"].shape == (3, 16, 15)
        assert np.array_equal(loaded["label"].numpy()[0], label)

    def test_one_object(self, tmp_path: Path) -> None:
        self.write(tmp_path, knee()[3])
        (item,) = get_items("oaizib", tmp_path, objects="one")
        assert set(LoadSampled()(item)["label"].unique().tolist()) == {0, 1}

    def test_problems_are_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, knee()[3], knee()[3] * 0)
        (tmp_path / "image" / "2.png").write_bytes((tmp_path / "image" / "0.png").read_bytes())
        with pytest.raises(DataSetError, match=r"2 problems(.|\n)*2.png: the image has no label(.|\n)*1.png: .* empty"):
            get_items("oaizib", tmp_path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"is not an OAI-ZIB folder: looked for segmentation_masks/ and images/"):
        get_items("oaizib", tmp_path)
    for options, message in (
        ({"objects": "components"}, "objects must be one of labels, one, got 'components'"),
        ({"labels": 2}, "labels must be a list of whole numbers of at least 1, got 2"),
        ({"plane": "oblique"}, "plane must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            get_items("oaizib", tmp_path, **options)
    write_case(tmp_path, "a")
    with pytest.raises(ValueError, match="affine_tolerance must not be negative"):
        get_items("oaizib", tmp_path, affine_tolerance=-1)


def test_how_it_is_evaluated_and_how_much_there_should_be(tmp_path: Path) -> None:
    source = get_source("oaizib")
    assert (source.title, source.benchmark.min_area, source.benchmark.section) == ("OAI-ZIB", 1, "all")
    assert (source.benchmark.images, source.benchmark.objects) == ({"all": 150}, {"all": 300})
    write_case(tmp_path, "a")
    assert declared(tmp_path)[0].images == {"all": 507}
    TestExportedSlices().write(tmp_path / "test", knee()[3])
    assert declared(tmp_path) == (source.benchmark, [])
