from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.data.msd import declared
from adaptiveclick_med.transforms.loading import LoadSampled

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def label() -> np.ndarray:
    array = np.zeros((10, 9, 5), np.uint8)
    array[1:6, 1:6, 1] = 1  # 25 pixels
    array[1:6, 1:5, 2] = 1  # 20, and
    array[7:10, 0:8, 2] = 2  # 24
    array[0:2, 0:2, 3] = 1  # two parts of 4
    array[5:7, 5:7, 3] = 1
    return array


def write_task(folder: Path, names: tuple[str, ...] = ("case_2", "case_1"), channels: int = 0) -> Path:
    for name in names:
        shape = (10, 9, 5, channels) if channels else (10, 9, 5)
        image = np.arange(np.prod(shape)).reshape(shape).astype(np.int16)
        for kind, array in (("imagesTr", image), ("labelsTr", label())):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / kind / f"{name}.nii.gz")
    return folder


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_slices_of_the_labelled_volumes(tmp_path: Path) -> None:
    items = get_items("msd", write_task(tmp_path))
    assert names(items) == [f"case_{case}/axial_00{index}" for case in (1, 2) for index in (1, 2)]
    assert items[0]["group"] == "case_1" and items[0]["source"] == "msd"
    assert items[0]["reader"] == {"label_type": "labels", "plane": "axial", "index": 1}
    assert set(LoadSampled()(items[1])["label"].unique().tolist()) == {0, 1, 2}


def test_hidden_and_unlabelled_files_of_the_download(tmp_path: Path) -> None:
    write_task(tmp_path, ("case_1",))
    (tmp_path / "imagesTs").mkdir()
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / kind / "._case_1.nii.gz").write_bytes(b"rubbish")
    assert names(get_items("Decathlon", tmp_path)) == ["case_1/axial_001", "case_1/axial_002"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_area": 21}, [1, 2]),
        ({"min_area": 25}, [1]),
        ({"min_area": 26, "objects": "one"}, [2]),
        ({"min_area": 4, "objects": "components"}, [1, 2, 3]),
        ({"min_area": 5, "objects": "components"}, [1, 2]),
        ({"labels": [2]}, [2]),
        ({"slices": "largest"}, [2]),
        ({"slices": "largest", "labels": [1]}, [1]),
        ({"min_area": 1, "every": 2}, [1, 3]),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], expected: list[int]) -> None:
    items = get_items("msd", write_task(tmp_path, ("a",)), **options)
    assert names(items) == [f"a/axial_00{index}" for index in expected]


def test_other_planes(tmp_path: Path) -> None:
    items = get_items("msd", write_task(tmp_path, ("a",)), plane="sagittal", min_area=8)
    assert names(items) == [f"a/sagittal_00{index}" for index in (1, 2, 3, 4, 5, 7, 8, 9)]


def test_one_object_of_all_labels(tmp_path: Path) -> None:
    items = get_items("msd", write_task(tmp_path, ("a",)), objects="one")
    areas = [int((LoadSampled()(item)["label"] == 1).sum()) for item in items]
    assert areas == [25, 44]


def test_channel(tmp_path: Path) -> None:
    items = get_items("msd", write_task(tmp_path, ("a",), channels=2), channel=1)
    stored = np.asarray(nibabel.load(items[0]["image"]).dataobj)[:, :, 1, 1]
    assert np.array_equal(LoadSampled()(items[0])["image"].numpy()[0], stored.T[::-1, ::-1])
    with pytest.raises(ValueError, match="channel 2 is outside the image's 2 channels"):
        LoadSampled()(get_items("msd", tmp_path, channel=2)[0])


def test_problems_are_named(tmp_path: Path) -> None:
    write_task(tmp_path, ("lonely", "empty", "good"))
    (tmp_path / "labelsTr" / "lonely.nii.gz").unlink()
    nibabel.save(nibabel.Nifti1Image(label() * 0, AFFINE), tmp_path / "labelsTr" / "empty.nii.gz")
    with pytest.raises(DataSetError) as caught:
        get_items("msd", tmp_path)
    assert "imagesTr/lonely.nii.gz: the image has no label of the same name." in str(caught.value)
    assert "labelsTr/empty.nii.gz: the label is empty: it has no object." in str(caught.value)
    assert {item["group"] for item in get_items("msd", tmp_path, on_error="skip")} == {"good"}


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"is not the folder of a Decathlon task: there is no imagesTr/ in it"):
        get_items("msd", tmp_path)
    for options, message in (
        ({"objects": "all"}, "objects must be one of labels, one, components, got 'all'"),
        ({"labels": 2}, "labels must be a list of whole numbers of at least 1, got 2"),
        ({"slices": "first"}, "slices must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            get_items("msd", write_task(tmp_path), **options)


class TestDeclared:
    def test_numbers_and_files(self, tmp_path: Path) -> None:
        training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
        (tmp_path / "dataset.json").write_text(json.dumps({"numTraining": 260, "training": training}))
        benchmark, files = declared(tmp_path)
        assert (benchmark.images, benchmark.objects, benchmark.unit) == ({"all": 260}, {}, "volume")
        assert files == [tmp_path / "imagesTr" / "a.nii.gz", tmp_path / "labelsTr" / "a.nii.gz"]

    def test_without_the_file(self, tmp_path: Path) -> None:
        assert declared(tmp_path) == (get_source("msd").benchmark, [])

    @pytest.mark.parametrize(
        ("content", "reason"),
        [("{", "Expecting"), ("{}", "'numTraining' is missing"), ('{"numTraining": 1, "training": [{}]}', "'image'")],
    )
    def test_damaged(self, tmp_path: Path, content: str, reason: str) -> None:
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(DataSetError, match=f"dataset.json does not describe a Decathlon task: .*{reason}"):
            declared(tmp_path)


@pytest.mark.parity
def test_real_volumes(shared: Path) -> None:
    items = get_items("msd", shared / "data" / "MSD_Hippocampus", slices="largest")
    assert len(items) == len({item["group"] for item in items}) == 195
    for item in items[:3]:
        volume = nibabel.load(item["label"])
        assert nibabel.aff2axcodes(volume.affine)[2] == "S"
        areas = (np.asarray(volume.dataobj) > 0).sum(axis=(0, 1))
        assert item["reader"]["index"] == int(areas.argmax())
