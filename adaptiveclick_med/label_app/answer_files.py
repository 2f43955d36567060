"""Answers as files that viewers load: the whole grid of the image, with its affine, quickly."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.volume_writing import is_sheared
from adaptiveclick_med.label_app.zero_runs import ZeroRunStream

__all__ = ["write_answer"]

_COLOUR = (0.1, 0.8, 0.3)


@cache
def _folder() -> str:
    """Return this process's own folder: a client on the same machine may save answers under their names elsewhere."""
    folder = tempfile.TemporaryDirectory(prefix="adaptiveclick-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


def write_answer(
    slices: Mapping[int, NDArray[np.bool_]],
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    extension: str,
    *,
    name: str = "object",
    wide: bool = False,
    compress: bool = True,
) -> str:
    """Write a mask to a temporary file; whoever sends it removes it.

    The same mask gives the same bytes.

    Args:
        slices: by index along k, masks [I, J]; all other slices are empty.
        shape: (I, J, K).
        affine: 4×4, from voxel to world RAS+ in millimetres.
        extension: a format of :data:`adaptiveclick_med.label_app.click_request.EXTENSIONS`.
        name: of the object, kept in ``.seg.nrrd``.
        wide: 16 instead of 8 bits a voxel.
        compress: whether NRRD and MHA are compressed; NIfTI is as its extension says.

    Returns:
        The path.

    Raises:
        OSError: when the disk does not take it.
    """
    kind = np.dtype("<u2") if wide else np.dtype("u1")
    blocks = {
        index: np.ascontiguousarray(mask.T).astype(kind).tobytes() for index, mask in slices.items() if mask.any()
    }
    os.makedirs(_folder(), mode=0o700, exist_ok=True)  # systems clean up what was not used for days
    handle, path = tempfile.mkstemp(suffix=extension, prefix="answer-", dir=_folder())
    os.close(handle)
    block = shape[0] * shape[1] * kind.itemsize
    try:
        if extension == ".nii.gz":
            Path(path).write_bytes(_stream(_nifti_header(shape, affine, kind), blocks, block, shape[2]).gzip())
        elif extension == ".nii":
            _write_raw(path, _nifti_header(shape, affine, kind), blocks, block, shape[2])
        elif extension == ".mha":
            body = _stream(b"", blocks, block, shape[2]).zlib() if compress else None
            head = _meta_header(shape, affine, kind, None if body is None else len(body))
            if body is None:
                _write_raw(path, head, blocks, block, shape[2])
            else:
                Path(path).write_bytes(head + body)
        else:
            segment = _segment_fields(name, slices) if extension == ".seg.nrrd" else []
            head = _nrrd_header(shape, affine, kind, compress, segment)
            if compress:
                Path(path).write_bytes(head + _stream(b"", blocks, block, shape[2]).gzip())
            else:
                _write_raw(path, head, blocks, block, shape[2])
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return path


def _stream(head: bytes, blocks: Mapping[int, bytes], size: int, count: int) -> ZeroRunStream:
    stream = ZeroRunStream(size)
    if head:
        stream.start(head)
    done = 0
    for index in sorted(blocks):
        stream.zeros(index - done)
        stream.data(blocks[index])
        done = index + 1
    stream.zeros(count - done)
    return stream


def _write_raw(path: str, head: bytes, blocks: Mapping[int, bytes], size: int, count: int) -> None:
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + size * count)
        for index, block in blocks.items():
            file.seek(len(head) + size * index)
            file.write(block)


def _nifti_header(shape: tuple[int, int, int], affine: NDArray[np.float64], kind: np.dtype[Any]) -> bytes:
    import nibabel

    header: Any = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(kind)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=0 if is_sheared(affine) else 1)  # a quaternion holds no shear
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)


def _lps_vectors(affine: NDArray[np.float64]) -> list[list[float]]:
    """Return the steps along i, j and k, and the origin, in LPS."""
    lps = affine[:3] * np.array([[-1.0], [-1.0], [1.0]])
    return [[float(value) + 0.0 for value in lps[:, column]] for column in range(4)]


def _nrrd_header(
    shape: tuple[int, int, int], affine: NDArray[np.float64], kind: np.dtype[Any], compress: bool, fields: list[str]
) -> bytes:
    vectors = ["(" + ",".join(map(repr, vector)) + ")" for vector in _lps_vectors(affine)]
    lines = [
        "NRRD0004",
        f"type: {kind.name}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compress else 'raw'}",
        f"space origin: {vectors[3]}",
        *fields,
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _segment_fields(name: str, slices: Mapping[int, NDArray[np.bool_]]) -> list[str]:
    """Return what 3D Slicer keeps of a segment."""
    places = [(np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)), k) for k, mask in slices.items() if mask.any()]
    extent = "0 -1 0 -1 0 -1"
    if places:
        i, j, k = np.concatenate([p[0] for p in places]), np.concatenate([p[1] for p in places]), [p[2] for p in places]
        extent = f"{i.min()} {i.max()} {j.min()} {j.max()} {min(k)} {max(k)}"
    return [
        f"Segment0_ID:={name}",
        f"Segment0_Name:={name}",
        "Segment0_NameAutoGenerated:=0",
        f"Segment0_Color:={' '.join(map(str, _COLOUR))}",
        "Segment0_ColorAutoGenerated:=0",
        f"Segment0_Extent:={extent}",
        "Segment0_LabelValue:=1",
        "Segment0_Layer:=0",
        "Segment0_Tags:=|",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _meta_header(
    shape: tuple[int, int, int], affine: NDArray[np.float64], kind: np.dtype[Any], compressed: int | None
) -> bytes:
    vectors = _lps_vectors(affine)
    spacing = [float(np.linalg.norm(vector)) for vector in vectors[:3]]
    matrix = [value / step for vector, step in zip(vectors[:3], spacing, strict=True) for value in vector]
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compressed is not None}",
        *([] if compressed is None else [f"CompressedDataSize = {compressed}"]),
        f"TransformMatrix = {' '.join(map(repr, matrix))}",
        f"Offset = {' '.join(map(repr, vectors[3]))}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {' '.join(map(repr, spacing))}",
        f"DimSize = {' '.join(map(str, shape))}",
        f"ElementType = {'MET_USHORT' if kind.itemsize == 2 else 'MET_UCHAR'}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")
