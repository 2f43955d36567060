"""DICOM series: what is read, in which order, and what is refused with which words."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import DA, TM
from scipy.spatial.transform import Rotation

from adaptiveclick_med.data.dicom import UnplacedSeriesError, read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import UnreadableFileError, Volume, is_volume, read_volume, volume_header

VOXELS = np.random.RandomState(0).randint(-1000, 3000, (6, 5, 7)).astype(np.int16)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() * [0.7, 0.8, 2.5]
OBLIQUE[:3, 3] = [-123.456789, 98.7654321, -300.125]
STRAIGHT = np.diag([-0.7, -0.8, 2.5, 1.0])  # columns to the left, rows to posterior, slices to superior


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dicom_series(
        tmp_path / "ct", Volume(VOXELS, STRAIGHT), series_uid="1.2.3", series_description="thorax", patient_name="A^B"
    )
    return tmp_path / "ct"


def change(file: Path, edit: Callable[[Any], object]) -> None:
    dataset = pydicom.dcmread(file)
    edit(dataset)
    dataset.save_as(file)


def setting(**values: Any) -> Callable[[Any], object]:
    return lambda dataset: [setattr(dataset, name, value) for name, value in values.items()]


def refusal(path: Path, series_uid: str | None = None) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        read_dicom_series(path, series_uid)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    return caught.value.reason


def enhanced(
    path: Path,
    volume: Volume,
    *,
    order: list[int] | None = None,
    rescale: list[tuple[float, float]] | None = None,
    edit: Callable[[Any], object] = lambda dataset: None,
) -> Path:
    """A multi-frame CT whose frames are stored in the given order."""
    array, affine = volume.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    order = order or list(range(array.shape[2]))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "A^B", "1"
    dataset.ContentDate, dataset.ContentTime, dataset.InstanceNumber = "20200101", "120000", 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = len(order), array.shape[1], array.shape[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(array.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(array[:, :, order].transpose(2, 1, 0)).tobytes()
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], 9.0
    orientation.ImageOrientationPatient = [round(float(v), 12) for v in (affine[:3, :2] / spacing[:2]).T.ravel()]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, k in enumerate(order):
        groups, position, transform, content = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [round(float(value), 9) for value in affine[:3, 3] + k * affine[:3, 2]]
        groups.PlanePositionSequence = [position]
        content.DimensionIndexValues, content.StackID, content.InStackPositionNumber = [1, k + 1], "1", k + 1
        groups.FrameContentSequence = [content]
        if rescale is not None:
            transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = *rescale[number], "HU"
            groups.PixelValueTransformationSequence = [transform]
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    edit(dataset)
    whole = {"enforce_file_format": True} if int(pydicom.__version__[0]) >= 3 else {"write_like_original": False}
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(path, dataset, **whole)
    return path


def test_a_classic_series(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "mr", Volume(VOXELS, OBLIQUE), modality="MR", series_uid="1.2.9")
    for file, name in zip(files, "gacebdf", strict=True):  # names tell nothing about places
        file.rename(tmp_path / "mr" / name)
    series = read_dicom_series(tmp_path / "mr")
    assert (series.uid, series.modality, series.description, series.multiframe) == ("1.2.9", "MR", "", False)
    assert series.shape == (6, 5, 7) and np.allclose(series.affine, OBLIQUE, rtol=0, atol=1e-9)
    assert [file.name for file in series.files] == list("gacebdf")
    assert [header.InstanceNumber for header in series.headers] == list(range(1, 8))
    assert all("PixelData" not in header for header in series.headers)
    volume = series.read()
    assert np.array_equal(volume.array, VOXELS) and volume.array.dtype == np.int16
    assert np.array_equal(volume.affine, series.affine)
    assert volume_header(tmp_path / "mr")[0] == series.shape
    assert np.array_equal(read_volume(tmp_path / "mr").array, VOXELS)


@pytest.mark.parametrize("flip", [False, True])
def test_k_ascends_along_the_normal(tmp_path: Path, flip: bool) -> None:
    affine = OBLIQUE @ np.diag([1.0, 1.0, -1.0, 1.0]) if flip else OBLIQUE
    series = read_dicom_series(write_dicom_series(tmp_path / "a", Volume(VOXELS, affine))[0].parent)
    lps = np.diag([-1.0, -1.0, 1.0]) @ series.affine[:3, :3]
    assert np.cross(lps[:, 0], lps[:, 1]) @ lps[:, 2] > 0
    image = SimpleITK.ReadImage([str(file) for file in series.files])
    assert np.allclose(np.diag([-1, -1, 1]) @ image.GetOrigin(), series.affine[:3, 3])
    assert np.allclose(np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing(), lps)


def test_single_files(folder: Path) -> None:
    file = folder / "IM00003.dcm"
    assert is_volume(file)
    volume = read_volume(file)
    assert volume.array.shape == (6, 5, 1) and np.array_equal(volume.array[..., 0], VOXELS[:, :, 2])
    assert np.allclose(volume.affine[:3, 3], [0, 0, 5]) and np.allclose(volume.affine[:3, 2], [0, 0, 2.5])
    change(file, lambda dataset: dataset.__delattr__("SpacingBetweenSlices"))
    change(file, setting(SliceThickness="4"))
    assert volume_header(file)[1][2, 2] == 4  # a single slice is as thick as it says


def test_several_series(folder: Path, tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "b", Volume(VOXELS[..., :1], STRAIGHT), modality="MR", series_uid="1.2.4")
    shutil.copy(tmp_path / "b" / "IM00001.dcm", folder / "other.dcm")
    assert refusal(folder) == (
        "it holds 2 DICOM series, one is expected: 1.2.3 (CT, 'thorax', 7 files); 1.2.4 (MR, '', 1 file); "
        "choose one by its UID"
    )
    assert read_dicom_series(folder, "1.2.3").shape == (6, 5, 7)
    assert read_dicom_series(folder, "1.2.4").shape == (6, 5, 1)
    assert refusal(folder, "9.9").startswith("it holds no DICOM series 9.9: 1.2.3 (CT, 'thorax', 7 files); 1.2.4 (MR")


def test_what_is_passed_over(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no DICOM")
    (folder / ".DS_Store").touch()
    (folder / "inner").mkdir()
    for name, kind in (("DICOMDIR", "1.2.840.10008.1.3.10"), ("rt.dcm", "1.2.840.10008.5.1.4.1.1.481.3")):
        shutil.copy(folder / "IM00001.dcm", folder / name)
        change(folder / name, lambda dataset: dataset.__delattr__("PixelData"))
        change(folder / name, setting(SOPClassUID=kind, SeriesInstanceUID="7.7"))
    assert read_dicom_series(folder).shape == (6, 5, 7)
    for file in folder.glob("IM*.dcm"):
        file.unlink()
    reason = refusal(folder)
    assert reason.startswith("it holds 0 DICOM series, one is expected; other files: .DS_Store (not DICOM), ")
    assert "rt.dcm (RT Structure Set Storage)" in reason and "DICOMDIR (Media Storage Directory Storage)" in reason
    assert refusal(tmp_path) == "it holds 0 DICOM series, one is expected"
    assert refusal(tmp_path / "none") == "there is no such file"


def test_missing_slices(folder: Path) -> None:
    (folder / "IM00003.dcm").unlink()
    assert refusal(folder) == (
        "1 slice is missing (spacing 2.5 mm): 1 between IM00002.dcm at (0, 0, 2.5) and IM00004.dcm at (0, 0, 7.5)"
    )
    (folder / "IM00006.dcm").unlink()
    change(folder / "IM00007.dcm", setting(ImagePositionPatient=[0, 0, 17.5]))
    assert refusal(folder) == (
        "3 slices are missing (spacing 2.5 mm): 1 between IM00002.dcm at (0, 0, 2.5) and IM00004.dcm at (0, 0, 7.5); "
        "2 between IM00005.dcm at (0, 0, 10) and IM00007.dcm at (0, 0, 17.5)"
    )


def test_uneven_spacing(folder: Path) -> None:
    change(folder / "IM00007.dcm", setting(ImagePositionPatient=[0, 0, 16]))
    reason = refusal(folder)
    assert reason.startswith("the spacing of its slices is not equal: 2.5 mm (5 times), 3.5 mm (1 times); IM0000")
    change(folder / "IM00007.dcm", setting(ImagePositionPatient=[0, 0, 15.02]))  # within a hundredth
    assert read_dicom_series(folder).affine[2, 2] == pytest.approx(15.02 / 6)
    change(folder / "IM00007.dcm", setting(ImagePositionPatient=[0, 0, 15.2]))
    assert "off a regular grid, 0.0253 mm are allowed" in refusal(folder)
    assert read_dicom_series(folder, tolerance=0.1).shape == (6, 5, 7)


def test_spacings_that_drift_are_not_even(tmp_path: Path) -> None:
    """Every step is within a hundredth of the mean, and yet the slices in the middle would lie elsewhere."""
    files = write_dicom_series(tmp_path / "a", Volume(np.zeros((2, 2, 60), np.int16), STRAIGHT))
    heights = np.concatenate([[0], np.cumsum([2.48] * 30 + [2.52] * 29)])
    for file, height in zip(files, heights, strict=True):
        change(file, setting(ImagePositionPatient=[0, 0, round(float(height), 3)]))
    assert "2.48 mm (30 times), 2.52 mm (29 times); IM00031.dcm at (0, 0, 74.4) is 0.59 mm off" in refusal(
        tmp_path / "a"
    )


def test_a_slice_that_is_shifted_sideways(folder: Path) -> None:
    change(folder / "IM00004.dcm", setting(ImagePositionPatient=[1, 0, 7.5]))
    assert refusal(folder) == (
        "its slices do not lie on a straight line: IM00004.dcm at (1, 0, 7.5) is 1 mm beside it, 0.025 mm are allowed"
    )


def test_several_volumes_in_one_series(folder: Path) -> None:
    for number in (1, 2, 3, 4, 5, 6, 7):
        copy = folder / f"second{number}.dcm"
        shutil.copy(folder / f"IM0000{number}.dcm", copy)
        change(copy, setting(SOPInstanceUID=generate_uid(), EchoTime="80"))
    assert refusal(folder) == (
        "14 slices lie at 7 positions, so it holds several volumes (echoes, phases, times): IM00001.dcm and "
        "second1.dcm are both at (0, 0, 0), which differ in EchoTime None and 80; read each volume from a folder of "
        "its own"
    )


def test_a_copy_of_a_file(folder: Path) -> None:
    shutil.copy(folder / "IM00002.dcm", folder / "copy of IM00002.dcm")
    assert refusal(folder).startswith("IM00002.dcm and copy of IM00002.dcm are the same image (SOPInstanceUID ")


def test_a_localizer_in_the_series(folder: Path) -> None:
    change(folder / "IM00007.dcm", setting(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    assert refusal(folder) == (
        "its slices have 2 orientations: (1, 0, 0, 0, 1, 0) (6 of 7, as in IM00001.dcm), (0, 1, 0, 0, 0, -1) (1 of 7, "
        "as in IM00007.dcm); localizers are a series of their own"
    )


def test_sizes_and_spacings_that_differ(folder: Path) -> None:
    change(folder / "IM00002.dcm", setting(PixelSpacing=[0.8, 0.9]))
    assert refusal(folder).startswith(
        "its slices have 2 pixel spacings: 0.7 x 0.8 mm (6 of 7, as in IM00001.dcm), 0.9 x"
    )
    change(folder / "IM00002.dcm", setting(Rows=4))
    assert refusal(folder).startswith(
        "its slices have 2 sizes (columns x rows): 6 x 5 (6 of 7, as in IM00001.dcm), 6 x 4"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0.1, 1, 0]}, "is not two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "is not two perpendicular unit vectors"),
        ({"PixelSpacing": [0, 1]}, "it must be positive"),
    ],
)
def test_geometry_that_cannot_be(folder: Path, values: dict[str, Any], words: str) -> None:
    for file in folder.iterdir():
        change(file, setting(**values))
    assert words in refusal(folder)


def test_a_tilted_gantry_is_kept(tmp_path: Path) -> None:
    sheared = STRAIGHT.copy()
    sheared[:3, 2] = [0.1, -0.9, 2.4]
    write_dicom_series(tmp_path / "a", Volume(VOXELS, sheared))
    series = read_dicom_series(tmp_path / "a")
    assert np.allclose(series.affine, sheared, rtol=0, atol=1e-12)
    assert np.allclose(read_volume(tmp_path / "a").affine, sheared, rtol=0, atol=1e-12)


def test_no_position(folder: Path) -> None:
    change(folder / "IM00002.dcm", lambda dataset: dataset.__delattr__("ImagePositionPatient"))
    assert refusal(folder) == "IM00002.dcm has no position in the patient (1 of 7 slices)"
    for file in folder.iterdir():
        change(file, setting(PixelSpacing=None))
    assert refusal(folder) == "IM00001.dcm has no pixel spacing in the patient (7 of 7 slices)"
    for file in folder.iterdir():
        change(file, setting(ImagePositionPatient=None, ImageOrientationPatient=None))
    with pytest.raises(UnplacedSeriesError, match=r"IM00001.dcm has no position and no orientation") as caught:
        read_dicom_series(folder)
    assert [file.name for file in caught.value.files] == [f"IM0000{number}.dcm" for number in range(1, 8)]
    assert np.array_equal(read_volume(folder).array, VOXELS)  # in the order of instance numbers
    assert volume_header(folder)[0] == (6, 5, 7)


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off(folder: Path, kept: float) -> None:
    file = folder / "IM00005.dcm"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    assert refusal(folder).startswith("IM00005.dcm is not whole: it ")
    for function in (read_volume, volume_header):
        with pytest.raises(UnreadableFileError, match=r"IM00005.dcm is not whole"):
            function(folder)


def test_a_damaged_file_of_another_series_does_no_harm(folder: Path, tmp_path: Path) -> None:
    (file,) = write_dicom_series(tmp_path / "b", Volume(VOXELS[..., :1], STRAIGHT), series_uid="1.2.4")
    (folder / "other.dcm").write_bytes(file.read_bytes()[:-2])
    assert read_dicom_series(folder, "1.2.3").shape == (6, 5, 7)
    assert refusal(folder, "1.2.4") == "other.dcm is not whole: it holds 58 of 60 bytes of pixels"


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "a", Volume(VOXELS, STRAIGHT))
    slopes = [1, 0.5, 2, 0.123, 1, 4, 0.25]  # of the first file alone, the voxels would be integers
    for file, slope in zip(files, slopes, strict=True):
        change(file, setting(RescaleSlope=str(slope), RescaleIntercept="-3", SOPClassUID="1.2.840.10008.5.1.4.1.1.128"))
    array = read_dicom_series(tmp_path / "a").read().array
    assert array.dtype == np.float32 and np.allclose(array, VOXELS * np.array(slopes) - 3, rtol=1e-6)


def test_slices_of_different_types(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "a", Volume(np.abs(VOXELS) - 5000, STRAIGHT))
    high = np.full((5, 6), 60000, np.uint16)
    change(files[2], setting(PixelData=high.tobytes(), PixelRepresentation=0))
    array = read_dicom_series(tmp_path / "a").read().array
    assert (array[:, :, 2] == 60000).all() and np.array_equal(array[:, :, 3], (np.abs(VOXELS) - 5000)[:, :, 3])


def test_one_slope_for_all_slices(folder: Path) -> None:
    for file in folder.iterdir():
        change(file, setting(RescaleSlope="0.5", RescaleIntercept="-1024"))
    array = read_volume(folder).array
    assert array.dtype == np.float32 and np.array_equal(array, VOXELS * 0.5 - 1024)


def test_compressed_classic_files(folder: Path) -> None:
    for file in folder.iterdir():
        change(file, lambda dataset: dataset.compress(RLELossless))
    assert np.array_equal(read_volume(folder).array, VOXELS)
    file = folder / "IM00006.dcm"
    file.write_bytes(file.read_bytes()[:-12])
    assert refusal(folder) == "IM00006.dcm is not whole: it ends within its compressed pixels"


def test_colour(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "a", Volume(VOXELS, STRAIGHT))
    colours = np.random.RandomState(1).randint(0, 256, (7, 5, 6, 3)).astype(np.uint8)
    for file, array in zip(files, colours, strict=True):
        values = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
        change(file, setting(**values, **bits, PixelData=array.tobytes()))
    volume = read_volume(tmp_path / "a")
    assert volume.array.shape == (6, 5, 7, 3) and np.array_equal(volume.array, colours.transpose(2, 1, 0, 3))
    assert np.allclose(volume.affine, STRAIGHT)


ORDER = [3, 0, 6, 1, 5, 2, 4]


def test_a_multi_frame_file(tmp_path: Path) -> None:
    file = enhanced(tmp_path / "a.dcm", Volume(VOXELS, OBLIQUE), order=ORDER)
    for path in (file, tmp_path):
        series = read_dicom_series(path)
        assert series.multiframe and series.files == (file,) and len(series.headers) == 1
        assert series.shape == (6, 5, 7) and np.allclose(series.affine, OBLIQUE, rtol=0, atol=1e-8)
        assert series.frames == tuple((0, ORDER.index(k)) for k in range(7))
        volume = series.read()
        assert np.array_equal(volume.array, VOXELS) and volume.array.dtype == np.int16
        assert np.array_equal(read_volume(path).array, VOXELS)


def test_frames_have_their_own_slope(tmp_path: Path) -> None:
    rescale = [(0.5 + number, -10.0 * number) for number in range(7)]
    file = enhanced(tmp_path / "a.dcm", Volume(VOXELS, STRAIGHT), order=ORDER, rescale=rescale)
    slopes, intercepts = np.array([rescale[ORDER.index(k)] for k in range(7)]).T
    assert np.allclose(read_volume(file).array, VOXELS * slopes + intercepts, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "intercept", "expected"),
    [(np.int16, 0, np.int16), (np.uint16, 0, np.uint16), (np.uint16, -1024, np.int32), (np.int16, -9, np.int32)],
)
def test_frames_with_one_whole_intercept_are_integers(
    tmp_path: Path, dtype: type, intercept: int, expected: type
) -> None:
    stored = np.abs(VOXELS).astype(dtype)
    file = enhanced(tmp_path / "a.dcm", Volume(stored, STRAIGHT), rescale=[(1.0, float(intercept))] * 7)
    array = read_volume(file).array
    assert array.dtype == expected and np.array_equal(array, stored.astype(int) + intercept)


def test_compressed_frames(tmp_path: Path) -> None:
    file = enhanced(tmp_path / "a.dcm", Volume(np.abs(VOXELS).astype(np.uint16), STRAIGHT), order=ORDER)
    change(file, lambda dataset: dataset.compress(RLELossless))
    assert np.array_equal(read_volume(file).array, np.abs(VOXELS))
    file.write_bytes(file.read_bytes()[:-40])
    assert refusal(file) == "a.dcm is not whole: it ends within its compressed pixels"


def test_frames_that_only_gdcm_can_decode(tmp_path: Path) -> None:
    """Lossless JPEG: pydicom has no decoder of its own."""
    stored = np.abs(VOXELS).astype(np.uint16)
    rescale = [(1.0 + number, 0.0) for number in range(7)]
    file = enhanced(tmp_path / "a.dcm", Volume(stored, STRAIGHT), rescale=rescale)
    image = SimpleITK.GetImageFromArray(stored.transpose(2, 1, 0))
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "other.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(image)
    compressed = pydicom.dcmread(tmp_path / "other.dcm")
    (tmp_path / "other.dcm").unlink()
    assert compressed.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70" and compressed.NumberOfFrames == 7

    def swap(dataset: Any) -> None:
        dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
        dataset["PixelData"] = compressed["PixelData"]

    change(file, swap)
    assert np.allclose(read_volume(file).array, stored * np.arange(1, 8), rtol=1e-6)


def test_frames_are_checked_like_files(tmp_path: Path) -> None:
    def place(k: int, position: list[float]) -> Callable[[Any], object]:
        return lambda dataset: setattr(
            dataset.PerFrameFunctionalGroupsSequence[k].PlanePositionSequence[0], "ImagePositionPatient", position
        )

    double = enhanced(tmp_path / "double.dcm", Volume(VOXELS, STRAIGHT), edit=place(2, [0, 0, 2.5]))
    assert "7 slices lie at 6 positions" in refusal(double)
    assert "double.dcm, frame 2 and double.dcm, frame 3 are both at (0, 0, 2.5)" in refusal(double)
    gap = enhanced(tmp_path / "gap.dcm", Volume(VOXELS, STRAIGHT), edit=place(6, [0, 0, 17.5]))
    assert "1 between gap.dcm, frame 6 at (0, 0, 12.5) and gap.dcm, frame 7 at (0, 0, 17.5)" in refusal(gap)
    cut = enhanced(tmp_path / "cut.dcm", Volume(VOXELS, STRAIGHT))
    cut.write_bytes(cut.read_bytes()[:-100])
    assert refusal(cut) == "cut.dcm is not whole: it holds 320 of 420 bytes of pixels"


def test_a_converted_series(folder: Path) -> None:
    """A multi-frame file that another library made of the classic ones."""
    datasets = [pydicom.dcmread(file) for file in sorted(folder.iterdir(), reverse=True)]
    for dataset in datasets:
        dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
        dataset.AcquisitionDate = dataset.ContentDate = DA("20200101")
        dataset.AcquisitionTime = dataset.ContentTime = TM("120000")
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        datasets, series_instance_uid="1.2.5", series_number=2, sop_instance_uid="1.2.5.1", instance_number=1
    )
    converted.save_as(folder.parent / "converted.dcm")
    series = read_dicom_series(folder.parent / "converted.dcm")
    assert series.uid == "1.2.5" and np.allclose(series.affine, STRAIGHT, rtol=0, atol=1e-12)
    assert np.array_equal(series.read().array, VOXELS)


def test_slices_that_are_multi_frame_files_of_one_frame(tmp_path: Path) -> None:
    for k in (2, 0, 1):
        here = STRAIGHT.copy()
        here[:3, 3] += k * here[:3, 2]
        enhanced(tmp_path / f"{k}.dcm", Volume(VOXELS[..., k : k + 1], here), edit=setting(SeriesInstanceUID="1.2.6"))
    series = read_dicom_series(tmp_path)
    assert series.shape == (6, 5, 3) and np.allclose(series.affine, STRAIGHT)
    assert np.array_equal(series.read().array, VOXELS[..., :3])


@pytest.mark.parity
def test_a_real_series(shared: Path) -> None:
    folder = shared / "data" / "DICOM" / "ct-3slice"
    series = read_dicom_series(folder)
    assert series.shape == (512, 512, 3) and series.modality == "CT"
    image = SimpleITK.ReadImage(
        SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(
            str(folder), SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))[0]
        )
    )
    assert np.array_equal(series.read().array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    assert np.allclose(np.array(image.GetOrigin()) * [-1, -1, 1], series.affine[:3, 3], atol=1e-6)
    files = sorted(folder.iterdir())
    with pytest.raises(UnreadableFileError, match="read_dicom_seg"):
        read_volume(folder.parent / "liver.dcm")
    assert len(files) == 3
