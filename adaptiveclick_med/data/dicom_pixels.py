"""The stored values of multi-frame DICOM files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["stored_values"]

_DESCRIBE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)


def stored_values(path: Path) -> NDArray[Any]:
    """Decode a file by pydicom, or by GDCM where pydicom lacks the decoder.

    Returns:
        [frames, rows, columns] or [frames, rows, columns, 3], as stored: without slope and intercept.

    Raises:
        ValueError: when neither knows the compression.
    """
    import pydicom

    dataset: Any = pydicom.dcmread(path)
    try:
        array = np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom raises several kinds for a decoder that is not installed
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            raise
        array = _by_gdcm(dataset, error)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    return array.reshape((frames, int(dataset.Rows), int(dataset.Columns), *array.shape[3 - (frames == 1) :]))


def _by_gdcm(dataset: Any, reason: Exception) -> NDArray[Any]:
    """Decode through a copy that holds the pixels only: GDCM would apply one slope to all frames."""
    import pydicom
    import SimpleITK
    from pydicom.uid import generate_uid

    copy: Any = pydicom.Dataset()
    for name in _DESCRIBE:
        if name in dataset:
            copy[name] = dataset[name]
    copy.file_meta = pydicom.dataset.FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    copy.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame grey word secondary capture
    copy.SOPInstanceUID = generate_uid()
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "frames.dcm")
        copy.is_little_endian, copy.is_implicit_VR = True, False
        pydicom.dcmwrite(file, copy)
        try:
            return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file)))
        except RuntimeError as error:
            name = dataset.file_meta.TransferSyntaxUID.name
            raise ValueError(f"its compression ({name}) cannot be decoded: {reason}") from error
