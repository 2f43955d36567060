from __future__ import annotations

import itertools

import numpy as np
import pytest

from adaptiveclick_med.data.geometry import PLANES, SlicePlane, slice_plane


def oriented(axes: tuple[int, int, int], signs: tuple[int, int, int]) -> np.ndarray:
    """The affine of an array whose axis n runs along world axis ``axes[n]`` in direction ``signs[n]``, 2, 3, 4 mm."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, column] = sign * (2 + axis)
    affine[:3, 3] = (10, -20, 30)
    return affine


ORIENTATIONS = [
    oriented(axes, signs)
    for axes in itertools.permutations((0, 1, 2))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("affine", ORIENTATIONS)
def test_rows_and_columns_run_as_radiologists_see_them(affine: np.ndarray, plane: str) -> None:
    shape = (3, 4, 5)
    found = slice_plane(affine, plane)
    own = found.affine(affine, shape, 1)
    across, rows, columns = PLANES[plane]
    assert own[rows, 0] == -(2 + rows) and own[columns, 1] == -(2 + columns) and abs(own[across, 2]) == 2 + across
    assert np.count_nonzero(own[:3, :3]) == 3


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("affine", ORIENTATIONS[::5])
def test_a_pixel_is_the_voxel_at_the_same_place(affine: np.ndarray, plane: str) -> None:
    shape = (3, 4, 5)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(float)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]  # [I, J, K, 3]
    found = slice_plane(affine, plane)
    slices, height, width = found.size(shape)
    for index in range(slices):
        own = found.affine(affine, shape, index)
        places = found.take(world, index)
        assert places.shape == (3, height, width)
        for row, column in itertools.product(range(height), range(width)):
            assert np.allclose(places[:, row, column], (own @ [row, column, 0, 1])[:3])


def test_oblique_volumes_use_the_closest_axes() -> None:
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, -1.0, 3.0])
    assert slice_plane(affine, "axial") == SlicePlane((2, 1, 0), (False, False))


def test_take_and_put_are_inverse() -> None:
    volume = np.arange(60).reshape(3, 4, 5)
    copy = np.zeros_like(volume)
    plane = slice_plane(np.diag([1.0, 1, 1, 1]), "coronal")
    for index in range(4):
        plane.put(copy, index, plane.take(volume, index))
    assert np.array_equal(copy, volume)
    assert plane.take(volume, 0).tolist() == volume[::-1, 0, ::-1].T.tolist()


def test_errors() -> None:
    with pytest.raises(ValueError, match="axial, coronal, sagittal"):
        slice_plane(np.eye(4), "transverse")
    for bad in (np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match="affine"):
            slice_plane(bad, "axial")
    with pytest.raises(IndexError, match="slice index 5 is outside the volume's 5 slices"):
        slice_plane(np.eye(4), "axial").take(np.zeros((3, 4, 5)), 5)
