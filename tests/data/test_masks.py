"""Masks out: every format read back by libraries that had no part in writing, and DICOM SEG in both directions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM
from scipy.spatial.transform import Rotation

from adaptiveclick_med.data import volume_writing
from adaptiveclick_med.data.dicom import DicomSeries, read_dicom_series
from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import UnreadableFileError, Volume, read_volume
from adaptiveclick_med.data.masks import Segment, read_dicom_seg, write_dicom_seg, write_volume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd")
RANDOM = np.random.RandomState(0)


def affine_of(directions: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * [0.7123456789, 0.8, 2.5]
    affine[:3, 3] = [-123.456789, 98.7654321, -300.123456]
    return affine


AFFINES = {
    "RAS": affine_of(np.eye(3)),
    "LPS": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "flipped": affine_of(np.diag([1.0, 1.0, -1.0])),
    "permuted": affine_of(np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])),
    "oblique": affine_of(Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()),
    "oblique, flipped": affine_of(Rotation.from_euler("xyz", [170, 15, -80], degrees=True).as_matrix() * [1, -1, 1]),
    "almost upside down": affine_of(Rotation.from_euler("xyz", [179.99, 0.01, 0], degrees=True).as_matrix()),
}
SHEARED = AFFINES["oblique"].copy()
SHEARED[:3, 2] += 0.3 * SHEARED[:3, 1]


def itk_affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_voxel_is_found_where_it_was_marked(tmp_path: Path, suffix: str, name: str) -> None:
    affine, path = AFFINES[name], tmp_path / f"mask{suffix}"
    array = np.zeros((9, 7, 5), bool)
    array[6, 2, 3] = True
    world = (affine @ [6, 2, 3, 1])[:3]
    write_volume(path, array, affine)
    # float32 entries: 6e-8 of up to 300 mm, the directions of 2.5 mm a voxel
    tolerance = 2e-5 if suffix in (".nii", ".nii.gz") else 1e-9
    image = SimpleITK.ReadImage(str(path))
    assert image.GetPixelID() == SimpleITK.sitkUInt8 and image.GetSize() == (9, 7, 5)
    assert np.allclose(itk_affine(image), affine, rtol=0, atol=tolerance)
    assert np.allclose(itk_affine(image)[:3, :3], affine[:3, :3], rtol=0, atol=max(tolerance / 50, 1e-9))
    assert image.GetPixel(image.TransformPhysicalPointToIndex((world * [-1, -1, 1]).tolist())) == 1
    assert SimpleITK.GetArrayViewFromImage(image).sum() == 1
    if suffix in (".nii", ".nii.gz"):
        other = nibabel.load(path)
        assert other.get_data_dtype() == np.uint8 and other.header.get_xyzt_units()[0] == "mm"
        assert (int(other.header["sform_code"]), int(other.header["qform_code"])) == (1, 1)
        assert np.allclose(other.affine, affine, rtol=0, atol=tolerance)
        assert np.allclose(other.get_qform(), affine, rtol=0, atol=2e-3)  # quaternions of half turns are rough
        place = np.rint(np.linalg.inv(other.affine) @ [*world, 1])[:3].astype(int)
        assert other.dataobj[tuple(place)] == 1
    volume = read_volume(path)
    assert np.array_equal(volume.array, array) and np.allclose(volume.affine, affine, rtol=0, atol=tolerance)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [path.name, *(["mask.raw"] if suffix == ".mhd" else [])]
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.bool_, np.uint8),
        (np.uint8, np.uint8),
        (np.int8, np.int8),
        (np.int16, np.int16),
        (np.uint16, np.uint16),
        (np.int32, np.int32),
        (np.int64, np.uint8),
        (np.uint64, np.uint8),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">i2", np.int16),
    ],
)
def test_types(tmp_path: Path, suffix: str, given: Any, kept: type) -> None:
    array = RANDOM.randint(0, 2, (3, 4, 5)).astype(given)
    write_volume(tmp_path / f"a{suffix}", array, np.eye(4))
    stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / f"a{suffix}")))
    assert stored.dtype == kept and np.array_equal(stored.transpose(2, 1, 0), array.astype(kept))


@pytest.mark.parametrize(
    ("highest", "kept"), [(255, np.uint8), (256, np.int16), (40_000, np.uint16), (70_000, np.int32)]
)
def test_wide_integers_become_small(tmp_path: Path, highest: int, kept: type) -> None:
    write_volume(tmp_path / "a.nii", np.full((1, 1, 2), highest), np.eye(4))
    assert nibabel.load(tmp_path / "a.nii").get_data_dtype() == kept
    assert read_volume(tmp_path / "a.nii").array.tolist() == [[[highest, highest]]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_channels(tmp_path: Path, suffix: str) -> None:
    array = RANDOM.randint(0, 99, (3, 4, 5, 2)).astype(np.int16)
    write_volume(tmp_path / f"a{suffix}", array, AFFINES["oblique"])
    volume = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(volume.array, array) and np.allclose(volume.affine, AFFINES["oblique"], atol=2e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sheared_grids(tmp_path: Path, suffix: str) -> None:
    array, path = np.ones((2, 3, 4), np.uint8), tmp_path / f"a{suffix}"
    if suffix in (".nii", ".nii.gz"):
        write_volume(path, array, SHEARED)
        image = nibabel.load(path)
        assert np.allclose(image.affine, SHEARED, rtol=0, atol=2e-5) and int(image.header["qform_code"]) == 0
        return
    with pytest.raises(ValueError, match=r"which \.\S+ files cannot hold; \.nii and \.nii\.gz files can"):
        write_volume(path, array, SHEARED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "array", "affine", "words"),
    [
        (
            "a.png",
            np.zeros((1, 1, 1)),
            np.eye(4),
            r"must be one of \.nii, \.nii\.gz, \.nrrd, \.seg\.nrrd, \.mha, \.mhd",
        ),
        ("a", np.zeros((1, 1, 1)), np.eye(4), "must be one of"),
        ("a.nii", np.zeros((1, 1)), np.eye(4), r"got shape \[1, 1\]"),
        ("a.nii", np.zeros((1, 0, 1)), np.eye(4), r"not empty, got shape \[1, 0, 1\]"),
        ("a.nrrd", np.zeros((1, 1, 1), complex), np.eye(4), "got complex128"),
        ("a.nrrd", np.full((1, 1, 1), 2**40), np.eye(4), "32 bits are allowed"),
        ("a.mha", np.zeros((1, 1, 1)), np.full((4, 4), np.nan), "not an invertible 4x4 matrix"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, array: np.ndarray, affine: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_volume(tmp_path / name, array, affine)
    assert list(tmp_path.iterdir()) == []


def test_both_files_of_mhd_are_replaced(tmp_path: Path) -> None:
    for value in (1, 2):
        write_volume(tmp_path / "out" / "a.mhd", np.full((3, 4, 5), value), np.eye(4))
        assert (read_volume(tmp_path / "out" / "a.mhd").array == value).all()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.mhd", "a.raw"]


def test_a_header_of_mhd_is_never_there_without_its_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".raw":
            raise OSError("no space left")
        return replace(self, target)

    write_volume(tmp_path / "a.mhd", np.zeros((3, 4, 5)), np.eye(4))
    monkeypatch.setattr(volume_writing.Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_volume(tmp_path / "a.mhd", np.ones((3, 4, 5)), np.eye(4))
    assert [file.name for file in tmp_path.iterdir()] == ["a.raw"]


def test_segments_of_3d_slicer(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), int)
    labels[1], labels[2] = 1, 7
    segments = [Segment(1, "liver", color=(255, 0, 51)), Segment(7, "left kidney")]
    write_volume(tmp_path / "a.seg.nrrd", labels, AFFINES["LPS"], segments=segments)
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment0_Name") == "liver" and image.GetMetaData("Segment0_Color") == "1 0 0.2"
    assert image.GetMetaData("Segment1_LabelValue") == "7" and image.GetMetaData("Segment1_ID") == "Segment_7"
    with pytest.raises(ValueError, match=r"segments can be kept in .seg.nrrd files, not in a.nrrd"):
        write_volume(tmp_path / "a.nrrd", labels, AFFINES["LPS"], segments=segments)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"number": 0}, "must be 1 to 65535, got 0"),
        ({"name": " "}, "must be 1 to 64 printable characters"),
        ({"name": "x" * 65}, "must be 1 to 64 printable characters"),
        ({"name": "a\\b"}, "must be 1 to 64 printable characters"),
        ({"code": "liver"}, "code must be VALUE:SCHEME:MEANING"),
        ({"category": "1:2"}, "code must be VALUE:SCHEME:MEANING"),
        ({"color": (0, 0, 256)}, r"must be three values 0 to 255, got \(0, 0, 256\)"),
    ],
)
def test_segments_that_cannot_be(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Segment(**{"number": 1, "name": "liver", **values})


# DICOM SEG

SHAPE = (9, 8, 6)
LABELS = np.zeros(SHAPE, np.int32)
LABELS[1:4, 2:5, 1:4] = 1
LABELS[5:8, 1:3, 3:6] = 2
LABELS[0, 0, 0] = LABELS[8, 7, 5] = 5
SEGMENTS = [
    Segment(5, "Läsion", code="123:99LOCAL:Fo:o", color=(10, 200, 30)),
    Segment(1, "left kidney"),
    Segment(2, "liver tumour"),
]


def classic(folder: Path, affine: np.ndarray = AFFINES["oblique"], **options: Any) -> DicomSeries:
    array = RANDOM.randint(0, 1000, SHAPE).astype(np.int16)
    write_dicom_series(folder, Volume(array, affine), modality="CT", patient_name="Müller^Jürgen", **options)
    return read_dicom_series(folder)


def multiframe(folder: Path, affine: np.ndarray = AFFINES["oblique"]) -> DicomSeries:
    """A multi-frame file made by highdicom, its frames then stored in another order than their positions."""
    datasets = [pydicom.dcmread(file) for file in classic(folder / "classic", affine).files]
    for dataset in datasets:
        dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
        dataset.AcquisitionDate = dataset.ContentDate = DA("20200101")
        dataset.AcquisitionTime = dataset.ContentTime = TM("120000")
    file = folder / "multiframe.dcm"
    highdicom.legacy.LegacyConvertedEnhancedCTImage(
        datasets,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    ).save_as(file)
    dataset, order = pydicom.dcmread(file), [3, 0, 5, 1, 4, 2]
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    dataset.PixelData = dataset.pixel_array[order].tobytes()
    dataset.save_as(file)
    return read_dicom_series(file)


@pytest.mark.parametrize("source", [classic, multiframe])
def test_segmentations(tmp_path: Path, source: Any) -> None:
    series = source(tmp_path / "images")
    if source is multiframe:
        assert series.multiframe and [frame for _, frame in series.frames] != list(range(6))
    before = [header.to_json() for header in series.headers]
    write_dicom_seg(tmp_path / "out" / "seg.dcm", LABELS, series, SEGMENTS)
    assert [header.to_json() for header in series.headers] == before
    labels, segments = read_dicom_seg(tmp_path / "out" / "seg.dcm", series)
    expected = np.array([0, 1, 2, 0, 0, 3])[LABELS]  # DICOM numbers segments without gaps
    assert labels.dtype == np.uint8 and np.array_equal(labels, expected)
    assert [(segment.number, segment.name) for segment in segments] == [
        (1, "left kidney"),
        (2, "liver tumour"),
        (3, "Läsion"),
    ]
    assert [segment.code for segment in segments] == [
        "64033007:SCT:Kidney",
        "108369006:SCT:Neoplasm",
        "123:99LOCAL:Fo:o",
    ]
    assert segments[2].color == (10, 200, 30) and segments[0].color == SEGMENTS[1].shown_color
    assert segments[0].codes == SEGMENTS[1].codes and segments[1].codes == SEGMENTS[2].codes

    dataset = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert (dataset.SegmentationType, dataset.SegmentsOverlap) == (
        "BINARY",
        "NO",
    ) and dataset.PatientName == "Müller^Jürgen"
    header = series.headers[0]
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "StudyDate"):
        assert dataset.get(name) == header.get(name)
    assert dataset.SeriesInstanceUID != series.uid
    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.uid
    uids = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    assert uids == {header.SOPInstanceUID for header in series.headers}
    for item in dataset.SegmentSequence:
        assert (item.SegmentAlgorithmType, item.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "AdaptiveClick")
        assert len(item.RecommendedDisplayCIELabValue) == 3
    first, second, third = dataset.SegmentSequence
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    side = first.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Left"
    assert second.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"
    assert second.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert third.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Tissue"


@pytest.mark.parametrize("source", [classic, multiframe])
@pytest.mark.parametrize("name", AFFINES)
def test_frames_of_a_segmentation_lie_where_its_slices_do(tmp_path: Path, source: Any, name: str) -> None:
    """Read by pydicom alone: each voxel of the mask, by the frames' own geometry."""
    series = source(tmp_path / "images", AFFINES[name])
    write_dicom_seg(tmp_path / "seg.dcm", LABELS == 5, series, [Segment(1, "spot")])
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    cosines = np.reshape([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient], (2, 3))
    rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(2.5)
    found = []
    for groups, frame in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
        position = np.array([float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient])
        for row, column in np.argwhere(frame):
            found.append((position + column * columns * cosines[0] + row * rows * cosines[1]) * [-1, -1, 1])
    expected = (series.affine @ np.array([[0, 0, 0, 1], [8, 7, 5, 1]]).T)[:3].T
    assert np.allclose(sorted(map(tuple, found)), sorted(map(tuple, expected)), rtol=0, atol=1e-6)


def test_a_segmentation_of_tilted_slices(tmp_path: Path) -> None:
    series = classic(tmp_path / "images", SHEARED)
    assert np.allclose(series.affine, SHEARED)
    write_dicom_seg(tmp_path / "seg.dcm", LABELS, series, SEGMENTS)
    assert np.array_equal(read_dicom_seg(tmp_path / "seg.dcm", series)[0] > 0, LABELS > 0)


def test_a_segmentation_of_one_slice(tmp_path: Path) -> None:
    folder = classic(tmp_path / "images").files[0].parent
    series = read_dicom_series(folder / "IM00003.dcm")
    write_dicom_seg(tmp_path / "seg.dcm", LABELS[:, :, 2:3] == 1, series, [Segment(1, "liver")])
    labels, _ = read_dicom_seg(tmp_path / "seg.dcm", series)
    assert np.array_equal(labels, LABELS[:, :, 2:3] == 1)


def test_images_that_lack_what_may_be_empty(tmp_path: Path) -> None:
    """Files in the wild: highdicom alone refuses each of these."""
    series = classic(tmp_path / "images")
    absent = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientBirthDate", "SliceThickness", "PatientID")
    for file in series.files:
        dataset = pydicom.dcmread(file)
        for name in absent:
            delattr(dataset, name)
        dataset.PatientSex, dataset.SpecificCharacterSet, dataset.PatientName = "X", None, "Only-one"
        del dataset.SpacingBetweenSlices
        dataset.save_as(file)
    series = read_dicom_series(tmp_path / "images")
    write_dicom_seg(tmp_path / "seg.dcm", LABELS, series, SEGMENTS)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (dataset.PatientName, dataset.PatientSex, dataset.StudyDate) == ("Only-one", "X", "")
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(2.5) == float(measures.SpacingBetweenSlices)
    assert np.array_equal(read_dicom_seg(tmp_path / "seg.dcm", series)[0] > 0, LABELS > 0)


@pytest.mark.parametrize(
    ("labels", "segments", "words"),
    [
        (np.zeros(SHAPE, int), SEGMENTS, "labels are empty: no voxel is in a segment"),
        (LABELS, SEGMENTS[:2], r"labels hold the numbers \[2\], for which there is no segment; segments are \[1, 5\]"),
        (LABELS, [*SEGMENTS, Segment(7, "spleen")], r"no voxel of labels is in segment 7 \(spleen\)"),
        (LABELS, [*SEGMENTS, Segment(1, "spleen")], r"different numbers, got \[1, 1, 2, 5\]"),
        (LABELS, [], r"different numbers, got \[\]"),
        (LABELS[1:], SEGMENTS, r"the series' shape \[9, 8, 6\], got \[8, 8, 6\]"),
        (LABELS.astype(float), SEGMENTS, "must be bool or integers, got float64"),
    ],
)
def test_segmentations_that_cannot_be_written(
    tmp_path: Path, labels: np.ndarray, segments: list[Segment], words: str
) -> None:
    series = classic(tmp_path / "images")
    with pytest.raises(ValueError, match=words):
        write_dicom_seg(tmp_path / "seg.dcm", labels, series, segments)
    assert not (tmp_path / "seg.dcm").exists()


def test_images_without_frame_of_reference(tmp_path: Path) -> None:
    for file in classic(tmp_path / "images").files:
        dataset = pydicom.dcmread(file)
        del dataset.FrameOfReferenceUID
        dataset.save_as(file)
    with pytest.raises(ValueError, match=r"refers to its images by FrameOfReferenceUID, which series .* lacks"):
        write_dicom_seg(tmp_path / "seg.dcm", LABELS, read_dicom_series(tmp_path / "images"), SEGMENTS)


def written(tmp_path: Path) -> tuple[Path, DicomSeries]:
    series = classic(tmp_path / "images")
    write_dicom_seg(tmp_path / "seg.dcm", LABELS, series, SEGMENTS)
    return tmp_path / "seg.dcm", series


def test_a_segmentation_of_another_series(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    other = classic(tmp_path / "other", series_uid="1.2.77")
    with pytest.raises(UnreadableFileError) as caught:
        read_dicom_seg(file, other)
    assert caught.value.reason == f"it was drawn on series {series.uid}, not on series 1.2.77"
    with pytest.raises(UnreadableFileError, match="it is no DICOM segmentation but CT Image Storage"):
        read_dicom_seg(series.files[0], series)
    with pytest.raises(UnreadableFileError, match="there is no such file"):
        read_dicom_seg(tmp_path / "none.dcm", series)
    (tmp_path / "notes.txt").write_text("no DICOM")
    for path, words in ((tmp_path / "notes.txt", "it is not DICOM"), (tmp_path, "it is a folder")):
        with pytest.raises(UnreadableFileError, match=words):
            read_dicom_seg(path, series)


def test_segments_are_chosen_by_number(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    labels, segments = read_dicom_seg(file, series, numbers=[2])
    assert np.array_equal(labels, 2 * (LABELS == 2)) and [segment.name for segment in segments] == ["liver tumour"]
    with pytest.raises(UnreadableFileError, match="it has no segment 9"):
        read_dicom_seg(file, series, numbers=[1, 9])


def test_segments_that_overlap(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    dataset = pydicom.dcmread(file)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        number = groups.SegmentIdentificationSequence[0]
        if number.ReferencedSegmentNumber == 3:
            number.ReferencedSegmentNumber = 1
    dataset.PixelData = bytes([255]) * len(dataset.PixelData)
    dataset.save_as(file)
    with pytest.raises(UnreadableFileError, match=r"segments 1 and 2 overlap in 72 voxels of seg.dcm, frame"):
        read_dicom_seg(file, series)
    assert read_dicom_seg(file, series, numbers=[2])[0].max() == 2


def test_a_segmentation_on_another_grid(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    dataset = pydicom.dcmread(file)
    groups = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    groups.ImagePositionPatient = [float(value) + 0.4 for value in groups.ImagePositionPatient]
    dataset.save_as(file)
    with pytest.raises(UnreadableFileError, match=r"frame 2 does not lie on the grid of series .* voxels off"):
        read_dicom_seg(file, series)


def test_frames_that_run_in_other_directions(tmp_path: Path) -> None:
    """A segmentation whose frames are the slices across the series' rows, as other programs may write it."""
    series = classic(tmp_path / "images", AFFINES["LPS"])
    turned = AFFINES["LPS"][:, [1, 2, 0, 3]]
    array = RANDOM.randint(0, 1000, (8, 6, 9)).astype(np.int16)
    write_dicom_series(tmp_path / "turned", Volume(array, turned), modality="CT")
    other = read_dicom_series(tmp_path / "turned")
    place = np.rint(np.linalg.inv(other.affine) @ series.affine @ [[1, 5], [2, 3], [4, 0], [1, 1]]).astype(int)[:3]
    labels = np.zeros(other.shape, int)
    labels[tuple(place)] = 1
    write_dicom_seg(tmp_path / "seg.dcm", labels, other, [Segment(1, "x")])
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = series.uid
    dataset.save_as(tmp_path / "seg.dcm")
    found, _ = read_dicom_seg(tmp_path / "seg.dcm", series)
    assert np.argwhere(found).tolist() == [[1, 2, 4], [5, 3, 0]]


def test_fractional_segmentations(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    binary = pydicom.dcmread(file)
    values = np.where(binary.pixel_array > 0, 128, 127).astype(np.uint8)
    binary.SegmentationType, binary.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    binary.MaximumFractionalValue, binary.BitsAllocated, binary.BitsStored, binary.HighBit = 255, 8, 8, 7
    binary.PixelData = values.tobytes()
    binary.save_as(file)
    assert np.array_equal(read_dicom_seg(file, series)[0] > 0, LABELS > 0)


def test_a_segmentation_beside_its_series_is_no_image(tmp_path: Path) -> None:
    file, series = written(tmp_path)
    shutil.copy(file, tmp_path / "images" / "seg.dcm")
    assert read_dicom_series(tmp_path / "images").uid == series.uid
    assert read_volume(tmp_path / "images").array.shape == SHAPE
    with pytest.raises(UnreadableFileError, match=r"seg.dcm \(Segmentation Storage\); read_dicom_seg reads segm"):
        read_volume(file)


@pytest.mark.parity
def test_a_real_segmentation(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "DICOM"
    series = read_dicom_series(folder / "ct-3slice")
    labels, segments = read_dicom_seg(folder / "liver.dcm", series)
    reference = read_volume(folder / "liver_seg.nrrd")
    assert labels.sum() == 107098 and np.array_equal(labels, reference.array)
    assert np.allclose(series.affine, reference.affine, rtol=0, atol=1e-5)
    assert [(segment.number, segment.name, segment.code) for segment in segments] == [(1, "Liver", "T-62000:SRT:Liver")]
    write_dicom_seg(tmp_path / "seg.dcm", labels, series, [Segment(1, "liver")])
    again, (liver,) = read_dicom_seg(tmp_path / "seg.dcm", series)
    assert np.array_equal(again, labels) and liver.code == "10200004:SCT:Liver"
