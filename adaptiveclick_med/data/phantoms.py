"""Phantoms: seeded 3-D volumes made on the fly, the data set that needs no download.

A body holds organs, organs hold lesions, and vessels run through the body. A click inside a lesion may mean the lesion,
its organ or the body: the ambiguity that click-based segmentation has to solve. The label has one layer for each level.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.data.labels import slice_areas
from adaptiveclick_med.data.phantom_scene import Scene
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item, Source

__all__ = ["SIZE", "SOURCE", "Phantom", "list_items", "make_phantom", "write_phantoms"]

SIZE = (24, 160, 160)
"""Default (slices, rows, columns)."""


@dataclass(frozen=True)
class Phantom:
    """One volume with its objects, in the axis order of a NIfTI file.

    Args:
        image: [I, J, K] int16 in arbitrary units.
        label: [I, J, K, 3] uint8 object numbers, distinct across the layers: body; organs; lesions and vessels.
        affine: 4×4 float64, from voxel (i, j, k) to world RAS+ in millimetres.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    num_volumes: int = 12,
    size: Sequence[int] = SIZE,
    min_area: int = 20,
) -> list[Item]:
    """Make the phantoms and list their axial slices.

    Args:
        dataset_dir: without effect.
        seed: seed of the phantoms; volume n does not depend on ``num_volumes``.
        problems: without effect.
        num_volumes: number of volumes, the groups of a split.
        size: (slices, rows, columns).
        min_area: smallest area in pixels of the largest object of a slice.

    Raises:
        ValueError: when a number is out of range.
    """
    if min_area < 1:
        raise ValueError(f"min_area must be at least 1, got {min_area}.")
    items: list[Item] = []
    for number in range(_positive(num_volumes)):
        phantom = make_phantom(number, size=size, seed=seed)
        plane = slice_plane(phantom.affine, "axial")
        areas = slice_areas(phantom.label, plane, "instances")
        low, high = np.percentile(phantom.image, (0.5, 99.5))
        for index in (index for index, area in areas.items() if area >= min_area):
            items.append(
                {
                    "image": phantom.image,
                    "label": phantom.label,
                    "name": f"phantom_{number:03d}/axial_{index:03d}",
                    "group": f"phantom_{number:03d}",
                    "source": "phantoms",
                    "reader": {
                        "label_type": "instances",
                        "plane": "axial",
                        "index": index,
                        "affine": phantom.affine.tolist(),
                        "intensity_range": [[float(low), float(high)]],
                    },
                }
            )
    return items


def write_phantoms(
    folder: str | Path, *, num_volumes: int = 12, size: Sequence[int] = SIZE, seed: int = 0
) -> list[tuple[Path, Path]]:
    """Write phantoms as ``images/phantom_NNN.nii.gz`` and ``labels/phantom_NNN.nii.gz``.

    The source ``"folder"`` reads them back. The last axis of a label holds its layers. A file appears under its name
    only when it is complete.

    Args:
        folder: made where missing.
        num_volumes: number of volumes.
        size: (slices, rows, columns).
        seed: seed of the phantoms.

    Returns:
        (image, label) files.

    Raises:
        ValueError: when a number is out of range.
    """
    import nibabel

    written = []
    for number in range(_positive(num_volumes)):
        phantom = make_phantom(number, size=size, seed=seed)
        files = []
        for kind, array in (("images", phantom.image), ("labels", phantom.label)):
            target = Path(folder).expanduser() / kind / f"phantom_{number:03d}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(array, phantom.affine)
            image.header.set_xyzt_units("mm")
            temporary = target.with_name(f".{os.getpid()}_{target.name}")
            try:
                nibabel.save(image, temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            files.append(target)
        written.append((files[0], files[1]))
    return written


def _positive(num_volumes: int) -> int:
    if num_volumes < 1:
        raise ValueError(f"num_volumes must be at least 1, got {num_volumes}.")
    return num_volumes


def make_phantom(number: int = 0, *, size: Sequence[int] = SIZE, seed: int = 0) -> Phantom:
    """Make one phantom.

    Args:
        number: which phantom of the series of ``seed``.
        size: (slices, rows, columns), at least (1, 32, 32).
        seed: seed of the series.

    Raises:
        ValueError: when ``size`` is not three numbers that are large enough.
    """
    shape = tuple(int(length) for length in size)
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < 32:
        raise ValueError(f"size must be (slices, rows, columns), at least (1, 32, 32), got {tuple(size)}.")
    random = np.random.RandomState([seed, number])
    spacing = np.array([random.uniform(2.0, 4.0), *[random.uniform(0.7, 1.2)] * 2])
    image, label = Scene(shape, spacing, random).paint()
    affine = _affine(shape, spacing, random)
    return Phantom(
        np.ascontiguousarray(image.transpose(2, 1, 0)), np.ascontiguousarray(label.transpose(3, 2, 1, 0)), affine
    )


def _affine(shape: Sequence[int], spacing: NDArray[np.float64], random: np.random.RandomState) -> NDArray[np.float64]:
    """Return the affine of a slightly tilted scan whose i runs to the left, j to posterior and k to superior."""
    from scipy.spatial.transform import Rotation

    tilt = Rotation.from_euler("xyz", random.uniform(-8, 8, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([-spacing[2], -spacing[1], spacing[0]])
    centre = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = random.uniform(-40, 40, 3) - affine[:3, :3] @ centre
    return affine


SOURCE = Source("phantoms", list_items, title="phantoms")
