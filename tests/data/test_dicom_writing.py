"""Series that are written: valid, exact, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from scipy.spatial.transform import Rotation

from adaptiveclick_med.data.dicom import read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume

RANDOM = np.random.RandomState(0)
SHAPE = (5, 7, 4)


def turned(*angles: float, spacing: tuple[float, float, float] = (0.7, 0.8, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = [-123.456789, 98.7654321, -1 / 3]
    return affine


def as_given(read: Volume, affine: np.ndarray) -> np.ndarray:
    """What was read, with k in the direction of ``affine``; checks that each voxel lies where it was."""
    if np.allclose(read.affine[:3, 2], affine[:3, 2], atol=1e-9):
        assert np.allclose(read.affine, affine, rtol=0, atol=1e-9)
        return read.array
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = read.array.shape[2] - 1
    assert np.allclose(read.affine @ flip, affine, rtol=0, atol=1e-9)
    return read.array[:, :, ::-1]


@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (RANDOM.randint(-1024, 3000, SHAPE).astype(np.int16), np.int16),
        (RANDOM.randint(0, 256, SHAPE).astype(np.uint8), np.int16),
        (RANDOM.randint(0, 65536, SHAPE).astype(np.uint16), np.uint16),
        (RANDOM.randint(1_000_000, 1_065_000, SHAPE), np.uint16),
        (RANDOM.randint(-40_000, 20_000, SHAPE).astype(np.float64), np.uint16),
        (RANDOM.rand(*SHAPE) > 0.5, np.int16),
        (np.full(SHAPE, -7, np.int8), np.int16),
    ],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_whole_numbers_survive(tmp_path: Path, array: np.ndarray, stored: type, modality: str) -> None:
    affine = turned(10, 20, 30)
    files = write_dicom_series(tmp_path / "a", Volume(array, affine), modality=modality)
    assert np.array_equal(as_given(read_dicom_series(tmp_path / "a").read(), affine), array)
    dataset = pydicom.dcmread(files[0])
    assert dataset.pixel_array.dtype == stored and float(dataset.RescaleSlope) == 1


@pytest.mark.parametrize(
    "array",
    [
        RANDOM.normal(0, 1, SHAPE),
        RANDOM.normal(1e-6, 1e-9, SHAPE),
        RANDOM.uniform(-3e6, 5e6, SHAPE).astype(np.float32),
        RANDOM.randint(-2_000_000, 2_000_000, SHAPE),
        np.full(SHAPE, 0.3),
    ],
)
def test_other_numbers_come_back_within_half_a_step(tmp_path: Path, array: np.ndarray) -> None:
    files = write_dicom_series(tmp_path / "a", Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0])))
    span = float(array.max()) - float(array.min())
    for k, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        values = dataset.pixel_array.T * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.abs(values - array[:, :, k]).max() <= span / 131070 * (1 + 1e-6) + 1e-15
    rounding = np.abs(array).max() * 2.0**-23  # float32
    assert np.abs(read_dicom_series(tmp_path / "a").read().array - array).max() <= span / 131070 + rounding


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (0, 90, 90), (180, 0, 0), (20, -35, 50), (179.9, 0.1, 5)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_geometry_is_exact(tmp_path: Path, angles: tuple[float, ...], flips: tuple[int, int, int]) -> None:
    array = RANDOM.randint(0, 1000, SHAPE).astype(np.int16)
    affine = turned(*angles) @ np.diag([*flips, 1.0])
    files = write_dicom_series(tmp_path / "a", Volume(array, affine))
    assert np.array_equal(as_given(read_dicom_series(tmp_path / "a").read(), affine), array)
    image = SimpleITK.ReadImage([str(file) for file in files])
    for index in ((0, 0, 0), (4, 2, 1), (1, 6, 3)):
        world = (affine @ [*index, 1])[:3]
        found = image.TransformPhysicalPointToIndex((world * [-1, -1, 1]).tolist())
        assert image.GetPixel(found) == array[index]
        assert np.allclose(image.TransformIndexToPhysicalPoint(found), world * [-1, -1, 1], rtol=0, atol=1e-6)


def test_tilted_slices(tmp_path: Path) -> None:
    affine = turned(20, -35, 50)
    affine[:3, 2] += 0.4 * affine[:3, 1]
    array = RANDOM.randint(0, 1000, SHAPE).astype(np.int16)
    write_dicom_series(tmp_path / "a", Volume(array, affine))
    assert np.array_equal(as_given(read_dicom_series(tmp_path / "a").read(), affine), array)


def test_attributes(tmp_path: Path) -> None:
    files = write_dicom_series(
        tmp_path / "a" / "b",
        Volume(RANDOM.randint(0, 99, SHAPE), turned(0, 0, 0)),
        modality="MR",
        patient_name="Müller^Jürgen",
        patient_id="4711",
        study_uid="1.2.1",
        series_uid="1.2.2",
        frame_of_reference_uid="1.2.3",
        study_description="knee",
        series_description="trial",
        series_number=5,
        window=(-10, 90),
    )
    assert [file.name for file in files] == [f"IM0000{number}.dcm" for number in range(1, 5)]
    datasets = [pydicom.dcmread(file) for file in files]
    for number, dataset in enumerate(datasets):
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == MRImageStorage
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
        assert (dataset.PatientName, dataset.PatientID) == ("Müller^Jürgen", "4711")
        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == ("1.2.1", "1.2.2")
        assert (dataset.FrameOfReferenceUID, dataset.StudyDescription) == ("1.2.3", "knee")
        assert (dataset.SeriesDescription, dataset.SeriesNumber, dataset.InstanceNumber) == ("trial", 5, number + 1)
        assert (dataset.WindowCenter, dataset.WindowWidth, dataset.SpacingBetweenSlices) == (40, 100, 2.5)
        assert list(dataset.PixelSpacing) == [0.8, 0.7]  # from row to row, from column to column
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 4
    again = write_dicom_series(tmp_path / "c", Volume(np.zeros(SHAPE), turned(0, 0, 0)), series_uid="1.2.2")
    assert [pydicom.dcmread(file).SOPInstanceUID for file in again] == [file.SOPInstanceUID for file in datasets]
    other = write_dicom_series(tmp_path / "d", Volume(np.zeros(SHAPE), turned(0, 0, 0)))
    assert pydicom.dcmread(other[0]).SOPClassUID == CTImageStorage
    assert pydicom.dcmread(other[0]).SeriesInstanceUID != "1.2.2"


@pytest.mark.parametrize(
    ("array", "affine", "options", "words"),
    [
        (np.zeros((2, 2)), np.eye(4), {}, r"\[I, J, K\] and not empty, got shape \[2, 2\]"),
        (np.zeros((2, 2, 2, 3)), np.eye(4), {}, r"got shape \[2, 2, 2, 3\]"),
        (np.zeros((0, 2, 2)), np.eye(4), {}, "not empty"),
        (np.zeros((2, 2, 2), complex), np.eye(4), {}, "got complex128"),
        (np.full((2, 2, 2), np.nan), np.eye(4), {}, "8 values that are not finite"),
        (np.zeros((2, 2, 2)), np.zeros((4, 4)), {}, "not an invertible 4x4 matrix"),
        (np.zeros((2, 2, 2)), np.eye(3), {}, "not an invertible 4x4 matrix"),
        (np.zeros((2, 2, 2)), np.eye(4) + np.eye(4, k=1) * [[1]] * [0, 0.1, 0, 0], {}, "are not perpendicular"),
        (np.zeros((2, 2, 2)), np.eye(4), {"modality": "US"}, "modality must be one of CT, MR, got 'US'"),
        (np.zeros((2, 2, 2)), np.eye(4), {"window": (5, 5)}, r"window must be \(lowest, highest\), got \(5, 5\)"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, array: np.ndarray, affine: np.ndarray, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        write_dicom_series(tmp_path / "a", Volume(array, affine), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    write_dicom_series(tmp_path / "a", volume)
    with pytest.raises(FileExistsError, match="must be a new or an empty folder"):
        write_dicom_series(tmp_path / "a", volume)
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_a_series_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = pydicom.dcmwrite

    def full(file: Path, *args: Any, **options: Any) -> None:
        if Path(file).name == "IM00003.dcm":
            raise OSError("no space left")
        write(file, *args, **options)

    monkeypatch.setattr(pydicom, "dcmwrite", full)
    with pytest.raises(OSError, match="no space left"):
        write_dicom_series(tmp_path / "a", Volume(np.zeros(SHAPE), np.eye(4)))
    assert list(tmp_path.iterdir()) == []
