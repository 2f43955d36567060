from __future__ import annotations

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from adaptiveclick_med.data.files import (
    UnreadableFileError,
    file_stem,
    file_suffix,
    picture_size,
    read_picture,
    read_volume,
    volume_header,
)

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RANDOM = np.random.RandomState(0)


def test_names() -> None:
    assert file_suffix("a/b.c.NII.GZ") == ".nii.gz" and file_stem("a/b.c.NII.GZ") == "b.c"
    assert file_suffix("x.Png") == ".png" and file_stem("x.Png") == "x"
    assert file_suffix("plain") == "" and file_stem("plain") == "plain"


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "1"])
def test_pictures(tmp_path: Path, suffix: str, mode: str) -> None:
    if suffix == "bmp" and mode == "LA":
        mode = "L"
    path = tmp_path / f"a.{suffix}"
    picture = Image.fromarray(GREY).convert(mode)
    picture.save(path)
    array = read_picture(path)
    expected = GREY > 127 if mode == "1" else GREY
    assert picture_size(path) == (3, 4)
    if mode in ("RGB", "RGBA"):
        assert array.shape == (3, 4, 3) and np.array_equal(array[..., 1], expected)
    else:
        assert array.shape == (3, 4) and (mode == "1" or np.array_equal(array, expected))


def test_16_bits_are_kept(tmp_path: Path) -> None:
    deep = np.array([[0, 300], [40000, 65535]], dtype=np.uint16)
    for suffix in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
        array = read_picture(tmp_path / f"a.{suffix}")
        assert array.astype(np.int64).tolist() == deep.tolist()


def test_palette_pictures_are_indices_for_labels_and_colours_for_images(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], dtype=np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", indices=True).tolist() == [[0, 1], [2, 0]]
    assert read_picture(tmp_path / "a.png")[0, 1].tolist() == [128, 0, 0]


def test_unreadable_pictures(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(UnreadableFileError, match=r"broken.png"):
        read_picture(broken)
    whole = tmp_path / "cut.png"
    Image.fromarray(RANDOM.randint(0, 255, (64, 64)).astype(np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(UnreadableFileError, match=r"cut.png"):
        read_picture(whole)
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_picture(tmp_path / "none.png")
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableFileError, match="2 pages") as caught:
        picture_size(tmp_path / "stack.tif")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.path == str(tmp_path / "stack.tif")


AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]])
VOXELS = RANDOM.randint(-1000, 1000, (4, 5, 6)).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_volumes_agree_across_formats(tmp_path: Path, suffix: str) -> None:
    source, path = tmp_path / "source.nii", tmp_path / f"copy{suffix}"
    nibabel.save(nibabel.Nifti1Image(VOXELS, AFFINE), source)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)), str(path))
    volume = read_volume(path)
    assert volume.array.dtype == np.int16 and np.array_equal(volume.array, VOXELS)
    assert np.allclose(volume.affine, AFFINE, atol=1e-5)
    shape, affine = volume_header(path)
    assert shape == (4, 5, 6) and np.allclose(affine, AFFINE, atol=1e-5)


def test_channels_are_last(tmp_path: Path) -> None:
    layers = RANDOM.randint(0, 9, (3, 4, 5, 2)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(layers, np.eye(4)), tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii").array, layers)
    nibabel.save(nibabel.Nifti1Image(layers[:, :, :, None], np.eye(4)), tmp_path / "v.nii")
    assert np.array_equal(read_volume(tmp_path / "v.nii").array, layers)
    image = SimpleITK.GetImageFromArray(layers.transpose(2, 1, 0, 3), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert np.array_equal(read_volume(tmp_path / "a.nrrd").array, layers)
    assert volume_header(tmp_path / "a.nrrd")[0] == volume_header(tmp_path / "a.nii")[0] == (3, 4, 5)


def test_flat_volumes_have_one_slice(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOXELS[:, :, 0], np.eye(4)), tmp_path / "a.nii")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS[:, :, 0].T), str(tmp_path / "a.mha"))
    for name in ("a.nii", "a.mha"):
        assert read_volume(tmp_path / name).array.shape == volume_header(tmp_path / name)[0] == (4, 5, 1)


def test_types(tmp_path: Path) -> None:
    for given, kept in ((np.float64, np.float32), (np.int64, np.int32), (np.uint16, np.uint16), (">i2", np.int16)):
        array = np.arange(8).reshape(2, 2, 2).astype(given)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4), dtype=array.dtype), tmp_path / "a.nii")
        found = read_volume(tmp_path / "a.nii").array
        assert found.dtype == kept and found.dtype.isnative and found.tolist() == array.tolist()


def test_unreadable_volumes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        (tmp_path / name).write_bytes(b"rubbish")
        for function in (read_volume, volume_header):
            with pytest.raises(UnreadableFileError, match=name):
                function(tmp_path / name)
    nibabel.save(nibabel.Nifti1Image(RANDOM.random_sample((20, 20, 20)), np.eye(4)), tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "cut.nii.gz").read_bytes()[:3000])
    with pytest.raises(UnreadableFileError, match=r"cut.nii.gz"):
        read_volume(tmp_path / "cut.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 2, 2)), np.eye(4)), tmp_path / "five.nii")
    with pytest.raises(UnreadableFileError, match=r"\[2, 2, 2, 2, 2\]"):
        read_volume(tmp_path / "five.nii")
