from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from adaptiveclick_med.data.files import UnreadableFileError
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.volumes import LabelMeaning, SliceRule, VolumePair, list_volumes, scan_volume
from adaptiveclick_med.transforms.loading import LoadSampled

ORIENTATIONS = ("RAS", "LPS", "SAR", "PIR", "ILA", "AIL")
SPACING = {"R": 2.0, "A": 3.0, "S": 5.0}


def label() -> np.ndarray:
    """A label in the order right, anterior, superior."""
    array = np.zeros((7, 8, 6), np.uint8)
    array[1:5, 1:6, 2] = 1  # 20 pixels of an axial slice
    array[1:4, 1:3, 3] = 1  # 6 pixels, and beside them
    array[2:6, 4:8, 3] = 2  # 16: together 22
    array[0, 0, 5] = 7  # one voxel
    return array


def image_of(array: np.ndarray, codes: str) -> Any:
    """The same volume, stored in another order of axes and directions."""
    image = nibabel.Nifti1Image(array, np.diag([2.0, 3.0, 5.0, 1.0]))
    ornt = nibabel.orientations.axcodes2ornt(tuple(codes))
    return image.as_reoriented(nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], ornt))


def pair(folder: Path, codes: str = "RAS", array: np.ndarray | None = None) -> tuple[Path, Path]:
    array = label() if array is None else array
    folder.mkdir(exist_ok=True)
    files = folder / f"image_{codes}.nii.gz", folder / f"label_{codes}.nii.gz"
    nibabel.save(image_of(np.where(array > 0, 500, 3).astype(np.int16), codes), files[0])
    nibabel.save(image_of(array, codes), files[1])
    return files


class TestSliceRule:
    AREAS = {2: 20, 3: 16, 5: 1, 7: 25, 8: 25}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"min_area": 1}, [2, 3, 5, 7, 8]),
            ({"min_area": 16}, [2, 3, 7, 8]),
            ({"min_area": 17, "every": 2}, [2, 8]),
            ({"every": 3, "min_area": 1}, [2, 7]),
            ({"every": 99}, [2]),
            ({"slices": "largest"}, [7]),
            ({"slices": "largest", "every": 2}, [7]),
        ],
    )
    def test_choose(self, options: dict, expected: list[int]) -> None:
        assert SliceRule(**options).choose(self.AREAS) == expected

    def test_the_largest_is_chosen_by_what_all_objects_cover_and_must_hold_one_that_is_large_enough(self) -> None:
        covered = {2: 20, 3: 40, 5: 99, 7: 30, 8: 40}
        assert SliceRule(slices="largest", min_area=2).choose(self.AREAS, covered) == [3]
        assert SliceRule(slices="largest", min_area=1).choose(self.AREAS, covered) == [5]
        assert SliceRule(slices="largest", min_area=21).choose(self.AREAS, covered) == [8]

    def test_nothing_to_choose(self) -> None:
        with pytest.raises(ValueError, match="the label is empty"):
            SliceRule().choose({})
        with pytest.raises(ValueError, match=r"no coronal slice has an object of 26 pixels \(min_area\); the la.* 25"):
            SliceRule("coronal", min_area=26).choose(self.AREAS)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"plane": "z"}, "plane must be one of axial, coronal, sagittal, got 'z'"),
            ({"slices": "some"}, "slices must be one of all, largest, got 'some'"),
            ({"every": 0}, "every must be a whole number of at least 1, got 0"),
            ({"min_area": 0}, "min_area must be a whole number of at least 1, got 0"),
            ({"min_area": "20"}, "min_area must be a whole number of at least 1, got '20'"),
            ({"every": 1.5}, "every must be a whole number of at least 1, got 1.5"),
        ],
    )
    def test_bad_arguments(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SliceRule(**options)


class TestLabelMeaning:
    SLICE = np.array([[1, 1, 0], [2, 255, 7]], np.uint8)

    @pytest.mark.parametrize(
        ("meaning", "numbers", "covered"),
        [
            (LabelMeaning(), {0, 1, 2, 7, 255}, 5),
            (LabelMeaning(ignore_value=255), {-1, 0, 1, 2, 7}, 4),
            (LabelMeaning("labels", 255, (2, 7)), {-1, 0, 2, 7}, 2),
            (LabelMeaning("binary", None, (1, 7)), {0, 1}, 3),
            (LabelMeaning("components", None, (1, 2)), {0, 1, 2}, 3),
        ],
    )
    def test_which_values_are_objects(self, meaning: LabelMeaning, numbers: set[int], covered: int) -> None:
        assert set(np.unique(meaning.layers(self.SLICE)).tolist()) == numbers
        assert meaning.covered(self.SLICE) == covered

    def test_overlapping_layers_cover_a_pixel_once(self) -> None:
        assert LabelMeaning().covered(np.array([[[1, 1, 0]], [[0, 2, 2]]])) == 3

    def test_the_loader_is_told_the_same(self) -> None:
        assert LabelMeaning("auto").hints() == {"label_type": "instances"}
        hints = LabelMeaning("labels", 255, [2, 4]).hints()
        assert hints == {"label_type": "labels", "ignore_value": 255, "labels": [2, 4]}

    @pytest.mark.parametrize("labels", [[], [0, 1], [-1], 2, "12", [1.5], ["1"]])
    def test_bad_labels(self, labels: Any) -> None:
        with pytest.raises(ValueError, match="labels must be a list of whole numbers of at least 1"):
            LabelMeaning(labels=labels)

    def test_bad_type(self) -> None:
        with pytest.raises(ValueError, match="label_type must be one of"):
            LabelMeaning("soft")


class TestScanVolume:
    @pytest.mark.parametrize("codes", ORIENTATIONS)
    @pytest.mark.parametrize(
        ("plane", "axis", "expected"),
        [("axial", "SI", [2, 3]), ("coronal", "AP", [4, 5]), ("sagittal", "RL", [2, 3, 4])],
    )
    def test_planes_are_found_by_the_affine(
        self, tmp_path: Path, codes: str, plane: str, axis: str, expected: list[int]
    ) -> None:
        """Axial: objects of 20 and 16 pixels; coronal, both as one: 7, 7, 4, 8, 8, 4, 4; sagittal: 7, 11, 11, 9, 4."""
        files = pair(tmp_path, codes)
        length = {"axial": 6, "coronal": 8, "sagittal": 7}[plane]
        minimum = {"axial": 16, "coronal": 8, "sagittal": 9}[plane]
        meaning = LabelMeaning("labels" if plane == "axial" else "binary")
        backwards = axis[1] in codes
        found = scan_volume(*files, SliceRule(plane, min_area=minimum), meaning)
        assert found == sorted(length - 1 - index if backwards else index for index in expected)

    @pytest.mark.parametrize("codes", ORIENTATIONS)
    def test_the_slice_in_which_the_objects_cover_most(self, tmp_path: Path, codes: str) -> None:
        files = pair(tmp_path, codes)
        for label_type, labels, expected in (("labels", None, 3), ("binary", None, 3), ("labels", (1,), 2)):
            (found,) = scan_volume(
                *files, SliceRule(slices="largest", min_area=1), LabelMeaning(label_type, None, labels)
            )
            assert found == (5 - expected if "I" in codes else expected)

    def test_every_and_min_area(self, tmp_path: Path) -> None:
        files = pair(tmp_path)
        assert scan_volume(*files, SliceRule(min_area=1), LabelMeaning()) == [2, 3, 5]
        assert scan_volume(*files, SliceRule(min_area=1, every=2), LabelMeaning()) == [2, 5]
        assert scan_volume(*files, SliceRule(min_area=17), LabelMeaning("binary")) == [2, 3]
        assert scan_volume(*files, SliceRule(min_area=17), LabelMeaning()) == [2]
        with pytest.raises(ValueError, match=r"no axial slice has an object of 21 pixels .* the largest has 20"):
            scan_volume(*files, SliceRule(min_area=21), LabelMeaning())
        with pytest.raises(ValueError, match="the label is empty"):
            scan_volume(*files, SliceRule(), LabelMeaning(labels=(9,)))

    def test_layers_in_the_last_axis(self, tmp_path: Path) -> None:
        image, file = pair(tmp_path)
        layers = np.stack([label(), np.where(label() == 1, 3, 0).astype(np.uint8)], axis=-1)
        nibabel.save(nibabel.Nifti1Image(layers, nibabel.load(image).affine), file)
        assert scan_volume(image, file, SliceRule(min_area=1), LabelMeaning("instances")) == [2, 3, 5]
        assert scan_volume(image, file, SliceRule(slices="largest"), LabelMeaning("instances")) == [2]

    def test_size_and_place(self, tmp_path: Path) -> None:
        image, file = pair(tmp_path)
        nibabel.save(image_of(label()[:-1], "RAS"), file)
        with pytest.raises(ValueError, match=r"the label is 6×8×6 voxels, but the image image_RAS\.nii\.gz 7×8×6"):
            scan_volume(image, file, SliceRule(), LabelMeaning())
        moved = np.diag([2.0, 3.0, 5.0, 1.0])
        moved[1, 3] = 1.0  # half of the smallest edge of a voxel
        nibabel.save(nibabel.Nifti1Image(label(), moved), file)
        with pytest.raises(ValueError, match=r"moves a corner by 0\.5 voxels \(affine_tolerance is 0\.1\)"):
            scan_volume(image, file, SliceRule(), LabelMeaning())
        assert scan_volume(image, file, SliceRule(), LabelMeaning(), 0.51) == [2]

    def test_a_label_in_another_orientation_is_refused_whatever_the_tolerance(self, tmp_path: Path) -> None:
        image, file = pair(tmp_path)
        nibabel.save(nibabel.Nifti1Image(label(), np.diag([-2.0, 3.0, 5.0, 1.0])), file)
        with pytest.raises(ValueError, match=r"stored in another orientation than the image image_RAS\.nii\.gz"):
            scan_volume(image, file, SliceRule(), LabelMeaning(), float("inf"))

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        image, file = pair(tmp_path)
        with pytest.raises(UnreadableFileError, match="no such file"):
            scan_volume(tmp_path / "none.nii", file, SliceRule(), LabelMeaning())
        file.write_bytes(b"rubbish")
        with pytest.raises(UnreadableFileError, match=r"label_RAS\.nii\.gz"):
            scan_volume(image, file, SliceRule(), LabelMeaning())


class TestListVolumes:
    def test_items(self, tmp_path: Path) -> None:
        image, file = pair(tmp_path)
        problems = Problems()
        meaning = LabelMeaning("labels", None, (1, 2))
        items = list_volumes(
            [VolumePair("case", image, file)], SliceRule(min_area=1, every=2), meaning, "mine", problems, channel=1
        )
        assert items == [
            {
                "image": str(image),
                "label": str(file),
                "name": "case/axial_002",
                "group": "case",
                "source": "mine",
                "reader": {"label_type": "labels", "labels": [1, 2], "plane": "axial", "index": 2, "channel": 1},
            }
        ]
        assert problems.found == []

    @pytest.mark.parametrize("codes", ORIENTATIONS)
    def test_the_loader_shows_the_slice_that_was_chosen(self, tmp_path: Path, codes: str) -> None:
        image, file = pair(tmp_path, codes)
        rule, meaning = SliceRule(slices="largest"), LabelMeaning("labels", None, (1,))
        (item,) = list_volumes([VolumePair("case", image, file)], rule, meaning, "mine", Problems())
        loaded = LoadSampled()(item)
        shown = loaded["label"].as_tensor()[0].numpy()
        # rows run from anterior to posterior, columns from right to left
        assert np.array_equal(shown, np.where(label() == 1, label(), 0)[:, :, 2].T[::-1, ::-1])
        assert np.array_equal(loaded["image"].as_tensor()[0].numpy() == 500, shown > 0)

    def test_a_volume_that_cannot_be_used_is_named_and_the_others_stay(self, tmp_path: Path) -> None:
        good, empty = pair(tmp_path / "good"), pair(tmp_path / "empty", array=label() * 0)
        broken = pair(tmp_path / "broken")
        broken[0].write_bytes(b"rubbish")
        pairs = [VolumePair(files[0].parent.name, *files) for files in (empty, broken, good)]
        problems = Problems("skip")
        items = list_volumes(pairs, SliceRule(), LabelMeaning(), "mine", problems)
        assert [item["name"] for item in items] == ["good/axial_002"]
        assert problems.found[0] == (str(empty[1]), "the label is empty: it has no object")
        assert problems.found[1][0] == str(broken[0]) and problems.found[1][1].startswith("cannot be read: ")

    def test_tolerance(self) -> None:
        for tolerance in (-0.1, float("nan")):
            with pytest.raises(ValueError, match="affine_tolerance must not be negative"):
                list_volumes([], SliceRule(), LabelMeaning(), "mine", Problems(), affine_tolerance=tolerance)
