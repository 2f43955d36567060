"""MONAI dictionary transforms that choose the object of a training sample and simulate the first clicks on it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.misc import ensure_tuple_rep
from numpy.typing import NDArray

from adaptiveclick_med.clicks import points_tensor
from adaptiveclick_med.simulation import sample_initial_clicks
from adaptiveclick_med.transforms.objects import (
    LabelObject,
    ObjectTree,
    label_array,
    label_objects,
    like_label,
    objects_mask,
    plain_array,
    target_and_others,
)

__all__ = ["RandSelectTargetd", "RandSimulateClicksd", "SelectTargetd"]


class RandSelectTargetd(RandomizableTransform, MapTransform):
    """Choose one object of a label at random, or the union of two, as the target of a training sample.

    The label is [L, H, W] of whole numbers: above 0 object ids, unique across layers, 0 background, -1 ignore. The
    target is [1, H, W] float32: 1 on the chosen object, -1 where a layer says ignore and the object is not, else 0. The
    other objects are [1, H, W] uint8: 1 on any of them, without the target. Areas are those visible in the label as it
    comes, so use this after cropping. When no object is large enough the target has no object.

    A sample may have a hierarchy, [N, 2]: an object's number, and the number of the object that it is a part of, or 0.
    Then the choice starts among objects that are no part of another; with ``part_probability`` it goes down to one of
    the chosen object's parts, and from there again. An object below the limits is passed over: its parts belong to what
    it is a part of. The other objects are without those that the target is a part of, and without its own parts. What
    is left of the object that the target was taken from is written to ``required_key``, [1, H, W] uint8, zeros when the
    target is no part; :class:`RandSimulateClicksd` takes it.

    A sample without a hierarchy may tell which object it was cut around (:class:`RandWindowd`). With
    ``focus_probability`` that object is chosen, where it is large enough, alone or in the union.

    A sample may tell how many of its objects are instances. Those of a higher number are "stuff" (sky, grass). With
    ``stuff_probability`` they take part in a sample; otherwise they are neither target nor other objects.

    Where the label is a ``MetaTensor`` all results are, with its affine and meta data; otherwise they are tensors.

    Args:
        keys: keys of the labels.
        target_key: keys of the targets, one for each of ``keys``.
        others_key: keys of the other objects, one for each of ``keys``.
        merge_probability: how often the target is the union of two objects, when there are two.
        min_area: smallest area of an object in pixels (the paper: 20 for SBD, 1000 for COCO-LVIS).
        min_box_fraction: smallest part of its box that an object fills (the paper: 0.08 for SBD).
        drop_small: whether objects under these limits become background; otherwise they still count as other objects.
        allow_missing_keys: do nothing for a key that is missing.
        stuff_probability: how often stuff takes part (the paper: 0.3 for COCO-LVIS).
        part_probability: how often the choice goes down to a part (the paper's option: 0.5).
        hierarchy_key: keys of the hierarchies, one for each of ``keys``; missing ones for labels without parts.
        num_instances_key: keys of the numbers of instances, likewise; without one nothing is stuff.
        required_key: keys of the rests of objects, one for each of ``keys``; written where there is a hierarchy.
        focus_probability: how often the object that a sample was cut around is chosen.
        focus_key: keys of that object's number, one for each of ``keys``; missing or 0: no such object.

    Raises:
        ValueError: when an argument is out of its range, a label is not of shape [L, H, W], or a hierarchy not [N, 2].

    Example:
        >>> import torch
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
        *,
        stuff_probability: float = 0.0,
        part_probability: float = 0.0,
        hierarchy_key: KeysCollection = "hierarchy",
        num_instances_key: KeysCollection = "num_instances",
        required_key: KeysCollection = "required",
        focus_probability: float = 0.75,
        focus_key: KeysCollection = "focus",
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        for name, fraction in (
            ("merge_probability", merge_probability),
            ("min_box_fraction", min_box_fraction),
            ("stuff_probability", stuff_probability),
            ("part_probability", part_probability),
            ("focus_probability", focus_probability),
        ):
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
        self.stuff_probability = stuff_probability
        self.part_probability = part_probability
        self.hierarchy_key = ensure_tuple_rep(hierarchy_key, len(self.keys))
        self.num_instances_key = ensure_tuple_rep(num_instances_key, len(self.keys))
        self.required_key = ensure_tuple_rep(required_key, len(self.keys))
        self.focus_probability = focus_probability
        self.focus_key = ensure_tuple_rep(focus_key, len(self.keys))
        self._chosen: list[LabelObject] = []
        self._wholes: list[LabelObject] = []

    def randomize(self, data: Sequence[LabelObject], tree: ObjectTree | None = None, focus: int = 0) -> None:
        """Choose among the objects of one label, and then among the parts of what was chosen.

        Args:
            data: the objects that may be chosen.
            tree: which of them are parts of which, if any.
            focus: number of the object that the sample was cut around, 0: none.
        """
        things = data if tree is None else tree.roots
        count = 0 if not things else 1
        if len(things) >= 2 and self.R.random_sample() < self.merge_probability:
            count = 2
        indices = self.R.choice(len(things), size=count, replace=False).tolist() if count else []
        if tree is None and focus and count and self.R.random_sample() < self.focus_probability:
            seen = next((index for index, thing in enumerate(things) if thing.number == focus), None)
            if seen is not None:
                indices = [seen, *(index for index in indices if index != seen)][:count]
        self._chosen, self._wholes = [things[index] for index in indices], []
        if tree is not None:
            self._chosen = [self._descend(thing, tree) for thing in self._chosen]

    def _descend(self, thing: LabelObject, tree: ObjectTree) -> LabelObject:
        """Return the object or, at random, a part of it, a part of that, and so on; keep what a part was taken from."""
        whole = None
        while (parts := tree.parts(thing)) and self.R.random_sample() < self.part_probability:
            whole, thing = thing, parts[self.R.randint(len(parts))]
        if whole is not None:
            self._wholes.append(whole)
        return thing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with a target and the other objects added for every label."""
        d = dict(data)
        for key, target_key, others_key, hierarchy_key, instances_key, required_key, focus_key in self.key_iterator(
            d,
            self.target_key,
            self.others_key,
            self.hierarchy_key,
            self.num_instances_key,
            self.required_key,
            self.focus_key,
        ):
            label = label_array(d[key], key)
            found = label_objects(label)
            if instances_key in d and self.R.random_sample() >= self.stuff_probability:
                found = [thing for thing in found if thing.number <= int(d[instances_key])]
            eligible = [
                thing
                for thing in found
                if thing.area >= self.min_area and thing.area >= self.min_box_fraction * thing.box_area
            ]
            tree = ObjectTree(d[hierarchy_key], eligible) if hierarchy_key in d else None
            self.randomize(eligible, tree, int(d.get(focus_key, 0)))
            kept = eligible if self.drop_small else found
            if tree is not None:
                kept = [thing for thing in kept if not any(tree.related(thing, chosen) for chosen in self._chosen)]
            d[target_key], d[others_key] = target_and_others(label, self._chosen, kept, like=d[key])
            if tree is not None:
                rest = objects_mask(label, self._wholes) & ~objects_mask(label, self._chosen)
                d[required_key] = like_label(rest.astype(np.uint8), d[key])
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
            label = label_array(d[key], key)
            number = int(d[id_key])
            found = label_objects(label)
            chosen = [thing for thing in found if thing.number == number]
            if not chosen:
                present = [thing.number for thing in found]
                raise ValueError(f"{id_key!r} is {number}, but {key!r} holds the objects {present}.")
            d[target_key], d[others_key] = target_and_others(label, chosen, found, like=d[key])
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
        >>> import torch
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


def _plane(value: Any, key: Hashable) -> NDArray[Any]:
    """Return [H, W] of a [1, H, W] entry."""
    array = plain_array(value)
    if array.ndim != 3 or array.shape[0] != 1:
        raise ValueError(f"{key!r} must be of shape [1, H, W], got {list(array.shape)}.")
    return array[0]
