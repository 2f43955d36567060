"""Volumes that were decoded and prepared, kept between clicks."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import VOLUME_SUFFIXES, is_volume, read_volume, volume_header
from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.served_network import LoadedNetwork
from adaptiveclick_med.label_app.serving_options import MIB, ServingOptions

__all__ = ["DecodedVolume", "DecodedVolumes", "file_version"]


@dataclass(frozen=True)
class DecodedVolume:
    """A volume, ready to be clicked on.

    Attributes:
        session: on that volume, without clicks; make siblings of it.
        shape: (I, J, K).
        affine: 4×4, from voxel to world RAS+ in millimetres.
        decode: seconds that reading took.
        transforms: seconds that preparing took.
        size: about how many bytes it takes.
    """

    session: VolumeSession
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    decode: float
    transforms: float
    size: int


def file_version(path: str | Path) -> tuple[Any, ...]:
    """Return what tells one state of a file, or of the files of a folder, from another.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    status = os.stat(path)
    if not os.path.isdir(path):
        return (status.st_mtime_ns, status.st_size)
    inside = sorted((entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(path))
    return (status.st_mtime_ns, *inside)


class DecodedVolumes:
    """The volumes that were used last, up to a number of bytes and an age. Any number of threads may ask.

    Args:
        options: limits, and how intensities are scaled.
        clock: monotonic seconds.
    """

    def __init__(self, options: ServingOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], tuple[DecodedVolume, float]] = OrderedDict()
        self._reading: dict[tuple[Any, ...], threading.Lock] = {}

    def get(self, path: str | Path, loaded: LoadedNetwork) -> tuple[DecodedVolume, bool]:
        """Return a volume, and whether it had to be read.

        Args:
            path: file or DICOM folder.
            loaded: the network that will be asked.

        Raises:
            HTTPException: 415 when it is no volume by its name; 422 when it is too large or was changed meanwhile.
            ValueError: when it cannot be read.
            FileNotFoundError: when it does not exist.
        """
        key = (str(path), file_version(path), loaded.version)
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        try:
            with reading:
                known = self._known(key)
                if known is not None:
                    return known, False
                volume = self._read(Path(path), loaded)
                if file_version(path) != key[1]:
                    raise problem(422, f"The image {Path(path).name} is being written; try again when it is complete.")
                self._keep(key, volume)
                return volume, True
        finally:
            with self._lock:
                self._reading.pop(key, None)

    def _known(self, key: tuple[Any, ...]) -> DecodedVolume | None:
        with self._lock:
            self._drop()
            if key not in self._kept:
                return None
            volume, _ = self._kept.pop(key)
            self._kept[key] = (volume, self._clock())
            return volume

    def _keep(self, key: tuple[Any, ...], volume: DecodedVolume) -> None:
        with self._lock:
            for old in [old for old in self._kept if old[0] == key[0]]:  # other states of the same file
                del self._kept[old]
            self._kept[key] = (volume, self._clock())
            self._drop()

    def _drop(self) -> None:
        oldest = self._clock() - self._options.cache_seconds
        for key in [key for key, (_, used) in self._kept.items() if used < oldest]:
            del self._kept[key]
        while len(self._kept) > 1 and sum(v.size for v, _ in self._kept.values()) > self._options.cache_mb * MIB:
            self._kept.popitem(last=False)

    def _read(self, path: Path, loaded: LoadedNetwork) -> DecodedVolume:
        if not is_volume(path):
            raise problem(415, f"{path.name} is no volume: images may be {', '.join(VOLUME_SUFFIXES)}.")
        start = time.perf_counter()
        shape, _ = volume_header(path)
        if np.prod(shape, dtype=np.float64) > self._options.max_voxels:
            raise problem(
                422,
                f"The image {path.name} of {' x '.join(map(str, shape))} voxels is too large: "
                f"at most max_voxels = {self._options.max_voxels} are decoded.",
            )
        volume = read_volume(path)
        decoded = time.perf_counter()
        cache = max(MIB, self._options.cache_mb * MIB // 16)
        session = VolumeSession(
            loaded.network, max_clicks=self._options.max_clicks, cache_bytes=cache, second_look=True
        )
        session.set_volume(
            volume.array, volume.affine, window=self._options.window, channels=self._options.channels, nan="fill"
        )
        prepared = time.perf_counter()
        i, j, k = volume.array.shape[:3]
        size = int(volume.array.nbytes) + 2 * cache
        return DecodedVolume(session, (i, j, k), volume.affine, decoded - start, prepared - decoded, size)
