"""DICOM series as volumes: classic series of single-frame files and multi-frame files, checked before they are used.

A series must form one regular grid. What does not (a missing slice, a localizer, several echoes) is refused with the
reason, since a mask drawn on a wrong grid lies elsewhere in the patient. ``docs/volumes.md`` lists the checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.dicom_files import DicomFile, find_images, series_texts
from adaptiveclick_med.data.dicom_frames import SPACING_TOLERANCE, Frame, frames_of, grid, in_order
from adaptiveclick_med.data.files import UnreadableFileError, Volume, _itk_array, _native, kept_locale, naming

__all__ = ["DicomSeries", "UnplacedSeriesError", "read_dicom_series"]


class UnplacedSeriesError(UnreadableFileError):
    """A series that does not tell where its slices lie.

    Args:
        message: the message.
        path: the folder or file.
        reason: the reason.
        files: the files in the order of their instance numbers.
    """

    def __init__(self, message: str, path: str | Path = "", reason: str = "", files: tuple[Path, ...] = ()) -> None:
        super().__init__(message, path, reason)
        self.files = files


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The headers of a series that was checked to be one volume.

    Slices are counted so that k ascends along the cross product of the directions in which columns and rows are
    counted (as ITK, GDCM and 3D Slicer do), whatever the names or numbers of the files say.

    Args:
        uid: SeriesInstanceUID.
        modality: ``"CT"``, ``"MR"``, ...; empty when the files do not tell.
        description: SeriesDescription; may be empty.
        files: the files. Of a classic series, one for each k, in this order.
        headers: the pydicom data sets of ``files``, without pixels.
        shape: (I columns, J rows, K slices).
        affine: 4x4 float64, from voxel (i, j, k) to world RAS+ in mm.
        frames: (index in ``files``, frame of the file from 0) for each k.
    """

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    headers: tuple[Any, ...]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frames: tuple[tuple[int, int], ...]
    _rescale: tuple[tuple[float, float], ...] = field(repr=False, default=())

    @property
    def multiframe(self) -> bool:
        """Whether files describe their frames in functional groups, as multi-frame files do."""
        return any("PerFrameFunctionalGroupsSequence" in header for header in self.headers)

    def read(self) -> Volume:
        """Read the voxels with rescale slope and intercept applied, those of each slice where they differ.

        Returns:
            An array [I, J, K], or [I, J, K, 3] for colour, and the affine. Integers where slope and intercept are
            whole, else float32.

        Raises:
            UnreadableFileError: when a file is damaged, is gone, or its compression is not known.
        """
        with naming(self.files[0].parent if len(self.files) > 1 else self.files[0]):
            array = None if self.multiframe else self._read_files()
            if array is None:
                array = self._read_frames()
            if array.shape[:3] != self.shape:
                raise ValueError(f"its voxels have shape {list(array.shape)}, its headers say {list(self.shape)}")
            return Volume(_native(array), self.affine.copy())

    def _read_files(self) -> NDArray[Any] | None:
        """Read classic files by GDCM; None when it lacks the decoder."""
        import SimpleITK

        files = [str(file) for file in self.files]
        types = {
            (*rescale, *(header.get(name) for name in ("PixelRepresentation", "BitsStored", "BitsAllocated")))
            for rescale, header in zip(self._rescale, self.headers, strict=True)
        }
        # the type of the voxels is taken from the first file: where files differ, it may be too narrow for the others
        mixed = (SimpleITK.sitkFloat32,) if len(types) > 1 else ()
        try:
            with kept_locale():
                return _itk_array(SimpleITK.ReadImage(files, *mixed))
        except RuntimeError:
            if not any(header.file_meta.TransferSyntaxUID.is_compressed for header in self.headers):
                raise
            return None

    def _read_frames(self) -> NDArray[Any]:
        from adaptiveclick_med.data.dicom_pixels import stored_values

        stored = [stored_values(file) for file in self.files]
        order = [index for _, index in self.frames]
        if len(stored) == 1:
            array = stored[0] if order == list(range(len(stored[0]))) else stored[0][order]
        else:
            array = np.stack([stored[file][index] for file, index in self.frames])
        array = _rescaled(array, self._rescale, self.headers[0])
        return array.transpose((2, 1, 0, *range(3, array.ndim)))


def read_dicom_series(
    path: str | Path, series_uid: str | None = None, *, tolerance: float = SPACING_TOLERANCE
) -> DicomSeries:
    """Find and check a series; only headers are read.

    Files that are not DICOM images (DICOMDIR, notes, segmentations, reports) are passed over, as are folders within
    the folder.

    Args:
        path: a folder, or one file: a multi-frame file, or a single slice, which then is the whole volume.
        series_uid: SeriesInstanceUID of the series to read, for folders that hold several.
        tolerance: how far a slice may lie from its place on the regular grid, as a share of the spacing; 0.01 mm are
            always allowed. The default lets rounded positions pass and keeps a mask true to a hundredth of a slice.

    Raises:
        UnreadableFileError: when there is not exactly one such series, or its slices do not form one regular grid:
            sizes, orientations or spacings differ, slices are missing or double, a file is cut off.
        UnplacedSeriesError: when no slice of the series tells its position.
    """
    with naming(path):
        images, others = find_images(path)
        files = _choose(images, others, series_uid)
        for file in files:
            if file.problem:
                raise ValueError(f"{file.path.name} is not whole: {file.problem}")
        frames = frames_of(files)
        _placed(path, files, frames)
        ordered = in_order(frames, tolerance)
        used = list(dict.fromkeys(frame.file for frame in ordered))
        header = files[used[0]].header
        return DicomSeries(
            uid=files[0].series,
            modality=str(header.get("Modality", "") or ""),
            description=str(header.get("SeriesDescription", "") or ""),
            files=tuple(files[number].path for number in used),
            headers=tuple(files[number].header for number in used),
            shape=(*ordered[0].size, len(ordered)),
            affine=grid(ordered),
            frames=tuple((used.index(frame.file), frame.index) for frame in ordered),
            _rescale=tuple(frame.rescale for frame in ordered),
        )


def _choose(images: list[DicomFile], others: list[str], series_uid: str | None) -> list[DicomFile]:
    """Return the files of the one series, and those that are too damaged to tell their series."""
    lost = [image for image in images if image.problem and not image.series]
    told = [image for image in images if image not in lost]
    uids = list(dict.fromkeys(image.series for image in told))
    if (series_uid is None and len(uids) == 1) or (lost and not told):
        return images
    if series_uid is not None and series_uid in uids:
        return [image for image in images if image.series == series_uid or image in lost]
    found = f": {'; '.join(series_texts(told))}" if told else ""
    if not images and others:
        found = f"; other files: {', '.join(others[:4])}{f' and {len(others) - 4} more' if len(others) > 4 else ''}"
        if any("Segmentation Storage" in other for other in others):
            found += "; read_dicom_seg reads segmentations"
    if series_uid is None:
        choose = "; choose one by its UID" if told else ""
        raise ValueError(f"it holds {len(uids)} DICOM series, one is expected{found}{choose}")
    raise ValueError(f"it holds no DICOM series {series_uid}{found}")


def _placed(path: str | Path, files: list[DicomFile], frames: list[Frame]) -> None:
    lacking: list[tuple[Frame, list[str]]] = []
    for frame in frames:
        wanted = {"position": frame.position, "orientation": frame.directions, "pixel spacing": frame.spacing}
        if absent := [name for name, value in wanted.items() if value is None]:
            lacking.append((frame, absent))
    if not lacking:
        return
    frame, absent = lacking[0]
    reason = f"{frame.name} has no {' and no '.join(absent)} in the patient ({len(lacking)} of {len(frames)} slices)"
    if any(frame.position is not None for frame in frames):
        raise ValueError(reason)
    numbered = sorted(files, key=lambda file: (int(file.header.get("InstanceNumber", 0) or 0), file.path.name))
    ordered = tuple(file.path for file in numbered)
    raise UnplacedSeriesError(f"cannot read {path}: {reason}.", path, reason, ordered)


def _rescaled(array: NDArray[Any], rescale: tuple[tuple[float, float], ...], header: Any) -> NDArray[Any]:
    """Apply slope and intercept of each slice to stored values [K, J, I] or [K, J, I, C]."""
    slopes, intercepts = np.array(rescale).T
    if (slopes == 1).all() and (intercepts == 0).all():
        return array
    if (
        (slopes == slopes[0]).all()
        and slopes[0] == 1
        and (intercepts == intercepts[0]).all()
        and intercepts[0] % 1 == 0
    ):
        bits, signed, shift = int(header.BitsStored), int(header.PixelRepresentation), int(intercepts[0])
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        kind = np.result_type(np.min_scalar_type(lowest + shift), np.min_scalar_type(highest + shift))
        kind = np.result_type(kind, np.int16)
        return array.astype(kind) + kind.type(shift)
    each = (-1, *(1,) * (array.ndim - 1))
    return (array * slopes.reshape(each) + intercepts.reshape(each)).astype(np.float32)
