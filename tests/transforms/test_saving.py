"""Masks written so that they lie on their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor
from PIL import Image
from scipy.spatial.transform import Rotation

from adaptiveclick_med.transforms import LoadSampled, SaveMaskd

SHAPE = (20, 24, 16)
SPACING = np.diag([0.8, 1.5, 4.0])


def affine(matrix: np.ndarray) -> np.ndarray:
    full = np.eye(4)
    full[:3, :3] = matrix
    full[:3, 3] = (-31.0, 12.5, 100.25)
    return full


TILT = Rotation.from_euler("xyz", [17, -25, 11], degrees=True).as_matrix()
AFFINES = {
    "RAS": affine(SPACING),
    "LPS": affine(np.diag([-1, -1, 1]) @ SPACING),
    "LAI": affine(np.diag([-1, 1, -1]) @ SPACING),
    "permuted": affine(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) @ SPACING),
    "oblique": affine(TILT @ np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]]) @ SPACING),
    "sheared": affine(np.array([[1, 0.2, 0], [0, 1, -0.1], [0.1, 0, 1]]) @ SPACING),
}


def worlds(voxels: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    return voxels @ to_world[:3, :3].T + to_world[:3, 3]


def write_volume(path: Path, array: np.ndarray, to_world: np.ndarray) -> None:
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, to_world), path)
        return
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ to_world
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


def saved(folder: Path, path: Path, plane: str, index: int) -> tuple[Any, Path]:
    """Load a slice, mask its brightest pixels, save the mask and read the file."""
    item = {"image": str(path), "name": f"{path.name}/{plane}_{index:03d}", "reader": {"plane": plane, "index": index}}
    sample = LoadSampled("image")(item)
    sample["mask"] = (sample["image"] == 1000).to(torch.uint8)
    result = SaveMaskd(output_dir=folder / "out")(sample)
    return nibabel.load(result["mask_path"]), Path(result["mask_path"])


class TestVolumes:
    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    @pytest.mark.parametrize("name", AFFINES)
    def test_marked_voxels_end_at_the_same_world_points(self, tmp_path, name, plane):
        to_world = AFFINES[name]
        marked = np.array([[5, 7, 11], [5, 8, 11], [6, 7, 11], [5, 7, 3], [13, 7, 11], [5, 20, 11]])
        array = np.zeros(SHAPE, np.int16)
        array[tuple(marked.T)] = 1000
        write_volume(tmp_path / "scan.nii.gz", array, to_world)
        directions = nibabel.aff2axcodes(to_world)
        letters = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}[plane]
        axis = next(axis for axis, letter in enumerate(directions) if letter in letters)
        index = int(marked[0, axis])
        mask, path = saved(tmp_path, tmp_path / "scan.nii.gz", plane, index)
        assert path.name == f"scan.nii.gz_{plane}_{index:03d}_mask.nii.gz"
        assert mask.shape == SHAPE
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, to_world, atol=1e-4)
        found = np.argwhere(np.asarray(mask.dataobj))
        expected = marked[marked[:, axis] == index]
        np.testing.assert_allclose(
            np.sort(worlds(found, mask.affine), 0), np.sort(worlds(expected, to_world), 0), atol=1e-3
        )
        np.testing.assert_array_equal(found, expected[np.lexsort(expected.T[::-1])])

    @pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
    @pytest.mark.parametrize("name", ["LPS", "permuted", "oblique"])
    def test_other_formats_become_nifti_in_the_same_place(self, tmp_path, name, suffix):
        to_world = AFFINES[name]
        array = np.zeros(SHAPE, np.int16)
        array[4, 9, 2] = 1000
        path = tmp_path / f"scan{suffix}"
        if suffix == ".nii":
            nibabel.save(nibabel.Nifti1Image(array, to_world), path)
        else:
            write_volume(path, array, to_world)
        axis = next(axis for axis, letter in enumerate(nibabel.aff2axcodes(to_world)) if letter in "SI")
        mask, written = saved(tmp_path, path, "axial", (4, 9, 2)[axis])
        assert written.name.endswith("_mask.nii.gz")
        np.testing.assert_array_equal(np.argwhere(np.asarray(mask.dataobj)), [[4, 9, 2]])
        np.testing.assert_allclose(
            worlds(np.array([4, 9, 2]), mask.affine), worlds(np.array([4, 9, 2]), to_world), atol=1e-3
        )

    def test_the_source_s_affine_is_kept_to_the_bit(self, tmp_path):
        array = np.full(SHAPE, 1000, np.int16)
        write_volume(tmp_path / "scan.nii.gz", array, AFFINES["oblique"])
        mask, _ = saved(tmp_path, tmp_path / "scan.nii.gz", "axial", 2)
        source: Any = nibabel.load(tmp_path / "scan.nii.gz")
        np.testing.assert_array_equal(mask.affine, source.affine)
        np.testing.assert_allclose(mask.header.get_zooms(), source.header.get_zooms(), rtol=1e-6)
        assert mask.header.get_xyzt_units()[0] == "mm"

    @pytest.mark.parametrize("name", ["RAS", "LAI", "permuted", "oblique"])
    def test_itk_sees_source_and_mask_in_one_place(self, tmp_path, name):
        array = np.full(SHAPE, 1000, np.int16)
        write_volume(tmp_path / "scan.nrrd", array, AFFINES[name])
        _, path = saved(tmp_path, tmp_path / "scan.nrrd", "sagittal", 1)
        source, mask = (SimpleITK.ReadImage(str(file)) for file in (tmp_path / "scan.nrrd", path))
        assert source.GetSize() == mask.GetSize() == SHAPE
        for index in ((0, 0, 0), (19, 0, 3), (5, 23, 15)):
            np.testing.assert_allclose(
                mask.TransformIndexToPhysicalPoint(index), source.TransformIndexToPhysicalPoint(index), atol=1e-3
            )

    def test_a_volume_with_channels_gives_a_mask_without(self, tmp_path):
        array = np.zeros((*SHAPE, 2), np.int16)
        array[3, 4, 5] = 1000
        nibabel.save(nibabel.Nifti1Image(array, AFFINES["LPS"]), tmp_path / "scan.nii.gz")
        item = {"image": str(tmp_path / "scan.nii.gz"), "name": "x", "reader": {"plane": "axial", "index": 5}}
        sample = LoadSampled("image")(item)
        assert sample["image"].shape[0] == 2
        sample["mask"] = (sample["image"][:1] == 1000).numpy()
        mask: Any = nibabel.load(SaveMaskd(output_dir=tmp_path)(sample)["mask_path"])
        assert mask.shape == SHAPE
        np.testing.assert_array_equal(np.argwhere(np.asarray(mask.dataobj)), [[3, 4, 5]])


class TestPictures:
    @pytest.fixture
    def sample(self, tmp_path):
        Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "p.png")
        mask = torch.zeros(1, 5, 7)
        mask[0, 1, 2:5] = 1
        loaded = LoadSampled("image")({"image": str(tmp_path / "p.png"), "name": "sub/p.png", "reader": {}})
        return {**loaded, "mask": mask}

    def test_a_png_of_the_picture_s_size(self, tmp_path, sample):
        result = SaveMaskd(output_dir=tmp_path / "new" / "out")(sample)
        path = tmp_path / "new" / "out" / "sub_p.png_mask.png"
        assert result["mask_path"] == str(path)
        assert "mask_path" not in sample
        written = Image.open(path)
        assert written.mode == "L"
        expected = np.zeros((5, 7), np.uint8)
        expected[1, 2:5] = 255
        np.testing.assert_array_equal(np.asarray(written), expected)
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_keys_and_postfix(self, tmp_path, sample):
        sample["second"] = 1 - sample["mask"]
        sample["id"] = "q"
        save = SaveMaskd("second", output_dir=tmp_path, name_key="id", postfix="background")
        path = save(sample)["second_path"]
        assert Path(path).name == "q_background.png"
        assert (np.asarray(Image.open(path)) == 0).sum() == 3

    @pytest.mark.parametrize("name", ["../up", "a\\b", "a/b/c", "/abs/olute", ".."])
    def test_no_name_leaves_the_folder(self, tmp_path, sample, name):
        path = Path(SaveMaskd(output_dir=tmp_path / "out")({**sample, "name": name})["mask_path"])
        assert path.resolve().parent == (tmp_path / "out").resolve()

    @pytest.mark.parametrize("shape", [(5, 7), (1, 7, 5), (2, 5, 7), (1, 10, 14)])
    def test_a_mask_of_another_shape(self, tmp_path, sample, shape):
        with pytest.raises(ValueError, match=r"mask must be of shape \[1, 5, 7\] like its image, got"):
            SaveMaskd(output_dir=tmp_path / "out")({**sample, "mask": torch.zeros(shape)})
        assert not (tmp_path / "out").exists()

    def test_an_image_that_was_never_a_file(self, tmp_path):
        sample = {"image": MetaTensor(torch.zeros(3, 4, 4)), "mask": torch.ones(1, 4, 4), "name": 7}
        assert Path(SaveMaskd(output_dir=tmp_path)(sample)["mask_path"]).name == "7_mask.png"
