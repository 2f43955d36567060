"""DICOM segmentations: masks that a PACS keeps beside the images they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.codes import ConceptCode, SegmentCodes, find_codes, parse_code
from adaptiveclick_med.data.dicom import DicomSeries
from adaptiveclick_med.data.dicom_writing import decimal

__all__ = ["Segment", "write_dicom_seg"]

_STUDY = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
)
_COLORS = (
    (220, 50, 47),
    (38, 139, 210),
    (133, 153, 0),
    (255, 193, 37),
    (211, 54, 130),
    (42, 161, 152),
    (203, 120, 22),
    (108, 113, 196),
)


@dataclass(frozen=True)
class Segment:
    """What one number of a label map stands for.

    Args:
        number: the number in the label map, 1 or more.
        name: what viewers show, 1 to 64 characters. Names that DICOM's dictionary knows (``"liver"``,
            ``"left kidney"``, ``"liver tumour"``) are coded by themselves.
        code: ``"VALUE:SCHEME:MEANING"`` of the structure, to code it otherwise.
        category: ``"VALUE:SCHEME:MEANING"`` of its category; None: what the dictionary says, else tissue.
        color: (red, green, blue) from 0 to 255; None gives one by the number.

    Raises:
        ValueError: when one of them is not so.
    """

    number: int
    name: str
    code: str | None = None
    category: str | None = None
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 65535:
            raise ValueError(f"the number of a segment must be 1 to 65535, got {self.number}.")
        if not 0 < len(self.name.strip()) <= 64 or "\\" in self.name or not self.name.isprintable():
            raise ValueError(
                f"the name of a segment must be 1 to 64 printable characters without \\, got {self.name!r}."
            )
        if self.color is not None and (len(self.color) != 3 or not all(0 <= value <= 255 for value in self.color)):
            raise ValueError(f"the color of segment {self.number} must be three values 0 to 255, got {self.color}.")
        for text in (self.code, self.category):
            if text is not None:
                parse_code(text)

    @property
    def shown_color(self) -> tuple[int, int, int]:
        """(red, green, blue) from 0 to 255: the colour, or the one that goes with the number."""
        return self.color or _COLORS[(self.number - 1) % len(_COLORS)]

    @property
    def codes(self) -> SegmentCodes:
        """The codes that a segmentation gets."""
        found = find_codes(self.name)
        if self.code is not None:
            code = parse_code(self.code)
            meant = find_codes(code.meaning)
            category = meant.category if meant.type.value == code.value else found.category
            same = found.type.value == code.value
            found = SegmentCodes(category, code, found.side if same else None, found.region if same else None)
        return found if self.category is None else replace(found, category=parse_code(self.category))


def write_dicom_seg(
    path: str | Path,
    labels: NDArray[Any],
    series: DicomSeries,
    segments: Sequence[Segment],
    *,
    series_uid: str | None = None,
    series_number: int = 1000,
    series_description: str = "AdaptiveClick segmentation",
) -> None:
    """Write a label map as a binary DICOM SEG that refers to the images of its series.

    Slices without a mask are left out, as is usual. DICOM numbers segments 1, 2, 3, ...: where the numbers of the
    segments have gaps, the file's segments are renumbered in their order.

    Args:
        path: the file; it appears whole or not at all.
        labels: [I, J, K] bool or integers on the series' grid; 0 is background.
        series: the series that was segmented.
        segments: what the numbers stand for. Each needs a voxel, and each number in ``labels`` a segment.
        series_uid: SeriesInstanceUID of the segmentation; None makes a new one.
        series_number: SeriesNumber of the segmentation.
        series_description: SeriesDescription of the segmentation, at most 64 characters.

    Raises:
        ValueError: when labels, segments and series do not fit each other, or a mask is empty.
    """
    import highdicom
    from pydicom.uid import generate_uid

    from adaptiveclick_med import __version__

    segments = sorted(segments, key=lambda segment: segment.number)
    labels = _renumbered(np.asarray(labels), series, segments)
    sources, frames = _sources(series, labels)
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(index + 1, segment) for index, segment in enumerate(segments)],
        series_instance_uid=series_uid or generate_uid(),
        series_number=series_number,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="AdaptiveClick",
        manufacturer_model_name="adaptiveclick_med",
        software_versions=__version__,
        device_serial_number="1",
        content_label="SEGMENTATION",
        content_description=series_description[:64],
        series_description=series_description,
    )
    for name in _STUDY:  # as the images have it, be it valid or not: a PACS sorts by these
        setattr(segmentation, name, str(series.headers[0].get(name, "") or ""))
    segmentation.SpecificCharacterSet = "ISO_IR 192"
    segmentation.SegmentsOverlap = "NO"
    with replacing(path) as temporary:
        segmentation.save_as(temporary)


def _renumbered(labels: NDArray[Any], series: DicomSeries, segments: Sequence[Segment]) -> NDArray[Any]:
    """Check the labels and return them with the numbers 1, 2, ... in the order of the segments."""
    if labels.dtype.kind not in "biu":
        raise ValueError(f"labels must be bool or integers, got {labels.dtype}.")
    if labels.shape != series.shape:
        raise ValueError(f"labels must have the series' shape {list(series.shape)}, got {list(labels.shape)}.")
    numbers = [segment.number for segment in segments]
    if not numbers or len(set(numbers)) != len(numbers):
        raise ValueError(f"segments must be one or more with different numbers, got {numbers}.")
    present = {int(number) for number in np.unique(labels)} - {0}
    if not present:
        raise ValueError("labels are empty: no voxel is in a segment, so there is nothing to write.")
    if unknown := sorted(present - set(numbers)):
        raise ValueError(f"labels hold the numbers {unknown}, for which there is no segment; segments are {numbers}.")
    if empty := [f"{segment.number} ({segment.name})" for segment in segments if segment.number not in present]:
        raise ValueError(f"no voxel of labels is in segment {', '.join(empty)}; leave out segments without a mask.")
    kind = np.uint8 if len(numbers) < 256 else np.uint16
    table = np.zeros(max(numbers) + 1, dtype=kind)
    table[numbers] = np.arange(1, len(numbers) + 1)
    return table[labels.astype(np.intp)]


def _sources(series: DicomSeries, labels: NDArray[Any]) -> tuple[list[Any], NDArray[Any]]:
    """Return the source images, and the labels as [frames, rows, columns] in the order of the images' frames."""
    frames = np.ascontiguousarray(labels.transpose(2, 1, 0))
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if any(not header.get(name) for header in series.headers):
            raise ValueError(
                f"a segmentation refers to its images by {name}, which series {series.uid} lacks; "
                f"write_volume saves masks without it."
            )
    if not series.multiframe:
        return [_source(header, series) for header in series.headers], frames
    if len(series.headers) > 1:
        raise ValueError(
            f"a segmentation can refer to classic files or to one multi-frame file; series {series.uid} consists of "
            f"{len(series.headers)} multi-frame files."
        )
    stored = np.zeros((int(series.headers[0].NumberOfFrames), *frames.shape[1:]), dtype=frames.dtype)
    stored[[index for _, index in series.frames]] = frames
    return [_source(series.headers[0], series)], stored


def _source(header: Any, series: DicomSeries) -> Any:
    """Return a copy of a header that highdicom accepts: it refuses files which lack what DICOM allows to be empty."""
    import pydicom

    source: Any = pydicom.Dataset()
    for tag in list(header.keys()):
        if not tag.is_private:
            with suppress(Exception):  # an element that cannot be decoded is of no use to the segmentation
                source[tag] = header[tag]
    for name in (*_STUDY, "SpecificCharacterSet"):
        source.pop(name, None)  # setting the value alone would change the element that is shared with the header
    for name in _STUDY:
        setattr(source, name, "")
    if not series.multiframe:
        normal = np.cross(series.affine[:3, 0], series.affine[:3, 1])
        height = round(abs(float(series.affine[:3, 2] @ normal / np.linalg.norm(normal))), 9)
        thickness = source.get("SliceThickness")
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            source.pop(name, None)
        source.SpacingBetweenSlices = decimal(height)
        source.SliceThickness = decimal(height) if thickness in (None, "") else thickness
    return source


def _description(number: int, segment: Segment) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes as known

    from adaptiveclick_med import __version__

    codes = segment.codes
    described: Any = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=_concept(codes.category),
        segmented_property_type=_concept(codes.type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="AdaptiveClick", version=__version__, family=known.cid7162.ArtificialIntelligence
        ),
        anatomic_regions=None if codes.region is None else [_concept(codes.region)],
    )
    if codes.side is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            _concept(codes.side)
        ]
    described.RecommendedDisplayCIELabValue = _cielab(segment.shown_color)
    return described


def _concept(code: ConceptCode) -> Any:
    import highdicom

    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _cielab(color: tuple[int, int, int]) -> list[int]:
    """Return a colour as the three 16-bit numbers of DICOM: L* 0 to 100, a* and b* -128 to 127."""
    from skimage.color import rgb2lab

    lab = rgb2lab(np.array(color, dtype=np.float64)[None, None] / 255)[0, 0]
    scaled = (lab - [0, -128, -128]) / [100, 255, 255] * 65535
    return [int(value) for value in np.clip(np.rint(scaled), 0, 65535)]
