"""MONAI dictionary transforms that choose the object of a training sample and simulate the first clicks on it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.misc import ensure_tuple_rep
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from adaptiveclick_med.clicks import points_tensor
from adaptiveclick_med.simulation import sample_initial_clicks

__all__ = ["RandSelectTargetd", "RandSimulateClicksd", "SelectTargetd"]

_LARGEST_DIRECT_ID = 65535


@dataclass(frozen=True)
class _LabelObject:
    """One object of a label: its id, its layer, its area in pixels and the area of its box."""

    number: int
    layer: int
    area: int
    box_area: int


class RandSelectTargetd(RandomizableTransform, MapTransform):
    """Choose one object of a label at random, or the union of two, as the target of a training sample.

    The label is [L, H, W] of whole numbers: above 0 object ids, unique across layers, 0 background, -1 ignore. The
    target is [1, H, W] float32: 1 on the chosen object, -1 where a layer says ignore and the object is not, else 0. The
    other objects are [1, H, W] uint8: 1 on any of them, without the target. Areas are those visible in the label as it
    comes, so use this after cropping. When no object is large enough the target has no object.

    Where the label is a ``MetaTensor`` both results are, with its affine and meta data; otherwise they are tensors.

    Args:
        keys: keys of the labels.
        target_key: keys of the targets, one for each of ``keys``.
        others_key: keys of the other objects, one for each of ``keys``.
        merge_probability: how often the target is the union of two objects, when there are two.
        min_area: smallest area of an object in pixels (the paper: 20 for SBD, 1000 for COCO-LVIS).
        min_box_fraction: smallest part of its box that an object fills (the paper: 0.08 for SBD).
        drop_small: whether objects under these limits become background; otherwise they still count as other objects.
        allow_missing_keys: do nothing for a key that is missing.

    Raises:
        ValueError: when an argument is out of its range, or a label is not of shape [L, H, W].

    Example:
        >>> select = RandSelectTargetd(keys="label", min_area=1).set_random_state(seed=0)
        >>> label = torch.tensor([[[0, 7, 7], [0, 0, -1]]])
        >>> select({"label": label})["target"]
        tensor([[[ 0.,  1.,  1.],
                 [ 0.,  0., -1.]]])
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        target_key: KeysCollection = "target",
        others_key: KeysCollection = "others",
        merge_probability: float = 0.15,
        min_area: int = 20,
        min_box_fraction: float = 0.0,
        drop_small: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        for name, fraction in (("merge_probability", merge_probability), ("min_box_fraction", min_box_fraction)):
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {fraction}.")
        if min_area < 1:
            raise ValueError(f"min_area must be at least 1, got {min_area}.")
        self.target_key = ensure_tuple_rep(target_key, len(self.keys))
        self.others_key = ensure_tuple_rep(others_key, len(self.keys))
        self.merge_probability = merge_probability
        self.min_area = min_area
        self.min_box_fraction = min_box_fraction
        self.drop_small = drop_small
        self._chosen: list[_LabelObject] = []

    def randomize(self, data: Sequence[_LabelObject]) -> None:
        """Choose among the objects of one label."""
        count = 0 if not data else 1
        if len(data) >= 2 and self.R.random_sample() < self.merge_probability:
            count = 2
        indices = self.R.choice(len(data), size=count, replace=False).tolist() if count else []
        self._chosen = [data[index] for index in indices]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with a target and the other objects added for every label."""
        d = dict(data)
        for key, target_key, others_key in self.key_iterator(d, self.target_key, self.others_key):
            label = _label_array(d[key], key)
            found = _label_objects(label)
            eligible = [
                thing
                for thing in found
                if thing.area >= self.min_area and thing.area >= self.min_box_fraction * thing.box_area
            ]
            self.randomize(eligible)
            kept = eligible if self.drop_small else found
            d[target_key], d[others_key] = _target_and_others(label, self._chosen, kept, like=d[key])
        return d


class SelectTargetd(MapTransform):
    """Choose one object of a label by its id, as the target of an evaluation sample.

    The results are those of :class:`RandSelectTargetd`; nothing is dropped for its size.

    Args:
        keys: keys of the labels.
        object_id_key: keys of the ids, one for each of ``keys``.
        target_key: keys of the targets, one for each of ``keys``.
        others_key: keys of the other objects, one for each of ``keys``.
        allow_missing_keys: do nothing for a key that is missing.

    Raises:
        KeyError: when the dictionary has a label but no id for it.
        ValueError: when a label is not of shape [L, H, W] or holds no object of that id.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        object_id_key: KeysCollection = "object_id",
        target_key: KeysCollection = "target",
        others_key: KeysCollection = "others",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.object_id_key = ensure_tuple_rep(object_id_key, len(self.keys))
        self.target_key = ensure_tuple_rep(target_key, len(self.keys))
        self.others_key = ensure_tuple_rep(others_key, len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with a target and the other objects added for every label."""
        d = dict(data)
        for key, id_key, target_key, others_key in self.key_iterator(
            d, self.object_id_key, self.target_key, self.others_key
        ):
            if id_key not in d:
                raise KeyError(f"{key!r} needs an object id under {id_key!r}.")
            label = _label_array(d[key], key)
            number = int(d[id_key])
            found = _label_objects(label)
            chosen = [thing for thing in found if thing.number == number]
            if not chosen:
                present = [thing.number for thing in found]
                raise ValueError(f"{id_key!r} is {number}, but {key!r} holds the objects {present}.")
            d[target_key], d[others_key] = _target_and_others(label, chosen, found, like=d[key])
        return d


class RandSimulateClicksd(RandomizableTransform, MapTransform):
    """Simulate the first clicks on the target of a training sample.

    See :func:`adaptiveclick_med.simulation.sample_initial_clicks` for how clicks are drawn. The points are [2N, 3]
    float32 of (row, column, order) in pixels of the target, N = ``capacity``, the first N positive, the last N
    negative, empty places -1. A target without an object gets negative clicks only. Clicks that training adds later go
    into places that are still empty.

    Args:
        keys: keys of the targets [1, H, W]: 1 object, 0 background, -1 ignore.
        others_key: keys of the other objects [1, H, W], one for each of ``keys``; no other objects when missing.
        points_key: keys of the points, one for each of ``keys``.
        required_key: keys of regions [1, H, W] that get the first negative click, one for each of ``keys``; ``None`` or
            missing for no such region.
        max_clicks: the largest number of clicks of each sign.
        capacity: places for clicks of each sign, at least ``max_clicks``.
        decay: the ratio of neighbouring count probabilities.
        inner_probability: how often positive clicks keep away from the object's border.
        negative_probabilities: of negative clicks in (everything outside the target, other objects, outer border).
        allow_missing_keys: do nothing for a key that is missing.

    Raises:
        ValueError: when ``capacity`` is less than ``max_clicks``, or a target is not of shape [1, H, W].

    Example:
        >>> simulate = RandSimulateClicksd(keys="target", capacity=24).set_random_state(seed=0)
        >>> simulate({"target": torch.ones(1, 8, 8)})["points"].shape
        torch.Size([48, 3])
    """

    def __init__(
        self,
        keys: KeysCollection = "target",
        others_key: KeysCollection = "others",
        points_key: KeysCollection = "points",
        required_key: KeysCollection | None = None,
        max_clicks: int = 24,
        capacity: int = 24,
        decay: float = 0.8,
        inner_probability: float = 0.9,
        negative_probabilities: Sequence[float] = (0.1, 0.4, 0.5),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        if not 1 <= max_clicks <= capacity:
            raise ValueError(f"max_clicks must be between 1 and capacity ({capacity}), got {max_clicks}.")
        self.others_key = ensure_tuple_rep(others_key, len(self.keys))
        self.points_key = ensure_tuple_rep(points_key, len(self.keys))
        self.required_key = ensure_tuple_rep(required_key, len(self.keys))
        self.max_clicks = max_clicks
        self.capacity = capacity
        self.decay = decay
        self.inner_probability = inner_probability
        self.negative_probabilities = tuple(negative_probabilities)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with points added for every target."""
        d = dict(data)
        for key, others_key, points_key, required_key in self.key_iterator(
            d, self.others_key, self.points_key, self.required_key
        ):
            clicks = sample_initial_clicks(
                _plane(d[key], key),
                _plane(d[others_key], others_key) if others_key in d else None,
                self.R,
                required=_plane(d[required_key], required_key) if required_key in d else None,
                max_clicks=self.max_clicks,
                decay=self.decay,
                inner_probability=self.inner_probability,
                negative_probabilities=self.negative_probabilities,
            )
            d[points_key] = points_tensor([clicks], capacity=self.capacity)[0]
        return d


def _array(value: Any) -> NDArray[Any]:
    """Return the values of an array or a tensor."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _plane(value: Any, key: Hashable) -> NDArray[Any]:
    """Return [H, W] of a [1, H, W] entry."""
    array = _array(value)
    if array.ndim != 3 or array.shape[0] != 1:
        raise ValueError(f"{key!r} must be of shape [1, H, W], got {list(array.shape)}.")
    return array[0]


def _label_array(value: Any, key: Hashable) -> NDArray[np.int64]:
    """Return a label [L, H, W] as whole numbers."""
    array = _array(value)
    if array.ndim != 3 or array.shape[0] == 0:
        raise ValueError(f"{key!r} must be of shape [L, H, W], got {list(array.shape)}.")
    return array.astype(np.int64, copy=False)


def _label_objects(label: NDArray[np.int64]) -> list[_LabelObject]:
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
                objects.append(_LabelObject(name, index, int(areas[number]), box_area))
    return objects


def _target_and_others(
    label: NDArray[np.int64], chosen: Sequence[_LabelObject], kept: Sequence[_LabelObject], *, like: Any
) -> tuple[Tensor, Tensor]:
    """Draw the target and the other kept objects of a label, with the meta data of the entry they come from."""
    wanted = np.zeros(label.shape[1:], dtype=bool)
    for thing in chosen:
        wanted |= label[thing.layer] == thing.number
    other = np.isin(label, [thing.number for thing in kept if thing not in chosen]).any(axis=0) & ~wanted
    target = wanted.astype(np.float32)
    target[(label < 0).any(axis=0) & ~wanted] = -1.0
    results = (torch.from_numpy(target)[None], torch.from_numpy(other.astype(np.uint8))[None])
    if isinstance(like, MetaTensor):
        return tuple(MetaTensor(result).copy_meta_from(like) for result in results)  # type: ignore[return-value]
    return results
