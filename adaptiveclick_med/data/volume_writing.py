"""Writing volumes and masks as NIfTI (nibabel), NRRD, MHA and MHD (SimpleITK)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.files import file_suffix

if TYPE_CHECKING:
    from adaptiveclick_med.data.dicom_seg import Segment

__all__ = ["WRITABLE_SUFFIXES", "is_sheared", "write_volume"]

WRITABLE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd")

_NIFTI = (".nii", ".nii.gz")
_SHEAR = 1e-3  # of the product of two directions
_SMALL = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)
_LPS = np.array([-1.0, -1.0, 1.0])


def write_volume(
    path: str | Path, array: NDArray[Any], affine: NDArray[np.float64], *, segments: Sequence[Segment] | None = None
) -> None:
    """Write a volume or a label map so that it overlays its image in any viewer.

    The file appears whole or not at all. Of ``.mhd``, which is two files, the voxels (``.raw``) come first and the
    header last, so that there never is a header without its voxels.

    NIfTI-1 holds the affine as float32: entries are rounded by up to 6e-8 of their size, a position 300 mm from the
    origin by up to 0.00002 mm. The other formats hold it as float64.

    Args:
        path: where to write; the suffix tells the format: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.seg.nrrd``, ``.mha`` or
            ``.mhd``.
        array: [I, J, K], or [I, J, K, C] with channels last. Bool is stored as uint8, float16 as float32, 64-bit
            integers as the smallest type that holds them; other types as they are.
        affine: 4x4, from voxel (i, j, k) to world RAS+ in mm.
        segments: names and colours of the labels, kept in ``.seg.nrrd`` files for 3D Slicer.

    Raises:
        ValueError: when the suffix or the type of the array is not known, the shapes are wrong, ``segments`` are given
            for another format, or the format cannot hold the affine (axes that are not perpendicular).
    """
    path = Path(path)
    suffix = ".seg.nrrd" if path.name.lower().endswith(".seg.nrrd") else file_suffix(path)
    if suffix not in WRITABLE_SUFFIXES:
        raise ValueError(f"the suffix of {path} must be one of {', '.join(WRITABLE_SUFFIXES)}.")
    if segments is not None and suffix != ".seg.nrrd":
        raise ValueError(f"segments can be kept in .seg.nrrd files, not in {path.name}.")
    array = _storable(np.asarray(array))
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError(f"the affine is not an invertible 4x4 matrix: {affine.tolist()}.")
    if suffix in _NIFTI:
        _write_nifti(path, array, affine)
    else:
        _write_itk(path, array, affine, suffix, segments or ())


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim not in (3, 4) or not array.size:
        raise ValueError(f"the array must be [I, J, K] or [I, J, K, C] and not empty, got shape {list(array.shape)}.")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and size in (2, 4, 8):
        return array.astype(np.float32 if size == 2 else array.dtype.newbyteorder("="))
    if kind in "iu" and size < 8:
        return array.astype(array.dtype.newbyteorder("="))
    if kind in "iu":
        low, high = int(array.min()), int(array.max())
        for small in _SMALL:
            if np.iinfo(small).min <= low and high <= np.iinfo(small).max:
                return array.astype(small)
        raise ValueError(f"the array holds integers from {low} to {high}; 32 bits are allowed.")
    raise ValueError(f"the array must hold bool, integers or floats of 16 to 64 bits, got {array.dtype}.")


def _write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    import nibabel

    image: Any = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    # a quaternion holds no shear: code 0 then tells readers to use the sform
    image.set_qform(affine, code=0 if is_sheared(affine) else 1)
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def is_sheared(affine: NDArray[np.float64]) -> bool:
    """Tell whether the axes of an affine 4x4 are not perpendicular, as those of a tilted gantry."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR)


def _write_itk(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64], suffix: str, segments: Sequence[Segment]
) -> None:
    import SimpleITK

    if is_sheared(affine):
        raise ValueError(
            f"the axes of the affine are not perpendicular (a tilted gantry?), which {suffix} files cannot hold; "
            f"{' and '.join(_NIFTI)} files can."
        )
    vector = array.ndim == 4
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose((2, 1, 0, 3)[: array.ndim])), vector)
    lps = affine[:3] * _LPS[:, None]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    for key, value in _slicer_fields(segments, array.shape):
        image.SetMetaData(key, value)
    if suffix != ".mhd":
        with replacing(path) as temporary:
            SimpleITK.WriteImage(image, str(temporary), useCompression=array.dtype == np.uint8)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        header = Path(folder) / path.name  # the header names its voxels' file, so the name must be the final one
        SimpleITK.WriteImage(image, str(header), useCompression=False)
        path.unlink(missing_ok=True)
        header.with_suffix(".raw").replace(path.with_suffix(".raw"))
        header.replace(path)


def _slicer_fields(segments: Sequence[Segment], shape: tuple[int, ...]) -> list[tuple[str, str]]:
    fields = []
    for index, segment in enumerate(segments):
        red, green, blue = (value / 255 for value in segment.shown_color)
        values = {
            "ID": f"Segment_{segment.number}",
            "Name": segment.name,
            "NameAutoGenerated": "0",
            "Color": f"{red:.6g} {green:.6g} {blue:.6g}",
            "ColorAutoGenerated": "0",
            "LabelValue": str(segment.number),
            "Layer": "0",
            "Extent": " ".join(f"0 {size - 1}" for size in shape[:3]),
        }
        fields += [(f"Segment{index}_{key}", value) for key, value in values.items()]
    return fields
