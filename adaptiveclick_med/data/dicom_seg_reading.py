"""Reading DICOM segmentations on the grid of their series, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.codes import parse_code
from adaptiveclick_med.data.dicom import DicomSeries
from adaptiveclick_med.data.dicom_files import DicomFile
from adaptiveclick_med.data.dicom_frames import Frame, frames_of, grid
from adaptiveclick_med.data.dicom_seg import Segment
from adaptiveclick_med.data.files import naming

__all__ = ["read_dicom_seg"]

_SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segmentations, label map segmentations
_OFF = 0.1  # voxels


def read_dicom_seg(
    path: str | Path, series: DicomSeries, *, numbers: Sequence[int] | None = None
) -> tuple[NDArray[Any], list[Segment]]:
    """Read a DICOM SEG as a label map on the grid of the series it was drawn on.

    Its frames may lie in any order and direction and cover only a part, as long as their voxels are voxels of the
    series. Of fractional segmentations, voxels of at least one half count.

    Args:
        path: the file.
        series: the series that the segmentation refers to.
        numbers: the segments to read; None for all.

    Returns:
        Labels [I, J, K], uint8 or, with segment numbers beyond 255, uint16; 0 is background. And the segments.

    Raises:
        UnreadableFileError: when the file is no segmentation, refers to another series, lies on another grid, or
            segments overlap (a label map holds one number a voxel: read them apart by ``numbers``).
    """
    import pydicom

    path = Path(path)
    with naming(path):
        if path.is_dir():
            raise ValueError("it is a folder; a segmentation is one file")
        try:
            dataset: Any = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError as error:
            raise ValueError("it is not DICOM") from error
        kind = dataset.get("SOPClassUID", "")
        if kind not in _SEG:
            raise ValueError(f"it is no DICOM segmentation but {getattr(kind, 'name', '') or 'something else'}")
        _same_series(dataset, series)
        segments = [segment for segment in _segments(dataset) if numbers is None or segment.number in numbers]
        if numbers is not None and (absent := sorted(set(numbers) - {segment.number for segment in segments})):
            raise ValueError(f"it has no segment {', '.join(map(str, absent))}")
        wanted = {segment.number for segment in segments}
        labels = np.zeros(series.shape, dtype=np.uint8 if max(wanted, default=0) < 256 else np.uint16)
        for frame, number, mask in _masks(path, dataset):
            if number in wanted:
                _put(labels, number, _voxels(frame, mask, series), frame)
        return labels, segments


def _same_series(dataset: Any, series: DicomSeries) -> None:
    referred = [str(item.get("SeriesInstanceUID", "")) for item in dataset.get("ReferencedSeriesSequence") or ()]
    if referred and series.uid not in referred:
        raise ValueError(f"it was drawn on series {', '.join(referred)}, not on series {series.uid}")
    if not referred:
        own, others = dataset.get("FrameOfReferenceUID"), {h.get("FrameOfReferenceUID") for h in series.headers}
        if not own or own not in others:
            raise ValueError(f"it does not tell its series, and its frame of reference is not that of {series.uid}")


def _segments(dataset: Any) -> Iterator[Segment]:
    for item in dataset.SegmentSequence:
        if int(item.SegmentNumber) == 0:  # background of label maps
            continue
        color = item.get("RecommendedDisplayCIELabValue")
        yield Segment(
            number=int(item.SegmentNumber),
            name=_name(item),
            code=_code(item, "SegmentedPropertyTypeCodeSequence"),
            category=_code(item, "SegmentedPropertyCategoryCodeSequence"),
            color=None if not color else _rgb(color),
        )


def _name(item: Any) -> str:
    label = "".join(
        letter for letter in str(item.get("SegmentLabel", "") or "") if letter.isprintable() and letter != "\\"
    )
    return label.strip()[:64].strip() or f"segment {item.SegmentNumber}"


def _code(item: Any, name: str) -> str | None:
    """Return a code as text; None where it is absent or not of DICOM's lengths."""
    if not item.get(name):
        return None
    code = item.get(name)[0]
    parts = [str(code.get(part, "") or "") for part in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
    try:
        return str(parse_code(":".join(parts)))
    except ValueError:
        return None


def _rgb(values: Any) -> tuple[int, int, int]:
    from skimage.color import lab2rgb

    lab = np.array([float(value) for value in values]) / 65535 * [100, 255, 255] + [0, -128, -128]
    red, green, blue = (round(float(value) * 255) for value in lab2rgb(lab[None, None])[0, 0])
    return red, green, blue


def _masks(path: Path, dataset: Any) -> Iterator[tuple[Frame, int, NDArray[np.bool_]]]:
    frames = frames_of([DicomFile(path, dataset)])
    values = np.asarray(dataset.pixel_array).reshape(len(frames), int(dataset.Rows), int(dataset.Columns))
    kind = str(dataset.get("SegmentationType", "BINARY"))
    for frame, array in zip(frames, values, strict=True):
        if frame.position is None or frame.directions is None or frame.spacing is None:
            raise ValueError(f"{frame.name} has no position, orientation or pixel spacing")
        if kind == "LABELMAP":
            for number in np.unique(array[array > 0]):
                yield frame, int(number), array == number
            continue
        mask = array > 0
        if kind == "FRACTIONAL":
            mask = array >= max(1, int(dataset.get("MaximumFractionalValue", 255)) / 2)
        yield frame, _number(dataset, frame.index), mask


def _number(dataset: Any, index: int) -> int:
    for groups in (dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")):
        group = groups[min(index, len(groups) - 1)] if groups else {}
        if items := group.get("SegmentIdentificationSequence"):
            return int(items[0].ReferencedSegmentNumber)
    raise ValueError(f"frame {index + 1} does not tell its segment")


def _voxels(frame: Frame, mask: NDArray[np.bool_], series: DicomSeries) -> NDArray[np.intp]:
    """Return the voxels [3, N] of the series that a frame's mask covers."""
    to_series = np.linalg.inv(series.affine) @ grid([frame])  # (column, row, 0) of the frame -> (i, j, k)
    whole = np.rint(to_series[:3, [0, 1, 3]])
    reach = np.array([frame.size[0], frame.size[1], 1])
    off = float((np.abs(to_series[:3, [0, 1, 3]] - whole) * reach).max())
    if off > _OFF or not (np.abs(whole[:, :2]).sum(axis=0) == 1).all():
        raise ValueError(
            f"{frame.name} does not lie on the grid of series {series.uid}: it is {off:.3g} voxels off; "
            f"resample the segmentation onto the series first"
        )
    rows, columns = np.nonzero(mask)
    places = (whole @ np.stack([columns, rows, np.ones_like(rows)])).astype(np.intp)
    outside = ((places < 0) | (places >= np.array(series.shape)[:, None])).any(axis=0)
    if outside.any():
        raise ValueError(f"{frame.name} has {int(outside.sum())} voxels outside series {series.uid}")
    return places


def _put(labels: NDArray[Any], number: int, places: NDArray[np.intp], frame: Frame) -> None:
    index = tuple(places)
    there = labels[index]
    if taken := sorted({int(value) for value in np.unique(there)} - {0, number}):
        raise ValueError(
            f"segments {taken[0]} and {number} overlap in {int((there == taken[0]).sum())} voxels of {frame.name}; "
            f"a label map holds one number a voxel, read them apart"
        )
    labels[index] = number
