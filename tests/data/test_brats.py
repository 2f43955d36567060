from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from adaptiveclick_med.data import DataSetError, get_items, get_source
from adaptiveclick_med.transforms.loading import LoadSampled

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # as the challenge stores it: left, posterior, superior
NEW = {"flair": "{}_flair", "t1": "{}_t1", "t1ce": "{}_t1ce", "t2": "{}_t2", "seg": "{}_seg"}
OLD = {name: f"{name.capitalize()}_subtrMeanDivStd" for name in ("flair", "t1", "t2")} | {
    "t1ce": "T1c_subtrMeanDivStd",
    "seg": "OTMultiClass",
}
VALUES = {"flair": 100, "t1": 200, "t1ce": 300, "t2": 400}


def tumour() -> np.ndarray:
    """Labels 1, 2, 4; label 2 is largest in slice 3, all together in slice 5."""
    array = np.zeros((14, 13, 8), np.uint8)
    array[2:8, 2:8, 3] = 2  # 36
    array[2:7, 2:7, 5] = 2  # 25
    array[8:11, 2:7, 5] = 1  # 15
    array[2:4, 9:12, 5] = 4  # 6
    return array


def write_case(
    folder: Path, names: dict[str, str] = NEW, label: np.ndarray | None = None, suffix: str = ".nii.gz"
) -> Path:
    label = tumour() if label is None else label
    folder.mkdir(parents=True)
    for kind, name in names.items():
        array = label if kind == "seg" else np.where(label > 0, VALUES[kind], 1).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / f"{name.format(folder.name)}{suffix}")
    return folder


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("parent", ["", "MICCAI_BraTS2020_TrainingData"])
@pytest.mark.parametrize("naming", [NEW, OLD])
def test_layouts(tmp_path: Path, parent: str, naming: dict[str, str], suffix: str) -> None:
    for case in ("case_002", "case_001"):
        write_case(tmp_path / parent / case, naming, suffix=suffix)
    (tmp_path / parent / "name_mapping.csv").touch()
    (tmp_path / parent / "empty").mkdir()
    nibabel.save(nibabel.Nifti1Image(tumour(), AFFINE), tmp_path / parent / "case_001" / "brainmask.nii.gz")
    first, second = get_items("brats", tmp_path)
    assert [first["name"], second["name"]] == ["case_001/axial_005", "case_002/axial_005"]
    folder = tmp_path / parent / "case_001"
    assert first == {
        "image": str(folder / f"{naming['flair'].format('case_001')}{suffix}"),
        "label": str(folder / f"{naming['seg'].format('case_001')}{suffix}"),
        "name": "case_001/axial_005",
        "group": "case_001",
        "source": "brats",
        "reader": {"label_type": "binary", "plane": "axial", "index": 5},
    }


def test_the_whole_tumour_is_one_object_in_the_slice_where_it_is_largest(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    loaded = LoadSampled()(get_items("brats", tmp_path)[0])
    assert np.array_equal(loaded["label"].numpy()[0], (tumour()[:, :, 5] > 0).T)  # left, posterior is as shown
    assert int(loaded["label"].sum()) == 46
    assert np.array_equal(loaded["image"].numpy()[0] == 100, loaded["label"].numpy()[0] > 0)


@pytest.mark.parametrize("naming", [NEW, OLD])
@pytest.mark.parametrize("modality", ["flair", "t1", "t1ce", "t2", "FLAIR", "t1c", "T1c"])
def test_modality(tmp_path: Path, naming: dict[str, str], modality: str) -> None:
    write_case(tmp_path / "a", naming)
    wanted = {"t1c": "t1ce"}.get(modality.lower(), modality.lower())
    loaded = LoadSampled()(get_items("brats", tmp_path, modality=modality)[0])
    assert int(loaded["image"].max()) == VALUES[wanted]


@pytest.mark.parametrize(
    ("options", "expected", "numbers"),
    [
        ({"objects": "labels"}, [5], {0, 1, 2, 4}),
        ({"objects": "labels", "labels": [1, 4], "min_area": 6}, [5], {0, 1, 4}),
        ({"labels": [2]}, [3], {0, 1}),
        ({"labels": [4], "min_area": 6}, [5], {0, 1}),
        ({"slices": "all"}, [3, 5], {0, 1}),
        ({"slices": "all", "every": 2}, [3], {0, 1}),
        ({"slices": "all", "min_area": 37}, [5], {0, 1}),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], expected: list[int], numbers: set[int]) -> None:
    write_case(tmp_path / "a")
    items = get_items("brats", tmp_path, **options)
    assert names(items) == [f"a/axial_00{index}" for index in expected]
    assert set(LoadSampled()(items[-1])["label"].unique().tolist()) == numbers


def test_other_planes(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    sums = (tumour() > 0).sum(axis=(1, 2))
    (item,) = get_items("brats", tmp_path, plane="sagittal", min_area=1)
    assert item["reader"]["plane"] == "sagittal" and item["reader"]["index"] == int(sums.argmax()) == 2


def test_cases_without_a_label_or_the_modality_are_named(tmp_path: Path) -> None:
    for case in ("a_good", "b_unlabelled", "c_bare", "d_two", "e_other"):
        write_case(tmp_path / case)
    (tmp_path / "b_unlabelled" / "b_unlabelled_seg.nii.gz").unlink()
    for kind in ("flair", "seg"):
        (tmp_path / "c_bare" / f"c_bare_{kind}.nii.gz").unlink()
    shutil.copy(tmp_path / "d_two" / "d_two_flair.nii.gz", tmp_path / "d_two" / "flair.nii.gz")
    (tmp_path / "e_other" / "e_other_t1.nii.gz").unlink()
    with pytest.raises(DataSetError) as caught:
        get_items("brats", tmp_path)
    lines = str(caught.value).splitlines()
    unlabelled = f"  - {tmp_path / 'b_unlabelled'}: the case has no label (*_seg.nii.gz or OTMultiClass.nii.gz)."
    assert lines[0].startswith("3 problems") and lines[1] == unlabelled
    assert lines[2] == (
        f"  - {tmp_path / 'c_bare'}: the case has no flair image (*_flair.nii.gz) and no label (*_seg.nii.gz or "
        "OTMultiClass.nii.gz)."
    )
    assert lines[3] == (
        f"  - {tmp_path / 'd_two'}: the case has several files where one is expected: d_two_flair.nii.gz, flair.nii.gz."
    )
    assert names(get_items("brats", tmp_path, on_error="skip")) == ["a_good/axial_005", "e_other/axial_005"]
    with pytest.raises(DataSetError, match=r"e_other: the case has no t1 image \(\*_t1\.nii\.gz\)\."):
        get_items("brats", tmp_path, modality="t1")


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_case(tmp_path / "good")
    write_case(tmp_path / "small", label=tumour() * (np.arange(14) < 3)[:, None, None].astype(np.uint8))
    (write_case(tmp_path / "cut") / "cut_seg.nii.gz").write_bytes(b"rubbish")
    with pytest.raises(DataSetError) as caught:
        get_items("brats", tmp_path)
    assert "cut/cut_seg.nii.gz: cannot be read: " in str(caught.value)
    assert "small/small_seg.nii.gz: no axial slice has an object of 20 pixels (min_area)" in str(caught.value)


def test_a_label_with_the_name_of_a_published_stray(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "BraTS20_Training_355")
    (folder / "BraTS20_Training_355_seg.nii.gz").rename(folder / "W39_1998.09.19_Segm.nii.gz")
    assert names(get_items("brats", tmp_path)) == ["BraTS20_Training_355/axial_005"]


def test_cases_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for parent in ("HGG", "LGG"):
        write_case(tmp_path / parent / "a")
    write_case(tmp_path / "LGG" / "b")
    with pytest.raises(DataSetError, match=r"LGG/a: there is another case of that name: .*HGG/a"):
        get_items("brats", tmp_path)
    assert names(get_items("brats", tmp_path, on_error="skip")) == ["a/axial_005", "b/axial_005"]


class TestExportedSlices:
    def write(self, folder: Path, *labels: np.ndarray) -> Path:
        for kind in ("image", "annotation"):
            (folder / kind).mkdir()
        for number, label in enumerate(labels):
            Image.fromarray((label > 0).astype(np.uint8) * 100).save(folder / "image" / f"{number}.png")
            Image.fromarray(label).save(folder / "annotation" / f"{number}.png")
        return folder

    def test_items(self, tmp_path: Path) -> None:
        first, second = get_items("brats", self.write(tmp_path, tumour()[:, :, 5], tumour()[:, :, 3]))
        assert second["name"] == second["group"] == "1"
        assert first == {
            "image": str(tmp_path / "image" / "0.png"),
            "label": str(tmp_path / "annotation" / "0.png"),
            "name": "0",
            "group": "0",
            "source": "brats",
            "reader": {"label_type": "binary"},
        }
        assert int(LoadSampled()(first)["label"].sum()) == 46

    def test_labels_as_objects(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, tumour()[:, :, 5])
        (item,) = get_items("brats", folder, objects="labels", labels=[1, 4])
        assert set(LoadSampled()(item)["label"].unique().tolist()) == {0, 1, 4}

    def test_masks_as_colours_and_soft_edges(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, tumour()[:, :, 5] * 60)
        Image.fromarray(tumour()[:, :, 5] * 60).convert("RGB").save(folder / "annotation" / "0.png")
        assert int(LoadSampled()(get_items("brats", folder)[0])["label"].sum()) == 46

    def test_problems_are_named(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, *(tumour()[:, :, 5],) * 5)
        (folder / "annotation" / "0.png").unlink()
        Image.fromarray(tumour()[:, :, 0]).save(folder / "annotation" / "1.png")
        Image.fromarray(tumour()[:5, :, 5]).save(folder / "annotation" / "2.png")
        (folder / "image" / "3.png").write_bytes(b"rubbish")
        with pytest.raises(DataSetError) as caught:
            get_items("brats", folder)
        for words in (
            "image/0.png: the image has no label of the same name.",
            "annotation/1.png: the label is empty: it has no object.",
            "annotation/2.png: the label is 5×13 pixels, but the image 2.png 14×13.",
            "image/3.png: cannot be read: ",
        ):
            assert words in str(caught.value)
        assert names(get_items("brats", folder, on_error="skip")) == ["4"]

    def test_volumes_have_no_place_here(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, tumour()[:, :, 5])
        for kind in ("image", "annotation"):
            nibabel.save(nibabel.Nifti1Image(tumour(), AFFINE), folder / kind / "v.nii.gz")
        with pytest.raises(DataSetError, match=r"v.nii.gz: pictures are expected here, not volumes"):
            get_items("brats", folder)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"is not a BraTS folder: looked there and one level below for case folders"):
        get_items("brats", tmp_path)
    for options, message in (
        ({"modality": "pd"}, "modality must be one of flair, t1, t1ce, t2, got 'pd'"),
        ({"objects": "core"}, "objects must be one of whole_tumour, labels, got 'core'"),
        ({"labels": []}, "labels must be a list of whole numbers of at least 1"),
        ({"plane": "oblique"}, "plane must be one of"),
        ({"affine_tolerance": 1}, "its options are: modality, objects, labels, plane, slices, every, min_area"),
    ):
        with pytest.raises(ValueError, match=message):
            get_items("brats", tmp_path, **options)


def test_how_it_is_evaluated() -> None:
    source = get_source("BraTS")
    assert source.title == "BraTS" and source.benchmark.section == "all" and source.benchmark.min_area == 1
    assert source.benchmark.images == source.benchmark.objects == {"all": 369}


@pytest.mark.parity
def test_real_cases(shared: Path) -> None:
    folder = shared / "data" / "BraTS2015"
    items = get_items("brats", folder)
    assert [item["group"] for item in items] == [f"brats_2013_pat000{number}_1" for number in (3, 4, 5, 6)]
    load = LoadSampled()
    for item in items:
        volume = nibabel.load(folder / item["group"] / "OTMultiClass.nii.gz")
        assert nibabel.aff2axcodes(volume.affine) == ("L", "P", "S")
        areas = (np.asarray(volume.dataobj) > 0).sum(axis=(0, 1))
        loaded = load(item)
        assert item["reader"]["index"] == int(areas.argmax())
        assert int(loaded["label"].sum()) == int(areas.max())
        flair = nibabel.load(folder / item["group"] / "Flair_subtrMeanDivStd.nii.gz")
        expected = np.asarray(flair.dataobj, dtype=np.float32)[:, :, int(areas.argmax())].T
        assert np.array_equal(loaded["image"].numpy()[0], expected)
    assert {Path(item["image"]).name for item in get_items("brats", folder, modality="t1ce")} == {
        "T1c_subtrMeanDivStd.nii.gz"
    }
    with pytest.raises(DataSetError, match="4 problems"):
        get_items("brats", folder, modality="t2")
