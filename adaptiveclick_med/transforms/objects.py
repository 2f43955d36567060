"""The objects of a label: which there are, which are parts of others, and how targets are drawn from them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = [
    "LabelObject",
    "ObjectTree",
    "label_array",
    "label_objects",
    "like_label",
    "objects_mask",
    "plain_array",
    "target_and_others",
]

_LARGEST_DIRECT_ID = 65535


@dataclass(frozen=True)
class LabelObject:
    """One object of a label.

    Args:
        number: its id.
        layer: the layer where it lies.
        area: in pixels.
        box_area: area of its box, in pixels.
    """

    number: int
    layer: int
    area: int
    box_area: int


class ObjectTree:
    """Which objects are parts of which, among those that may be chosen.

    An object that may not be chosen (too small, outside the crop) is passed over: its parts belong to what it is a part
    of.

    Args:
        hierarchy: [N, 2] whole numbers: an object's number, and the number of the object that it is a part of, or 0.
        eligible: the objects that may be chosen.

    Raises:
        ValueError: when the hierarchy is of another shape, or an object is a part of itself.
    """

    def __init__(self, hierarchy: Any, eligible: Sequence[LabelObject]) -> None:
        pairs = plain_array(hierarchy)
        if pairs.size == 0:
            pairs = np.zeros((0, 2), dtype=np.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(f"the hierarchy must be whole numbers [N, 2], got {pairs.dtype} {list(pairs.shape)}.")
        self._parents = {number: parent for number, parent in pairs.tolist() if parent > 0}
        self._eligible = {thing.number: thing for thing in eligible}
        self._wholes = {thing.number: self._nearest(thing.number) for thing in eligible}

    def _nearest(self, number: int) -> int | None:
        return next((above for above in self.ancestors(number) if above in self._eligible), None)

    @property
    def roots(self) -> list[LabelObject]:
        """The objects that are no part of another, in the order of the label."""
        return [thing for number, thing in self._eligible.items() if self._wholes[number] is None]

    def parts(self, thing: LabelObject) -> list[LabelObject]:
        """Return the direct parts of an object, in the order of the label."""
        return [self._eligible[number] for number, whole in self._wholes.items() if whole == thing.number]

    def ancestors(self, number: int) -> list[int]:
        """Return the numbers of all objects that an object is a part of, the smallest first.

        Raises:
            ValueError: when the object is a part of itself.
        """
        found = [number]
        while number in self._parents:
            number = self._parents[number]
            if number in found:
                raise ValueError(f"object {number} of the hierarchy is a part of itself.")
            found.append(number)
        return found[1:]

    def related(self, one: LabelObject, other: LabelObject) -> bool:
        """Tell whether one of two objects is a part of the other, or a part of its parts."""
        return one.number in self.ancestors(other.number) or other.number in self.ancestors(one.number)


def plain_array(value: Any) -> NDArray[Any]:
    """Return the values of an array or a tensor."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def label_array(value: Any, key: Hashable) -> NDArray[np.int64]:
    """Return a label [L, H, W] as whole numbers.

    Args:
        value: array or tensor.
        key: where it comes from, for the message.

    Raises:
        ValueError: when it is of another shape.
    """
    array = plain_array(value)
    if array.ndim != 3 or array.shape[0] == 0:
        raise ValueError(f"{key!r} must be of shape [L, H, W], got {list(array.shape)}.")
    return array.astype(np.int64, copy=False)


def label_objects(label: NDArray[np.int64]) -> list[LabelObject]:
    """List the objects of a label [L, H, W], by layer and id."""
    objects = []
    for index, layer in enumerate(label):
        numbers = layer.clip(min=0)
        names = None
        if numbers.max(initial=0) > _LARGEST_DIRECT_ID:
            names, numbers = np.unique(np.append(0, numbers), return_inverse=True)
            numbers = numbers[1:].reshape(layer.shape)
        areas = np.bincount(numbers.ravel())
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            if box is not None:
                box_area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
                name = number if names is None else int(names[number])
                objects.append(LabelObject(name, index, int(areas[number]), box_area))
    return objects


def objects_mask(label: NDArray[np.int64], things: Sequence[LabelObject]) -> NDArray[np.bool_]:
    """Return where a label [L, H, W] shows any of some objects, [H, W]."""
    mask = np.zeros(label.shape[1:], dtype=bool)
    for thing in things:
        mask |= label[thing.layer] == thing.number
    return mask


def like_label(array: NDArray[Any], like: Any) -> Tensor:
    """Return [H, W] as a tensor [1, H, W], with affine and meta data where ``like`` is a ``MetaTensor``."""
    result = torch.from_numpy(array)[None]
    return MetaTensor(result).copy_meta_from(like) if isinstance(like, MetaTensor) else result


def target_and_others(
    label: NDArray[np.int64], chosen: Sequence[LabelObject], kept: Sequence[LabelObject], *, like: Any
) -> tuple[Tensor, Tensor]:
    """Draw the target and the other kept objects of a label, with the meta data of the entry they come from.

    Returns:
        target [1, H, W] float32: 1 on the chosen objects, -1 where a layer says ignore and they are not, else 0; others
        [1, H, W] uint8: 1 on the kept objects that are not chosen, without the target.
    """
    wanted = objects_mask(label, chosen)
    other = np.isin(label, [thing.number for thing in kept if thing not in chosen]).any(axis=0) & ~wanted
    target = wanted.astype(np.float32)
    target[(label < 0).any(axis=0) & ~wanted] = -1.0
    return like_label(target, like), like_label(other.astype(np.uint8), like)
