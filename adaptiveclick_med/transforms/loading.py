"""Reading the items of a data source: pictures, arrays, and single slices of volumes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from adaptiveclick_med.data.annotations import decode_annotation
from adaptiveclick_med.data.files import UnreadableFileError, Volume, is_volume, read_picture, read_volume
from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.data.labels import label_layers, picture_label
from adaptiveclick_med.transforms.intensity import PERCENTILES, intensity_range

__all__ = ["LoadSampled"]


@dataclass
class _Decoded:
    """A volume in the cache, with the range of each channel where it was asked for."""

    volume: Volume
    ranges: NDArray[np.float64] | None = None


class _VolumeCache:
    """The volumes that were used last, up to a number of bytes; a larger single volume is not kept."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[tuple[str, int], _Decoded] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["capacity"])  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, path: str) -> _Decoded:
        """Return the volume, from the file when it is not here or the file has changed."""
        key = (path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        decoded = _Decoded(read_volume(path))
        with self._lock:
            self._entries[key] = decoded
            while sum(entry.volume.array.nbytes for entry in self._entries.values()) > self.capacity:
                self._entries.popitem(last=False)
        return decoded


class LoadSampled(MapTransform):
    """Read an item of :func:`adaptiveclick_med.data.get_items`: images and labels of one picture or one slice.

    A value is a file name (picture or volume), a folder (DICOM series), an array, or an annotation (see
    :mod:`adaptiveclick_med.data.annotations`). Arrays are [H, W] or [C, H, W] for
    pictures, [I, J, K] or [I, J, K, C] for volumes. The item's ``reader`` is a dictionary of hints, all optional:

    - ``plane`` and ``index``: the slice of a volume: ``"axial"``, ``"coronal"`` or ``"sagittal"``, and the index along
      the array axis of that plane; rows and columns are turned as :mod:`adaptiveclick_med.data.geometry` tells;
    - ``affine``: 4×4, from voxel (i, j, k) to world RAS+ in millimetres, of volumes that are arrays;
    - ``intensity_range``: [[low, high]] of the whole volume, else it is measured;
    - ``channel``: index of the channel to use of an image with several;
    - ``label_type``, ``ignore_value`` and ``labels``: see :func:`adaptiveclick_med.data.labels.label_layers`.

    Images become ``MetaTensor`` [C, H, W] and keep their type (uint16 becomes int32). Labels become ``MetaTensor``
    int32 [L, H, W]: object numbers above 0, 0 background, -1 ignore. The hints are dropped, so that items can be
    collated.

    Meta data: ``affine``: 4×4 of the slice itself, from (row, column, 0) to world RAS+, which MONAI's spatial
    transforms keep up to date (identity for pictures); ``spacing``: millimetres between rows and between columns.
    Slices of volumes also have ``plane``, ``slice_index``, ``volume_affine`` and ``volume_shape``, by which a mask can
    be put back with :meth:`adaptiveclick_med.data.geometry.SlicePlane.put`, and images of them ``intensity_range``,
    [C, 2]: (low, high) of the whole volume for ``ScaleToUnitRGBd``.

    Args:
        keys: the keys to read.
        label_keys: those of them that are labels.
        percentiles: of a whole volume, see :func:`adaptiveclick_med.transforms.intensity.intensity_range`.
        cache_bytes: memory for decoded volumes in each process, so that slices of one volume do not read its file
            again.
        allow_missing_keys: pass over keys that are missing, for example the label when there is none.

    Raises:
        ValueError: when a value cannot be read (the message names file and reason), or the image and the label differ
            in size.
        TypeError: when a value is of another type.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        *,
        label_keys: KeysCollection = ("label",),
        percentiles: tuple[float, float] = PERCENTILES,
        cache_bytes: int = 512 * 2**20,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(cast(Any, label_keys))
        self.percentiles = percentiles
        self._cache = _VolumeCache(cache_bytes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with images and labels read, without its hints."""
        result = dict(data)
        hints = result.pop("reader", None) or {}
        name = str(result.get("name", ""))
        size: tuple[int, int] | None = None
        for key in self.key_iterator(cast(Any, result)):
            try:
                loaded = self._load(result[key], key in self.label_keys, hints)
            except UnreadableFileError:
                raise
            except (ValueError, IndexError) as error:
                reason = str(error).rstrip(".")
                raise ValueError(f"{key} of {name or result[key]}: {reason}{_file_of(result[key])}.") from error
            height, width = loaded.shape[-2:]
            if size is not None and size != (height, width):
                found = f"{height}×{width} pixels, but the image {size[0]}×{size[1]}"
                raise ValueError(f"{key} of {name} is {found}{_file_of(result[key])}.")
            size = (int(height), int(width))
            loaded.meta["filename_or_obj"] = result[key] if isinstance(result[key], str) else name
            result[key] = loaded
        return result

    def _load(self, value: Any, is_label: bool, hints: Mapping[str, Any]) -> MetaTensor:
        """Read one value."""
        label_type, ignore_value = hints.get("label_type", "instances"), hints.get("ignore_value")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        meta: dict[str, Any] = {}
        affine = np.eye(4)
        if isinstance(value, Mapping):
            array: NDArray[Any] = decode_annotation(value)
        elif isinstance(value, np.ndarray) and "index" not in hints:
            array = value
        elif isinstance(value, str) and not is_volume(value):
            array = read_picture(value, indices=is_label)
            if is_label:
                array = picture_label(array, label_type)
            elif array.ndim == 3:
                array = np.moveaxis(array, -1, 0)
        elif isinstance(value, (str, np.ndarray)):
            array, affine, meta = self._take_slice(value, is_label, hints)
        else:
            raise TypeError(f"a file name, an array or an annotation was expected, got {type(value).__name__}.")
        if is_label:
            if not isinstance(value, Mapping):
                array = label_layers(array, label_type, ignore_value, hints.get("labels"))
        elif array.ndim == 2:
            array = array[None]
        if not is_label and array.ndim == 3 and "channel" in hints:
            array, meta = _one_channel(array, meta, int(hints["channel"]))
        if array.ndim != 3:
            raise ValueError(f"it has shape {list(array.shape)}; [H, W] or [C, H, W] was expected")
        meta["spacing"] = torch.as_tensor(np.linalg.norm(affine[:3, :2], axis=0), dtype=torch.float64)
        meta["original_affine"] = torch.as_tensor(affine, dtype=torch.float64)
        meta["space"] = "RAS"
        return MetaTensor(_tensor(array), affine=torch.as_tensor(affine, dtype=torch.float64), meta=meta)

    def _take_slice(
        self, value: str | NDArray[Any], is_label: bool, hints: Mapping[str, Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64], dict[str, Any]]:
        """Return a slice, its affine and its meta data."""
        if "index" not in hints:
            raise ValueError("a volume needs plane and index in the item's reader hints to say which slice to read")
        if isinstance(value, str):
            decoded = self._cache.get(value)
        else:
            decoded = _Decoded(Volume(value, np.asarray(hints.get("affine", np.eye(4)), dtype=np.float64)))
        volume = decoded.volume
        index, name = int(hints["index"]), hints.get("plane", "axial")
        plane = slice_plane(volume.affine, name)
        meta: dict[str, Any] = {
            "plane": name,
            "slice_index": index,
            "volume_affine": torch.as_tensor(volume.affine, dtype=torch.float64),
            "volume_shape": torch.as_tensor(volume.array.shape[:3]),
        }
        if not is_label:
            if "intensity_range" in hints:
                decoded.ranges = np.asarray(hints["intensity_range"], dtype=np.float64)
            if decoded.ranges is None:
                channels = np.moveaxis(volume.array, -1, 0) if volume.array.ndim == 4 else volume.array[None]
                decoded.ranges = np.array([intensity_range(channel, self.percentiles) for channel in channels])
            meta["intensity_range"] = torch.as_tensor(decoded.ranges)
        return plane.take(volume.array, index), plane.affine(volume.affine, volume.array.shape, index), meta


def _file_of(value: Any) -> str:
    """Return the file of a value for a message, in parentheses, or nothing."""
    file = value.get("file") if isinstance(value, Mapping) else value
    return f" ({os.fspath(file)})" if isinstance(file, str | os.PathLike) else ""


def _one_channel(array: NDArray[Any], meta: dict[str, Any], channel: int) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return one channel [1, H, W] of an image [C, H, W], with the range of that channel."""
    if not 0 <= channel < len(array):
        raise ValueError(f"channel {channel} is outside the image's {len(array)} channels")
    kept = slice(channel, channel + 1)
    ranges = meta.get("intensity_range")
    return array[kept], {**meta, "intensity_range": ranges[kept]} if ranges is not None else meta


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return a copy as a tensor; types that torch hardly supports become wider ones."""
    if array.dtype in (np.uint16, np.uint32):
        array = array.astype(np.int32 if array.dtype == np.uint16 else np.int64)
    return torch.from_numpy(np.array(array, order="C"))
