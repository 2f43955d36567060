"""Reading pictures (Pillow) and volumes (nibabel, SimpleITK) as arrays; each library is imported where it is used."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adaptiveclick_med.data.dicom import DicomSeries

__all__ = [
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "UnreadableFileError",
    "Volume",
    "file_stem",
    "file_suffix",
    "is_volume",
    "kept_locale",
    "naming",
    "picture_size",
    "read_picture",
    "read_volume",
    "volume_header",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")

_NIFTI = (".nii", ".nii.gz")
_DICOM = ".dcm"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class UnreadableFileError(ValueError):
    """A file cannot be read; the message names the file and the reason.

    Args:
        message: the message.
        path: the file.
        reason: why it cannot be read.
    """

    def __init__(self, message: str, path: str | Path = "", reason: str = "") -> None:
        super().__init__(message)
        self.path = str(path)
        self.reason = reason


@dataclass(frozen=True)
class Volume:
    """A volume in memory.

    Args:
        array: [I, J, K] or, with channels or label layers last, [I, J, K, C].
        affine: 4×4 float64, from voxel (i, j, k) to world RAS+ in millimetres.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]


def file_suffix(path: str | Path) -> str:
    """Return the suffix in lower case; ``.nii.gz`` counts as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def file_stem(path: str | Path) -> str:
    """Return the file name without its suffix."""
    name = Path(path).name
    return name[: len(name) - len(file_suffix(path))]


def is_volume(path: str | Path) -> bool:
    """Tell whether a path is a volume: a file with the suffix of one, a ``.dcm`` file, or a folder (a DICOM series)."""
    return file_suffix(path) in (*VOLUME_SUFFIXES, _DICOM) or Path(path).is_dir()


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Turn any failure to read a file into one error that names it.

    Raises:
        UnreadableFileError: when there is no such file or folder, and in the place of any other error; of a
            ``KeyError``, the key is what is missing.
    """
    try:
        if not Path(file).exists():
            raise FileNotFoundError(file)
        yield
    except UnreadableFileError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[-1].rstrip(".")
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        elif isinstance(error, KeyError):
            reason = f"{error} is missing"
        raise UnreadableFileError(f"cannot read {file}: {reason}.", file, reason) from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """Return (height, width) in pixels without decoding the picture.

    Raises:
        UnreadableFileError: when the file is not a picture, or holds several pages.
    """
    from PIL import Image

    with naming(path), Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise ValueError(f"it holds {picture.n_frames} pages; save them as a volume or as single pictures")
        return picture.height, picture.width


def read_picture(path: str | Path, *, indices: bool = False) -> NDArray[Any]:
    """Read a picture with its own bit depth; transparency is dropped.

    Args:
        path: a file that Pillow can read.
        indices: keep the indices of a palette picture (label pictures) instead of its colours.

    Returns:
        [H, W] for grey pictures, else [H, W, 3]; bool, uint8, uint16, int32 or float32.

    Raises:
        UnreadableFileError: when the file is not a picture, is damaged, or holds several pages.
    """
    from PIL import Image

    picture_size(path)
    with naming(path), Image.open(path) as picture:
        mode = picture.mode
        if mode == "P" and not indices:
            picture = picture.convert("RGB")
        elif mode in ("LA", "La"):
            picture = picture.convert("L")
        elif mode in ("RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "PA"):
            picture = picture.convert("RGB")
        return _native(np.array(picture))


def volume_header(path: str | Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return ((I, J, K), affine) without reading the voxels; see :class:`Volume`.

    Raises:
        UnreadableFileError: when the file is not a volume.
    """
    with naming(path):
        if file_suffix(path) in _NIFTI:
            import nibabel

            header: Any = nibabel.load(path)
            i, j, k = (*header.shape, 1, 1)[:3]
            return (int(i), int(j), int(k)), np.asarray(header.affine, dtype=np.float64)
        if not _is_dicom(path):
            return _itk_header([str(path)])
        series = _dicom_series(path)
        return _itk_header(series) if isinstance(series, list) else (series.shape, series.affine)


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI, NRRD, MHA or MHD volume, a ``.dcm`` file, or the DICOM series of a folder.

    DICOM series are checked as :func:`adaptiveclick_med.data.dicom.read_dicom_series` does. A series whose slices tell
    no position is read in the order of its instance numbers, with the spacing that SimpleITK finds.

    Float64 and int64 voxels are kept as float32 and int32 to save memory.

    Raises:
        UnreadableFileError: when the file is not a volume, is damaged, or has more than four dimensions.
    """
    with naming(path):
        if file_suffix(path) in _NIFTI:
            return _read_nifti(path)
        if not _is_dicom(path):
            return _read_itk(str(path))
        series = _dicom_series(path)
        return _read_itk(series) if isinstance(series, list) else series.read()


def _is_dicom(path: str | Path) -> bool:
    return Path(path).is_dir() or file_suffix(path) == _DICOM


def _read_nifti(path: str | Path) -> Volume:
    import nibabel

    image: Any = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    if array.dtype.names:  # RGB voxels
        array = np.stack([array[name] for name in array.dtype.names[:3]], axis=-1)
    if array.ndim == 5 and array.shape[3] == 1:  # NIfTI vectors are [I, J, K, 1, C]
        array = array[:, :, :, 0]
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise ValueError(
            f"it has shape {list(array.shape)}; three dimensions, or four with channels last, are expected"
        )
    return Volume(_native(array), np.asarray(image.affine, dtype=np.float64))


@contextmanager
def kept_locale() -> Iterator[None]:
    """Keep the process's locale while ITK reads or writes DICOM.

    ITK does so with the locale of C and does not always set the old one back; the rest of the process would then decode
    text files as ASCII.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _read_itk(files: str | list[str]) -> Volume:
    import SimpleITK

    with kept_locale():
        image = SimpleITK.ReadImage(files)
    array = _itk_array(image)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise ValueError(
            f"it has shape {list(array.shape)}; three dimensions, or four with channels last, are expected"
        )
    return Volume(_native(array), _itk_affine(image))


def _itk_array(image: Any) -> NDArray[Any]:
    """Return the voxels of a SimpleITK image as [I, J, K, ...]; channels are last, and a plane has one slice."""
    import SimpleITK

    array = SimpleITK.GetArrayFromImage(image)
    spatial = image.GetDimension()
    axes = tuple(reversed(range(spatial)))
    array = array.transpose((*axes, spatial) if image.GetNumberOfComponentsPerPixel() > 1 else axes)
    return np.asarray(array[:, :, None] if spatial == 2 else array)


def _itk_header(files: list[str]) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return size and affine of a file, or of files that are slices."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(files[0])
    reader.ReadImageInformation()
    i, j, k = (*reader.GetSize(), 1)[:3]
    return (int(i), int(j), int(k) if len(files) == 1 else len(files)), _itk_affine(reader)


def _dicom_series(path: str | Path) -> DicomSeries | list[str]:
    """Return the series of a folder or file, or the files of one that tells no positions."""
    from adaptiveclick_med.data.dicom import UnplacedSeriesError, read_dicom_series

    try:
        return read_dicom_series(path)
    except UnplacedSeriesError as error:
        return [str(file) for file in error.files]


def _itk_affine(image: Any) -> NDArray[np.float64]:
    """Return the RAS+ affine of a SimpleITK image or reader of two to four dimensions."""
    size = image.GetDimension()
    used = min(size, 3)
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection(), dtype=np.float64).reshape(size, size)
    affine[:used, :used] = (direction * np.asarray(image.GetSpacing()))[:used, :used]
    affine[:used, 3] = image.GetOrigin()[:used]
    return _LPS_TO_RAS @ affine


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in native byte order; float64, float16 become float32, wide integers int32 where they fit."""
    kind = array.dtype.kind
    if kind == "f":
        return np.asarray(array, dtype=np.float32)
    if kind in "iu" and array.dtype.itemsize >= 4 and array.dtype != np.int32:
        fits = array.size == 0 or (array.max() <= np.iinfo(np.int32).max and array.min() >= np.iinfo(np.int32).min)
        return array.astype(np.int32 if fits else np.float32)
    if kind in "iub":
        return np.asarray(array, dtype=array.dtype.newbyteorder("="))
    raise ValueError(f"its values are of type {array.dtype}, which is not supported")
