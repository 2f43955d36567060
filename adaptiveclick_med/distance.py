"""Exact Euclidean distance transforms: how deep inside a region a pixel lies.

The depth of a pixel is its distance to the nearest pixel outside the region. Everything outside the image counts as
outside the region. Squared distances are whole numbers, so comparing them finds ties without any rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = ["bounding_box", "distance_to_background", "squared_depth", "squared_distance_to_background"]

_CHUNK_ELEMENTS = 1 << 26


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the smallest box that holds all pixels of a mask.

    Args:
        mask: boolean [H, W].

    Returns:
        The (row, column) slices of the box, or ``None`` when the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def squared_depth(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the exact squared distance of every pixel to the nearest pixel outside one mask.

    Args:
        mask: boolean [H, W]; everything outside the array counts as outside the mask.

    Returns:
        int32 [H, W] in squared pixels, 0 outside the mask.
    """
    padded = np.pad(mask, 1)
    nearest = ndimage.distance_transform_edt(padded, return_distances=False, return_indices=True)
    nearest[0] -= np.arange(padded.shape[0], dtype=np.int32)[:, None]
    nearest[1] -= np.arange(padded.shape[1], dtype=np.int32)
    nearest *= nearest
    squares: NDArray[np.int32] = nearest[0] + nearest[1]
    return squares[1:-1, 1:-1]


def squared_distance_to_background(mask: Tensor) -> Tensor:
    """Return the exact squared distance of every pixel to the nearest pixel outside its mask.

    On the CPU the work is done by SciPy, only inside the box around each mask. On any other device it is done there for
    the whole batch, without a transfer to the host. Both ways give the same numbers.

    Args:
        mask: boolean [B, 1, H, W] or [B, H, W]; everything outside the image counts as outside the mask.

    Returns:
        int32 in squared pixels, of the shape and on the device of ``mask``, 0 outside the mask.

    Raises:
        TypeError: when ``mask`` is not a boolean tensor.
        ValueError: when ``mask`` has another shape.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = f"a tensor of {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a boolean tensor, got {kind}.")
    if mask.ndim not in (3, 4) or (mask.ndim == 4 and mask.shape[1] != 1):
        raise ValueError(f"mask must be of shape [B, 1, H, W] or [B, H, W], got {list(mask.shape)}.")
    if mask.numel() == 0:
        return torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    masks = mask.as_subclass(Tensor).reshape(mask.shape[0], *mask.shape[-2:])
    squares = _transform_with_scipy(masks) if mask.device.type == "cpu" else _transform_on_device(masks)
    return squares.reshape(mask.shape)


def distance_to_background(mask: Tensor) -> Tensor:
    """Return the exact Euclidean distance of every pixel to the nearest pixel outside its mask.

    Args:
        mask: boolean [B, 1, H, W] or [B, H, W]; everything outside the image counts as outside the mask.

    Returns:
        float32 in pixels, of the shape and on the device of ``mask``, 0 outside the mask.

    Raises:
        TypeError: when ``mask`` is not a boolean tensor.
        ValueError: when ``mask`` has another shape.

    Example:
        >>> mask = torch.zeros(1, 5, 5, dtype=torch.bool)
        >>> mask[0, 1:4, 1:4] = True
        >>> distance_to_background(mask)[0, 2]
        tensor([0., 1., 2., 1., 0.])
    """
    return squared_distance_to_background(mask).to(torch.float32).sqrt()


def _transform_with_scipy(masks: Tensor) -> Tensor:
    """Squared distances [B, H, W] of masks on the CPU, each inside its own box."""
    arrays: NDArray[np.bool_] = masks.detach().numpy()
    result = np.zeros(arrays.shape, dtype=np.int32)
    for array, squares in zip(arrays, result, strict=True):
        box = bounding_box(array)
        if box is not None:
            squares[box] = squared_depth(array[box])
    return torch.from_numpy(result)


def _transform_on_device(masks: Tensor) -> Tensor:
    """Squared distances [B, H, W] of masks on any device, one axis after the other.

    First the distance to the nearest background along the longer axis, then for every line along the shorter axis the
    least sum of that square and the squared offset.
    """
    batch, height, width = masks.shape
    if width > height:
        return _transform_on_device(masks.transpose(1, 2)).transpose(1, 2)
    position = torch.arange(1, height + 1, dtype=torch.int32, device=masks.device)[:, None]
    before = torch.where(masks, 0, position).cummax(dim=1).values
    after = torch.where(masks, height + 1, position).flip(1).cummin(dim=1).values.flip(1)
    lines = torch.minimum(position - before, after - position).square().reshape(batch * height, 1, width)

    column = torch.arange(width, dtype=torch.int32, device=masks.device)
    offsets = (column[:, None] - column[None, :]).square()
    border = torch.minimum(column + 1, width - column).square()
    chunk = max(1, _CHUNK_ELEMENTS // (width * width))
    nearest = torch.cat([(part + offsets).amin(-1) for part in lines.split(chunk)])
    return torch.minimum(nearest, border).reshape(batch, height, width)
