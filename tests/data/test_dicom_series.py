"""Folders of DICOM files as volumes."""

from __future__ import annotations

import locale
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from adaptiveclick_med.data.files import UnreadableFileError, is_volume, read_volume, volume_header

VOXELS = np.random.RandomState(0).randint(0, 4000, (5, 4, 3)).astype(np.uint16)  # slices, rows, columns
# a sagittal scan: columns run to posterior (+y), rows to inferior (-z), slices to the left (+x) in DICOM's LPS
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
WHOLE = {"enforce_file_format": True} if int(pydicom.__version__[0]) >= 3 else {"write_like_original": False}


def write_series(
    folder: Path, *, step: float = 0.7, names: str = "{:03d}", geometry: bool = True, voxels: np.ndarray = VOXELS
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for number, array in enumerate(voxels):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, study
        dataset.Modality, dataset.PatientID, dataset.InstanceNumber = "MR", "x", number + 1
        if geometry:
            dataset.ImageOrientationPatient = list(SAGITTAL)
            dataset.ImagePositionPatient = [-50 + number * step, -60, 70]
            dataset.PixelSpacing, dataset.SliceThickness = [0.4, 0.3], 9.0  # rows, columns
        dataset.Rows, dataset.Columns = array.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = array.tobytes()
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(folder / names.format(number), **WHOLE)
    return folder


def test_axes_and_affine(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    volume = read_volume(folder)
    assert is_volume(folder) and volume.array.shape == (3, 4, 5)  # columns, rows, slices
    # in RAS+, x and y change sign; ITK orders slices along the normal, which points to -x here: the last file is first
    assert np.array_equal(volume.array, VOXELS[::-1].transpose(2, 1, 0))
    expected = [[0, 0, 0.7, 50 - 4 * 0.7], [-0.3, 0, 0, 60], [0, -0.4, 0, 70], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, expected)


@pytest.mark.parametrize("step", [0.7, -0.7])
@pytest.mark.parametrize("names", ["{:03d}", "slice_{:d}.dcm", "z{0:d}.IMA"])
def test_the_header_tells_the_same_without_the_voxels(tmp_path: Path, step: float, names: str) -> None:
    folder = write_series(tmp_path / "series", step=step, names=names)
    shape, affine = volume_header(folder)
    volume = read_volume(folder)
    assert shape == volume.array.shape == (3, 4, 5)
    assert np.allclose(affine, volume.affine)
    positions = volume.affine @ np.array([[0, 0, 0, 1], [0, 0, 4, 1]]).T
    found = {round(float(x), 3): volume.array[:, :, k] for x, k in zip(positions[0], (0, 4), strict=True)}
    assert np.array_equal(found[50.0], VOXELS[0].T)
    assert np.array_equal(found[round(50 - 4 * step, 3)], VOXELS[4].T)


def test_slices_are_ordered_by_place_and_not_by_file_name(tmp_path: Path) -> None:
    straight, shuffled = write_series(tmp_path / "a"), write_series(tmp_path / "b")
    for number, other in enumerate((3, 0, 4, 1, 2)):
        (shuffled / f"{number:03d}").rename(shuffled / f"x{other}")
    assert np.array_equal(read_volume(straight).array, read_volume(shuffled).array)


def test_one_slice(tmp_path: Path) -> None:
    folder = write_series(tmp_path, voxels=VOXELS[:1])
    assert volume_header(folder)[0] == read_volume(folder).array.shape == (3, 4, 1)
    assert np.allclose(volume_header(folder)[1], read_volume(folder).affine)


def test_one_file_of_several_frames(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(VOXELS)
    image.SetSpacing((0.3, 0.4, 0.7))
    SimpleITK.WriteImage(image, str(tmp_path / "frames.dcm"))
    assert volume_header(tmp_path)[0] == read_volume(tmp_path).array.shape == (3, 4, 5)
    assert np.allclose(volume_header(tmp_path)[1], np.diag([-0.3, -0.4, 0.7, 1]))


def test_files_that_do_not_tell_where_they_lie(tmp_path: Path) -> None:
    folder = write_series(tmp_path, geometry=False)
    assert np.allclose(volume_header(folder)[1], read_volume(folder).affine)
    assert np.allclose(read_volume(folder).affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_one_series_is_expected(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no DICOM")
    write_series(tmp_path / "two")
    write_series(tmp_path / "two", names="b{:03d}")
    for folder, count in (("notes", 0), ("two", 2)):
        for function in (read_volume, volume_header):
            with pytest.raises(UnreadableFileError, match=f"{folder}: it holds {count} DICOM series, one is expected"):
                function(tmp_path / folder)


def test_the_locale_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ITK's threads that read a series may leave the locale of C behind."""
    folder, read, before = write_series(tmp_path), SimpleITK.ReadImage, locale.setlocale(locale.LC_ALL)

    def careless(*arguments: Any) -> Any:
        locale.setlocale(locale.LC_ALL, "C")
        return read(*arguments)

    monkeypatch.setattr(SimpleITK, "ReadImage", careless)
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        expected = locale.setlocale(locale.LC_ALL)
        read_volume(folder)
        assert locale.setlocale(locale.LC_ALL) == expected != "C"
    finally:
        locale.setlocale(locale.LC_ALL, before)


def test_other_files_beside_the_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path)
    (folder / "notes.txt").write_text("no DICOM")
    assert read_volume(folder).array.shape == (3, 4, 5)


@pytest.mark.parity
def test_a_real_series(shared: Path) -> None:
    folder = shared / "data" / "DICOM" / "ct-3slice"
    shape, affine = volume_header(folder)
    volume = read_volume(folder)
    assert shape == volume.array.shape == (512, 512, 3) and np.allclose(affine, volume.affine, atol=1e-4)
    first = pydicom.dcmread(min(folder.iterdir()))
    files = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda file: file.ImagePositionPatient[2])
    for index, file in enumerate(files):
        expected = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert np.array_equal(volume.array[:, :, index], expected.T)
        place = affine @ [0, 0, index, 1]
        assert np.allclose(place[:3] * [-1, -1, 1], [float(value) for value in file.ImagePositionPatient], atol=1e-3)
    assert np.allclose(np.abs(np.diag(affine)[:2]), float(first.PixelSpacing[0]), atol=1e-4)
