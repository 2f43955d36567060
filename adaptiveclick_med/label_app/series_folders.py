"""DICOM series in the studies' folder, kept as NIfTI files that viewers can fetch."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from adaptiveclick_med.data.dicom import read_dicom_series
from adaptiveclick_med.data.volume_writing import write_volume
from adaptiveclick_med.label_app.decoded_volumes import file_version

__all__ = ["SeriesFolders", "holds_dicom"]


def holds_dicom(folder: str | Path) -> bool:
    """Tell whether the first file of a folder is a DICOM file."""
    with os.scandir(folder) as entries:
        first = min(
            (entry.path for entry in entries if entry.is_file() and not entry.name.startswith(".")), default=None
        )
    if first is None:
        return False
    with open(first, "rb") as file:
        return file.read(132)[128:] == b"DICM"


class SeriesFolders:
    """The volumes of DICOM folders.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()

    def file(self, name: str, series: str | Path) -> Path:
        """Return a series as a NIfTI file; it is made anew when a file of the series has changed.

        Args:
            name: of the image.
            series: folder with the series.

        Raises:
            ValueError: when it is no regular volume.
        """
        digest = hashlib.sha256(repr(file_version(series)).encode()).hexdigest()[:16]
        file = self._folder / digest / f"{name}.nii.gz"
        with self._lock:
            if not file.is_file():
                volume = read_dicom_series(series).read()
                write_volume(file, volume.array, volume.affine)
        return file
