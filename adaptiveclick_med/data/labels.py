"""Label arrays to layers of objects, and the size of objects in the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.geometry import SlicePlane

__all__ = ["LABEL_TYPES", "check_label", "label_layers", "largest_object", "picture_label", "slice_areas"]

LABEL_TYPES = ("auto", "instances", "labels", "binary", "trimap", "components", "binary_components")
"""What the values of a label mean.

- ``instances``, ``labels``: each distinct value above 0 is one object (an instance map, or a map of classes).
- ``binary``: everything above 0 is one object.
- ``trimap``: everything above 128 is one object, 128 is ignored, the rest is background.
- ``components``: each 8-connected component (in 2-D) of each value is one object.
- ``binary_components``: each 8-connected component of everything above 0 is one object.
- ``auto``: as ``instances``, so a mask with one value is one object. A mask with soft edges is refused (see
  :func:`check_label`), because its grey levels would become objects.
"""


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return the label values as integers or bool.

    Raises:
        ValueError: when a value is not a whole number (within 0.001) or does not fit 32 bits.
    """
    if array.dtype.kind in "iub":
        return array
    if not np.isfinite(array).all():
        raise ValueError("the label has values that are not finite")
    rounded = np.rint(array)
    off = np.atleast_1d(np.abs(array - rounded) > 1e-3)
    if off.any():
        raise ValueError(f"label values must be whole numbers, got for example {float(array[off].flat[0]):g}")
    if rounded.size and np.abs(rounded).max() > np.iinfo(np.int32).max:
        raise ValueError("label values must be below 2**31")
    return rounded.astype(np.int32)


def check_label(array: NDArray[Any], label_type: str, ignore_value: int | None) -> None:
    """Check the values of a whole label, picture or volume.

    Raises:
        ValueError: when the type is unknown; when values are not whole numbers, or negative (but for -1, ignore); when
            the type is ``"auto"`` and the values look like a mask with soft edges: the largest is 255 and there are
            others.
    """
    if label_type not in LABEL_TYPES:
        raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {label_type!r}.")
    whole = _whole(array)
    if whole.dtype.kind == "i" and whole.size and whole.min() < 0:
        bad = whole[(whole < 0) & (whole != -1) & (whole != (-1 if ignore_value is None else ignore_value))]
        if bad.size:
            raise ValueError(f"label values must not be negative (but for -1, ignore), got {int(bad.flat[0])}")
    if label_type == "auto" and whole.dtype.kind != "b" and whole.size and whole.max() == 255 and ignore_value is None:
        values = np.flatnonzero(np.bincount(whole[whole > 0].ravel()))
        if 1 < len(values) < 255:
            raise ValueError(
                f"255 and {len(values) - 1} other values above 0 are in the label, so label_type='auto' cannot tell "
                "what they mean: pass ignore_value=255 if 255 marks pixels to ignore, label_type='binary' or "
                "'binary_components' for a mask with soft edges, or label_type='instances' if each value is an object"
            )


def picture_label(array: NDArray[Any], label_type: str) -> NDArray[Any]:
    """Return a label picture as [H, W].

    Args:
        array: [H, W], or [H, W, 3] from a colour picture.
        label_type: for the binary types, a pixel is on when any colour is; for others, the three colours must be equal.

    Raises:
        ValueError: when the label is coloured and its type is not a binary one.
    """
    if array.ndim == 2:
        return array
    if label_type in ("binary", "binary_components"):
        return np.asarray(array.max(axis=-1))
    if (array != array[..., :1]).any():
        raise ValueError(
            "the label is a colour picture; save object numbers as a grey or palette picture, or pass "
            "label_type='binary' or 'binary_components' to take every pixel that is not black"
        )
    return np.asarray(array[..., 0])


def label_layers(
    array: NDArray[Any], label_type: str, ignore_value: int | None = None, labels: Sequence[int] | None = None
) -> NDArray[np.int32]:
    """Turn the label of one picture or slice into layers of objects.

    Args:
        array: [H, W], or [L, H, W] where objects overlap.
        label_type: one of :data:`LABEL_TYPES`.
        ignore_value: value of pixels that count nowhere; -1 always does.
        labels: values that count; all others above 0 become background. ``None``: all values count.

    Returns:
        [L, H, W] int32: object numbers above 0, 0 background, -1 ignore. Numbers are the label's values where each
        value is an object, else 1, 2, ...; they are distinct across layers. Ignored pixels are -1 in all layers.

    Raises:
        ValueError: when the type is unknown, or values are not whole numbers.
    """
    if label_type not in LABEL_TYPES:
        raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {label_type!r}.")
    layers = _whole(array if array.ndim == 3 else array[None])
    ignore = np.zeros(layers.shape[1:], dtype=bool)
    if layers.dtype.kind != "b":
        values = {-1} if ignore_value is None else {-1, ignore_value}
        marked = np.isin(layers, list(values))
        layers = np.where(marked, 0, layers)
        ignore |= marked.any(axis=0)
    if label_type == "trimap":
        ignore |= (layers == 128).any(axis=0)
        layers = layers > 128
    elif labels is not None:
        layers = np.where(np.isin(layers, list(labels)), layers, 0)
    result = np.zeros(layers.shape, dtype=np.int32)
    used: set[int] = set()
    for target, layer in zip(result, layers, strict=True):
        target[...] = _numbered(layer, label_type)
        numbers = set(np.unique(target[target > 0]).tolist())
        if used & numbers:
            target[target > 0] += max(used)
            numbers = {number + max(used) for number in numbers}
        used |= numbers
    result[:, ignore & ~(result > 0).any(axis=0)] = -1
    return result


def _numbered(layer: NDArray[Any], label_type: str) -> NDArray[Any]:
    """Return one layer [H, W] as object numbers."""
    foreground = layer > 0
    if label_type in ("binary", "trimap"):
        return foreground
    if label_type in ("components", "binary_components"):
        from skimage.measure import label

        values = foreground if label_type == "binary_components" else np.where(foreground, layer, 0)
        return np.asarray(label(values, connectivity=2))
    return np.where(foreground, layer, 0)


def largest_object(layers: NDArray[np.int32]) -> int:
    """Return the area in pixels of the largest object of [L, H, W] layers, 0 when there is none."""
    area = 0
    for layer in layers:
        numbers = layer[layer > 0]
        if numbers.size:
            area = max(area, int(np.unique(numbers, return_counts=True)[1].max()))
    return area


def slice_areas(
    array: NDArray[Any],
    plane: SlicePlane,
    label_type: str,
    ignore_value: int | None = None,
    labels: Sequence[int] | None = None,
) -> dict[int, int]:
    """Return the area in pixels of the largest object of each slice that has an object.

    Args:
        array: label of a volume, [I, J, K] or with layers [I, J, K, L].
        plane: the plane of the slices.
        label_type: one of :data:`LABEL_TYPES`.
        ignore_value: value of voxels that count nowhere.
        labels: see :func:`label_layers`.

    Returns:
        slice index (along the array axis) to area, in ascending order.
    """
    areas = {}
    for index, section in enumerate(plane.view(array)):
        if section.any():
            section = np.moveaxis(section, -1, 0) if section.ndim == 3 else section
            area = largest_object(label_layers(section, label_type, ignore_value, labels))
            if area:
                areas[index] = area
    return areas
