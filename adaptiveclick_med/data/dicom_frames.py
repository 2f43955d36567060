"""Where the frames of DICOM images lie, and the one regular grid that they must form.

A classic file is one frame. A multi-frame file holds many and describes them in functional groups: some shared by all,
some of each. Positions and directions are in DICOM's LPS, in millimetres.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.dicom_files import DicomFile

__all__ = ["SPACING_TOLERANCE", "Frame", "frames_of", "grid", "in_order"]

SPACING_TOLERANCE = 0.01
"""How far a slice may lie from its place on the regular grid, as a share of the spacing; 0.01 mm are always allowed."""

_SAME_PLACE = 1e-3  # mm
_SAME_DIRECTION = 2e-4  # cosines are often written with four decimals
_UPRIGHT = 1e-3  # of the length of the cosines and of their product
_SAME_SPACING = 1e-4  # share
_TELLING = (
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "DiffusionBValue",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ImageType",
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of a series.

    Args:
        file: index of its file.
        index: which frame of the file it is, from 0.
        name: what messages call it.
        size: (columns, rows).
        position: [3] centre of the first voxel, LPS mm; None when the file does not tell.
        directions: [2, 3] the directions in which columns and rows are counted, as unit vectors in LPS; None as above.
        spacing: mm from column to column and from row to row; None as above.
        rescale: (slope, intercept) of the values.
        thickness: mm to the next slice as the file states it, for a series of one slice.
        header: the data set of its file.
    """

    file: int
    index: int
    name: str
    size: tuple[int, int]
    position: NDArray[np.float64] | None
    directions: NDArray[np.float64] | None
    spacing: tuple[float, float] | None
    rescale: tuple[float, float]
    thickness: float
    header: Any


def frames_of(files: list[DicomFile]) -> list[Frame]:
    """Return the frames of the files, in the order of files and of frames in them."""
    return [_frame(number, file, index) for number, file in enumerate(files) for index in range(_count(file.header))]


def _count(header: Any) -> int:
    return int(header.get("NumberOfFrames", 1) or 1)


def _frame(number: int, file: DicomFile, index: int) -> Frame:
    header, several = file.header, _count(file.header) > 1
    groups = _Groups(header, index)
    position = groups.value("PlanePositionSequence", "ImagePositionPatient", of_file=not several)
    cosines = groups.value("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = groups.value("PixelMeasuresSequence", "PixelSpacing")
    slope = groups.value("PixelValueTransformationSequence", "RescaleSlope")
    intercept = groups.value("PixelValueTransformationSequence", "RescaleIntercept")
    thickness = groups.value("PixelMeasuresSequence", "SpacingBetweenSlices") or groups.value(
        "PixelMeasuresSequence", "SliceThickness"
    )
    return Frame(
        file=number,
        index=index,
        name=f"{file.path.name}, frame {index + 1}" if several else file.path.name,
        size=(int(header.Columns), int(header.Rows)),
        position=None if position is None else np.asarray(position, dtype=np.float64),
        directions=None if cosines is None else np.asarray(cosines, dtype=np.float64).reshape(2, 3),
        spacing=None if spacing is None else (float(spacing[1]), float(spacing[0])),
        rescale=(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        thickness=abs(float(thickness or 0)) or 1.0,
        header=header,
    )


class _Groups:
    """The functional groups of a frame, or the attributes of a classic file."""

    def __init__(self, header: Any, index: int) -> None:
        own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
        self.header = header
        self.groups = [
            item for item in (own[index] if own and index < len(own) else None, shared and shared[0]) if item
        ]

    def value(self, sequence: str, name: str, *, of_file: bool = True) -> Any:
        """Return the frame's value, else all frames', else (``of_file``) the file's, else None; empty ones are None."""
        for group in self.groups:
            items = group.get(sequence)
            if items and items[0].get(name) not in (None, ""):
                return items[0].get(name)
        value = self.header.get(name) if of_file else None
        return None if value in (None, "") else value


def in_order(frames: list[Frame], tolerance: float = SPACING_TOLERANCE) -> list[Frame]:
    """Return frames that form one regular grid in the order of their positions along the normal.

    Args:
        frames: frames that all have a position.
        tolerance: see :data:`SPACING_TOLERANCE`.

    Raises:
        ValueError: when sizes, directions or spacings differ, or positions are double, missing or uneven.
    """
    _alike(
        "sizes (columns x rows)",
        frames,
        lambda frame: f"{frame.size[0]} x {frame.size[1]}",
        lambda a, b: a.size == b.size,
    )
    _alike(
        "orientations",
        frames,
        lambda frame: "(" + ", ".join(f"{value + 0.0:.4g}" for value in _directions(frame).ravel()) + ")",
        lambda a, b: bool(np.abs(_directions(a) - _directions(b)).max() <= _SAME_DIRECTION),
        "; localizers are a series of their own",
    )
    _alike(
        "pixel spacings",
        frames,
        lambda frame: "{:g} x {:g} mm".format(*_spacing(frame)),
        lambda a, b: bool(np.allclose(_spacing(a), _spacing(b), rtol=_SAME_SPACING, atol=0)),
    )
    directions = _directions(frames[0])
    if np.abs(directions @ directions.T - np.eye(2)).max() > _UPRIGHT:
        raise ValueError(
            f"the orientation of {frames[0].name} is not two perpendicular unit vectors: {directions.tolist()}"
        )
    if min(_spacing(frames[0])) <= 0:
        raise ValueError(f"the pixel spacing of {frames[0].name} is {_spacing(frames[0])} mm, it must be positive")
    normal = np.cross(directions[0], directions[1])
    ordered = sorted(frames, key=lambda frame: float(normal @ _position(frame)))
    places = np.array([_position(frame) for frame in ordered])
    _single(ordered, places @ normal)
    _even(ordered, places, places @ normal, tolerance)
    return ordered


def grid(frames: list[Frame]) -> NDArray[np.float64]:
    """Return the 4x4 affine of ordered frames, from voxel (column, row, slice) to world RAS+ in mm.

    The third column is the mean step from slice to slice: a grid that is sheared by a tilted gantry stays so.
    """
    first, last = frames[0], frames[-1]
    directions, spacing = _directions(first), _spacing(first)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = directions[0] * spacing[0], directions[1] * spacing[1]
    if len(frames) > 1:
        affine[:3, 2] = (_position(last) - _position(first)) / (len(frames) - 1)
    else:
        affine[:3, 2] = np.cross(directions[0], directions[1]) * first.thickness
    affine[:3, 3] = _position(first)
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _position(frame: Frame) -> NDArray[np.float64]:
    assert frame.position is not None
    return frame.position


def _directions(frame: Frame) -> NDArray[np.float64]:
    assert frame.directions is not None
    return frame.directions


def _spacing(frame: Frame) -> tuple[float, float]:
    assert frame.spacing is not None
    return frame.spacing


def _alike(what: str, frames: list[Frame], text: Any, same: Any, hint: str = "") -> None:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if same(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    if len(groups) > 1:
        shown = [f"{text(group[0])} ({len(group)} of {len(frames)}, as in {group[0].name})" for group in groups[:4]]
        more = f", and {len(groups) - 4} more" if len(groups) > 4 else ""
        raise ValueError(f"its slices have {len(groups)} {what}: {', '.join(shown)}{more}{hint}")


def _single(frames: list[Frame], heights: NDArray[np.float64]) -> None:
    doubles = np.flatnonzero(np.diff(heights) < _SAME_PLACE)
    if not doubles.size:
        return
    one, other = frames[doubles[0]], frames[doubles[0] + 1]
    uids = [str(frame.header.get("SOPInstanceUID", "")) for frame in (one, other)]
    if one.file != other.file and uids[0] and uids[0] == uids[1]:
        raise ValueError(f"{one.name} and {other.name} are the same image (SOPInstanceUID {uids[0]})")
    places = len(frames) - len(doubles)
    differing = [
        f"{name} {one.header.get(name)} and {other.header.get(name)}"
        for name in _TELLING
        if one.header.get(name) != other.header.get(name)
    ]
    reason = f", which differ in {'; '.join(differing)}" if differing else ""
    raise ValueError(
        f"{len(frames)} slices lie at {places} positions, so it holds several volumes (echoes, phases, times): "
        f"{one.name} and {other.name} are both at {_place(other)}{reason}; read each volume from a folder of its own"
    )


def _even(frames: list[Frame], places: NDArray[np.float64], heights: NDArray[np.float64], tolerance: float) -> None:
    if len(frames) < 3:
        return
    steps = np.diff(heights)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    allowed = max(0.01, tolerance * usual)
    counts = np.rint(steps / usual)
    gaps = np.flatnonzero(counts > 1)
    if gaps.size and (np.abs(steps - counts * usual) <= allowed * np.maximum(counts, 1)).all():
        shown = [
            f"{int(counts[gap]) - 1} between {frames[gap].name} at {_place(frames[gap])} and {frames[gap + 1].name} at "
            f"{_place(frames[gap + 1])}"
            for gap in gaps[:3]
        ]
        more = f", and more in {len(gaps) - 3} other gaps" if len(gaps) > 3 else ""
        missing = int((counts[gaps] - 1).sum())
        raise ValueError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing (spacing {usual:.6g} mm): "
            f"{'; '.join(shown)}{more}"
        )
    expected = places[0] + np.arange(len(frames))[:, None] * (places[-1] - places[0]) / (len(frames) - 1)
    off = np.linalg.norm(places - expected, axis=1)
    allowed = max(0.01, tolerance * float((heights[-1] - heights[0]) / (len(frames) - 1)))
    if off.max() <= allowed:
        return
    counted = Counter(f"{step:.4g} mm" for step in steps)
    worst = int(off.argmax())
    if len(counted) == 1:
        raise ValueError(
            f"its slices do not lie on a straight line: {frames[worst].name} at {_place(frames[worst])} is "
            f"{off[worst]:.3g} mm beside it, {allowed:.3g} mm are allowed"
        )
    shown = [f"{text} ({count} times)" for text, count in counted.most_common(4)]
    more = f" and {len(counted) - 4} others" if len(counted) > 4 else ""
    raise ValueError(
        f"the spacing of its slices is not equal: {', '.join(shown)}{more}; {frames[worst].name} at "
        f"{_place(frames[worst])} is {off[worst]:.3g} mm off a regular grid, {allowed:.3g} mm are allowed"
    )


def _place(frame: Frame) -> str:
    return "(" + ", ".join(f"{value + 0.0:.6g}" for value in _position(frame)) + ")"
