"""Items that are decoded once: kept in memory, or on disk for later trainings too."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose
from torch import Tensor

from adaptiveclick_med import __version__
from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.registry import Item

__all__ = ["StoredItems", "cached_items"]

CACHES = ("none", "memory", "disk")
"""Where decoded items can be kept."""

_logger = logging.getLogger(__name__)
_FORMAT = 1


def cached_items(
    data: Sequence[Item],
    loading: Compose,
    cache: str | None = "none",
    *,
    cache_dir: str | Path | None = None,
    cache_rate: float = 1.0,
    cache_num: int | None = None,
) -> Dataset | None:
    """Return items behind a cache, for :class:`adaptiveclick_med.data.ClickTrainingDataset`.

    ``"memory"`` decodes at once and keeps everything in this process (MONAI's ``CacheDataset``); workers of a loader
    share it where they are forked, ranks of a training do not. ``"disk"`` keeps what was decoded in files, see
    :class:`StoredItems`.

    Args:
        data: items, see :func:`adaptiveclick_med.data.get_items`.
        loading: transforms without randomness that decode an item.
        cache: ``"none"``, ``"memory"`` or ``"disk"``.
        cache_dir: folder of the files of ``"disk"``.
        cache_rate: share of the items that ``"memory"`` keeps, in [0, 1]; the first ones.
        cache_num: the most items that ``"memory"`` keeps; ``None``: no further limit.

    Returns:
        The items, decoded, in the same order; ``None`` without a cache.

    Raises:
        ValueError: when ``cache`` is unknown, a limit is out of range, or ``"disk"`` has no folder.
    """
    cache = "none" if cache is None else str(cache).lower()
    if cache not in CACHES:
        raise ValueError(f"cache must be one of {', '.join(CACHES)}, got {cache!r}.")
    if not 0 <= cache_rate <= 1:
        raise ValueError(f"cache_rate must be in [0, 1], got {cache_rate}.")
    if cache_num is not None and cache_num < 0:
        raise ValueError(f"cache_num must be 0 or above, or None, got {cache_num}.")
    if cache == "none":
        return None
    if cache == "memory":
        limit = sys.maxsize if cache_num is None else cache_num
        return CacheDataset(list(data), loading, cache_num=limit, cache_rate=cache_rate, num_workers=1, progress=False)
    if not cache_dir:
        raise ValueError("cache 'disk' needs cache_dir, the folder of its files; it is missing.")
    return StoredItems(data, loading, Path(cache_dir).expanduser())


class StoredItems(PersistentDataset):
    """Items whose decoded tensors are kept in files, one an item.

    The name of a file is a digest of the item, of size and time of change of the files that it names, and of the
    loading transforms with all their options. So another option, or data that changed, never finds an older file. Files
    appear whole or not at all, many processes may share a folder, and a file that cannot be read is made anew. Only
    tensors are kept; everything else is taken from the item.

    Args:
        data: items, see :func:`adaptiveclick_med.data.get_items`.
        transform: transforms without randomness that decode an item; what they drop from it is dropped.
        cache_dir: folder of the files; made where missing. Nothing is ever removed from it.
    """

    def __init__(self, data: Sequence[Item], transform: Compose, cache_dir: Path) -> None:
        super().__init__(data, transform, cache_dir, track_meta=True)
        self._options = _digest([_FORMAT, __version__, [_options(each) for each in transform.flatten().transforms]])
        self._arrays: dict[int, str] = {}

    def path(self, index: int) -> Path:
        """Return the file of an item, whether it exists or not."""
        assert self.cache_dir is not None
        return Path(self.cache_dir) / f"{_digest([self._options, self.data[index]], self._arrays)}.pt"

    def _transform(self, index: int) -> dict[Any, Any]:
        """Return an item, decoded."""
        item, path = self.data[index], self.path(index)
        if path.is_file():
            try:
                stored = torch.load(path, weights_only=True)
                return {
                    key: stored["tensors"][key] if key in stored["tensors"] else item[key] for key in stored["keys"]
                }
            except Exception as error:  # whatever is wrong with the file, the item itself is still there
                _logger.warning("The cached file %s cannot be read (%s); it is made anew.", path, error)
        decoded: dict[Any, Any] = self.transform(item)
        tensors = {key: value for key, value in decoded.items() if isinstance(value, Tensor)}
        with replacing(path) as temporary:
            torch.save({"keys": list(decoded), "tensors": tensors}, temporary)
        return decoded


def _options(transform: Any) -> dict[str, Any]:
    """Return the class of a transform and its options: all public attributes."""
    public = {name: repr(value) for name, value in vars(transform).items() if not name.startswith("_")}
    return {"class": f"{type(transform).__module__}.{type(transform).__qualname__}", **public}


def _digest(value: Any, arrays: dict[int, str] | None = None) -> str:
    """Return the SHA-256 of a value of plain types, arrays and paths; existing files count with size and time.

    Args:
        value: what to look at.
        arrays: digests of large arrays by their id, for arrays that live on; new ones are added.
    """
    if isinstance(value, np.ndarray):
        known = None if arrays is None else arrays.get(id(value))
        if known is not None:
            return known
        found = hashlib.sha256(f"array {value.dtype.str} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data if value.size else b"")
        if arrays is not None:
            arrays[id(value)] = found.hexdigest()
        return found.hexdigest()
    if isinstance(value, Mapping):
        parts = [(repr(key), _digest(part, arrays)) for key, part in value.items()]
        text = f"mapping {sorted(parts)}"
    elif isinstance(value, list | tuple):
        text = f"sequence {[_digest(part, arrays) for part in value]}"
    elif isinstance(value, str | os.PathLike):
        text = f"text {os.fspath(value)!r} {_state(os.fspath(value))}"
    else:
        text = f"{type(value).__name__} {value!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def _state(path: str) -> tuple[int, int] | None:
    """Return (bytes, time of change) of a file, ``None`` for text that is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
