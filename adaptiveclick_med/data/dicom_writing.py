"""Writing a volume as a classic DICOM series, to try a PACS or a viewer with it and for tests."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import Volume

__all__ = ["decimal", "write_dicom_series"]

_STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_UPRIGHT = 1e-3
_LPS = np.array([-1.0, -1.0, 1.0])


def write_dicom_series(
    folder: str | Path,
    volume: Volume,
    *,
    modality: str = "CT",
    patient_name: str = "Anonymous",
    patient_id: str = "anonymous",
    study_uid: str | None = None,
    series_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    study_description: str = "",
    series_description: str = "",
    series_number: int = 1,
    window: tuple[float, float] | None = None,
) -> list[Path]:
    """Write a volume as single-frame CT or MR files, one a slice, in Explicit VR Little Endian with 16 bits.

    Whole numbers that span less than 65536 are stored exactly. Wider or fractional values are stored through slope and
    intercept: they come back within ``(max - min) / 131070``, half a step.

    Geometry is that of the affine: oblique directions, and slices that are shifted along (a tilted gantry), are kept.
    DICOM has k ascend along the cross product of columns' and rows' directions; where the affine goes the other way,
    the slices are written in reversed order, each at its own position. The series that is read back then has its third
    axis flipped, and every voxel at the place where it was.

    Args:
        folder: a folder that does not exist or is empty; it appears whole or not at all.
        volume: array [I, J, K] of bool, integers or finite floats; affine to world RAS+ in mm.
        modality: ``"CT"`` or ``"MR"``.
        patient_name: PatientName, ``"Family^Given"``.
        patient_id: PatientID.
        study_uid: StudyInstanceUID; None makes a new one.
        series_uid: SeriesInstanceUID; None makes a new one. The UIDs of the images follow from it.
        frame_of_reference_uid: FrameOfReferenceUID; None makes a new one.
        study_description: StudyDescription.
        series_description: SeriesDescription.
        series_number: SeriesNumber.
        window: (lowest, highest) value that viewers show at first, in the volume's values; None for the whole range.

    Returns:
        The files in the order of k of the written series.

    Raises:
        ValueError: when the array or the affine cannot be written, or the modality or window is not known.
        FileExistsError: when the folder holds something.
    """
    from pydicom import dcmwrite
    from pydicom.uid import generate_uid

    if modality not in _STORAGE:
        raise ValueError(f"modality must be one of {', '.join(_STORAGE)}, got {modality!r}.")
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"window must be (lowest, highest), got {window}.")
    stored = _stored(np.asarray(volume.array))
    place = _Geometry(volume.affine, stored.values.shape)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} must be a new or an empty folder.")
    if window is None:
        window = (stored.range[0], max(stored.range[1], stored.range[0] + 1))
    series_uid = series_uid or str(generate_uid())
    common: dict[str, Any] = {
        **_patient_and_study(patient_name, patient_id, study_uid or str(generate_uid()), study_description),
        **_image(modality, stored, window),
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": series_number,
        "SeriesDescription": series_description,
        "FrameOfReferenceUID": frame_of_reference_uid or str(generate_uid()),
    }
    values = stored.values[:, :, ::-1] if place.flipped else stored.values
    names = [f"IM{k + 1:05d}.dcm" for k in range(values.shape[2])]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
        whole = Path(temporary) / "series"
        whole.mkdir()
        for k, name in enumerate(names):
            dataset = _dataset({**common, **place.slice(k)})
            dataset.InstanceNumber = k + 1
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series_uid, str(k)])
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.PixelData = np.ascontiguousarray(values[:, :, k].T).tobytes()
            if len(dataset.PixelData) % 2:
                dataset.PixelData += b"\0"
            dcmwrite(whole / name, dataset, **_options())
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return [folder / name for name in names]


@dataclass(frozen=True)
class _Stored:
    values: NDArray[Any]  # [I, J, K] int16 or uint16
    slope: str
    intercept: str
    range: tuple[float, float]  # of the volume's values


def _stored(array: NDArray[Any]) -> _Stored:
    if array.ndim != 3 or not array.size:
        raise ValueError(f"the array must be [I, J, K] and not empty, got shape {list(array.shape)}.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"the array must hold bool, integers or floats, got {array.dtype}.")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if not np.isfinite(array).all():
        raise ValueError(f"the array holds {int((~np.isfinite(array)).sum())} values that are not finite.")
    low, high = array.min().item(), array.max().item()
    if array.dtype.kind in "iu" or (np.abs((low, high)).max() < 2**31 and (array == np.rint(array)).all()):
        for kind in (np.int16, np.uint16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return _Stored(array.astype(kind), "1", "0", (low, high))
        if high - low < 65536 and abs(low) < 2**31:
            return _Stored((array.astype(np.int64) - int(low)).astype(np.uint16), "1", str(int(low)), (low, high))
    low, high = float(low), float(high)
    slope = decimal((high - low) / 65535 * (1 + 1e-9) if high > low else 1.0)
    intercept = decimal(low)
    if not float(slope) > 0 or not np.isfinite(float(slope)):
        raise ValueError(f"the values from {low} to {high} cannot be stored with 16 bits.")
    steps = np.rint((array.astype(np.float64) - float(intercept)) / float(slope))
    return _Stored(np.clip(steps, 0, 65535).astype(np.uint16), slope, intercept, (low, high))


class _Geometry:
    """The attributes of the image plane module for each slice, from an affine to RAS+ in mm."""

    def __init__(self, affine: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        affine = np.asarray(affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
            raise ValueError(f"the affine is not an invertible 4x4 matrix: {affine.tolist()}.")
        lps = affine[:3] * _LPS[:, None]
        self.spacing = np.linalg.norm(lps[:, :2], axis=0)
        self.directions = lps[:, :2] / self.spacing
        if abs(self.directions[:, 0] @ self.directions[:, 1]) > _UPRIGHT:
            raise ValueError("the columns and rows of the affine are not perpendicular, which DICOM cannot hold.")
        normal = np.cross(self.directions[:, 0], self.directions[:, 1])
        step, self.first = lps[:, 2], lps[:, 3]
        self.height = float(abs(step @ normal) / np.linalg.norm(normal))
        self.flipped = bool(step @ normal < 0)
        if self.flipped:
            self.first, step = self.first + step * (shape[2] - 1), -step
        self.step = step

    def slice(self, k: int) -> dict[str, Any]:
        return {
            "ImagePositionPatient": [decimal(value) for value in self.first + k * self.step],
            "ImageOrientationPatient": [decimal(value) for value in self.directions.T.ravel()],
            "PixelSpacing": [decimal(value) for value in self.spacing[::-1]],  # from row to row, column to column
            "SliceThickness": decimal(self.height),
            "SpacingBetweenSlices": decimal(self.height),
        }


def decimal(value: float) -> str:
    """Write a number as exactly as the 16 characters of a DICOM decimal string allow."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value) + 0.0))  # no -0


def _patient_and_study(name: str, identity: str, study_uid: str, description: str) -> dict[str, Any]:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": name,
        "PatientID": identity,
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": study_uid,
        "StudyDate": "",
        "StudyTime": "",
        "StudyID": "",
        "StudyDescription": description,
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
    }


def _image(modality: str, stored: _Stored, window: tuple[float, float]) -> dict[str, Any]:
    from adaptiveclick_med import __version__

    signed = stored.values.dtype.kind == "i"
    attributes: dict[str, Any] = {
        "SOPClassUID": _STORAGE[modality],
        "Modality": modality,
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"] if modality == "CT" else ["DERIVED", "SECONDARY", "OTHER"],
        "Manufacturer": "adaptiveclick_med",
        "ManufacturerModelName": "write_dicom_series",
        "SoftwareVersions": __version__,
        "PatientPosition": "HFS",
        "PositionReferenceIndicator": "",
        "AcquisitionNumber": "1",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.values.shape[1],
        "Columns": stored.values.shape[0],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(signed),
        "RescaleSlope": stored.slope,
        "RescaleIntercept": stored.intercept,
        "RescaleType": "HU" if modality == "CT" else "US",
        "WindowCenter": decimal((window[0] + window[1]) / 2),
        "WindowWidth": decimal(window[1] - window[0]),
    }
    if modality == "CT":
        return {**attributes, "KVP": ""}
    return {
        **attributes,
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "",
        "EchoTime": "",
        "EchoTrainLength": "",
        "RepetitionTime": "",
    }


def _dataset(attributes: dict[str, Any]) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset: Any = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def _options() -> dict[str, Any]:
    """Return what makes ``dcmwrite`` write a whole file, under the names of the pydicom that is there."""
    import pydicom

    if int(pydicom.__version__.split(".")[0]) >= 3:
        return {"enforce_file_format": True}
    return {"write_like_original": False}
