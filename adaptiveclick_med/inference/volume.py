"""Click on objects in a volume, on any plane, and carry their masks through the slices."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from copy import copy
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.inference.crop import ZoomIn
from adaptiveclick_med.inference.prediction import Candidate
from adaptiveclick_med.inference.propagation import DIRECTIONS, Propagation, PropagationRule, carry_object
from adaptiveclick_med.inference.session import InteractiveSession
from adaptiveclick_med.inference.slice_click import choose_candidate, click_slice, on_slice
from adaptiveclick_med.inference.state import SessionState
from adaptiveclick_med.inference.volume_image import VolumeImage
from adaptiveclick_med.inference.volume_object import ObjectSlice, Part, SlicePrediction, VolumeClick, VolumeObject
from adaptiveclick_med.networks import ClickModel
from adaptiveclick_med.transforms.intensity import Intensity

__all__ = ["VolumeSession"]


class VolumeSession:
    """Objects in a volume: clicks on slices go in, masks on the volume's own grid come out.

    Every slice is segmented by an :class:`InteractiveSession`. A slice that already shows the object, from a neighbour,
    another plane or :meth:`set_mask`, is corrected from there. Slices with unequal pixel sides are made square first.

    Coordinates are voxel indices (i, j, k) of the array, or world millimetres. A voxel's centre has whole indices.

    Args:
        network: see :class:`InteractiveSession`.
        crop_size: see there.
        zoom_in: see there.
        flip: see there.
        threshold: see there.
        max_clicks: most clicks on one object in one slice.
        undo_limit: how many actions can be undone.
        max_anisotropy: largest ratio of a slice's pixel sides that is segmented as it is.
        propagation_rule: when a propagation stops.
        cache_bytes: memory for prepared slices, and as much again for known answers.
        second_look: see :class:`InteractiveSession`; at the first click on a slice that does not show the object yet.

    Example:
        >>> from adaptiveclick_med.networks import AdaptiveClick
        >>> session = VolumeSession(AdaptiveClick.from_preset("nano").eval())
        >>> session.set_volume(np.zeros((40, 48, 5), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
        >>> prediction = session.click((20, 24, 2), label=1, plane="axial")
        >>> prediction.mask.shape, prediction.index, session.mask(1).shape
        ((48, 40), 2, (40, 48, 5))
    """

    def __init__(
        self,
        network: ClickModel | Callable[..., Any],
        crop_size: int | tuple[int, int] | None = None,
        zoom_in: bool | ZoomIn = True,
        flip: bool = True,
        threshold: float = 0.49,
        *,
        max_clicks: int = 100,
        undo_limit: int = 50,
        max_anisotropy: float = 1.5,
        propagation_rule: PropagationRule | None = None,
        cache_bytes: int = 256 * 2**20,
        second_look: bool = False,
    ) -> None:
        if not max_anisotropy >= 1:
            raise ValueError(f"max_anisotropy must be at least 1, got {max_anisotropy}.")
        if undo_limit < 0:
            raise ValueError(f"undo_limit must be at least 0, got {undo_limit}.")
        self._session = InteractiveSession(
            network,
            *(crop_size, zoom_in, flip, threshold),
            max_clicks=sys.maxsize,
            undo_limit=1,
            second_look=second_look,
        )
        self.max_clicks = max_clicks
        self.propagation_rule = propagation_rule or PropagationRule()
        self._image_options: dict[str, Any] = {"max_anisotropy": max_anisotropy, "cache_bytes": cache_bytes}
        self._image: VolumeImage | None = None
        self._forget(undo_limit)

    def _forget(self, undo_limit: int | None) -> None:
        self._objects: dict[int, VolumeObject] = {}
        self._newest: SlicePrediction | None = None
        self._history: deque[tuple[dict[int, VolumeObject], SlicePrediction | None]] = deque(maxlen=undo_limit)
        self._stamp = 0

    def set_volume(
        self,
        volume: ArrayLike,
        affine: ArrayLike | None = None,
        *,
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | str | None = None,
        percentiles: tuple[float, float] | None = None,
        nan: str | None = None,
    ) -> None:
        """Start with a new volume; everything that was done is forgotten.

        What is not given is taken from ``network.intensity``, the choice with which the network was trained, where its
        weights tell it; otherwise the percentiles of the whole volume become 0 and 1. The array is not copied.

        Args:
            volume: [I, J, K] or, with channels, [I, J, K, C], of any integer or floating type.
            affine: 4×4, from voxel (i, j, k) to world RAS+ in millimetres; by default the identity.
            window: name of a CT window or (low, high) in the volume's units; ``"none"``: the percentiles of the whole
                volume, whatever the network was trained with.
            channels: which channel, or which three, of a volume with neither one nor three; ``"none"``: all.
            percentiles: in the place of a window, see :func:`adaptiveclick_med.transforms.intensity.intensity_range`.
            nan: ``"raise"`` or ``"fill"``: what to do with NaN and infinite values.

        Raises:
            ValueError: when an argument cannot be used. The session stays as it was.
        """
        array = np.asarray(volume)
        trained = Intensity.from_dict(getattr(self._session.predictor.network, "intensity", None))
        if percentiles is not None:
            trained = replace(trained, window=None, percentiles=percentiles)
        intensity = trained.given(window, channels, nan, dtype=array.dtype)
        matrix = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
        image = VolumeImage(self._session, array, matrix, intensity, **self._image_options)
        self._image = image
        self._forget(self._history.maxlen)

    def sibling(self) -> VolumeSession:
        """Return a session on the same volume without clicks, for another user or request, also in another thread.

        Both share the volume, its prepared slices and known answers: clicks that one of them made cost the other no
        call of the network.
        """
        twin = copy(self)
        twin._forget(self._history.maxlen)
        return twin

    @property
    def image(self) -> VolumeImage:
        """The prepared volume.

        Raises:
            RuntimeError: when no volume was set.
        """
        if self._image is None:
            raise RuntimeError("No volume was set; call set_volume first.")
        return self._image

    @property
    def acquisition_plane(self) -> str:
        """Name of the plane whose slices run along k."""
        return self.image.acquisition_plane

    def set_mask(self, mask: ArrayLike, label: int = 1) -> None:
        """Start an object from an existing mask [I, J, K], to correct it; its clicks are forgotten.

        Raises:
            ValueError: when the mask has another shape than the volume, or the label is not a whole number above 0.
        """
        values = np.asarray(mask)
        if values.shape != self.image.shape:
            raise ValueError(f"mask must be of the volume's shape {list(self.image.shape)}, got {list(values.shape)}.")
        self._keep(_checked(label), VolumeObject(self.image.shape, self.image.planes, values != 0), None)

    def click(
        self, point: Sequence[float], positive: bool = True, *, label: int = 1, plane: str = "axial"
    ) -> SlicePrediction:
        """Click on a voxel and segment its slice.

        Args:
            point: (i, j, k), may be fractional; the nearest slice of ``plane`` is clicked.
            positive: ``True`` on the object, ``False`` off it.
            label: number of the object, above 0.
            plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``, by the affine.

        Raises:
            RuntimeError: when no volume was set.
            ValueError: when the point is not finite or lies outside the volume, the plane is unknown, the click is
                negative where nothing is segmented yet, or exceeds ``max_clicks``. The session stays as it was.
        """
        number, image = _checked(label), self.image
        index, row, column = image.locate(point, plane)
        thing = self._objects.get(number) or VolumeObject(image.shape, image.planes)
        old = thing.slices.get((plane, index))
        before = () if old is None else old.clicks
        if len(before) >= self.max_clicks:
            raise ValueError(f"There are already max_clicks = {self.max_clicks} clicks on this object in this slice.")
        state, events = click_slice(image, thing, plane, index, image.frames[plane].click(row, column, bool(positive)))
        i, j, k = (float(value) for value in point)
        clicks = (*before, VolumeClick(i, j, k, bool(positive), number, plane))
        return self._keep_slice(number, thing, plane, index, state, clicks, events)

    def click_world(
        self,
        point: Sequence[float],
        positive: bool = True,
        *,
        system: str = "RAS",
        label: int = 1,
        plane: str = "axial",
    ) -> SlicePrediction:
        """Click at a point (x, y, z) in world millimetres, see :meth:`click`.

        Args:
            point: (x, y, z) in millimetres.
            positive: see :meth:`click`.
            system: ``"RAS"``: x to the right, y to the front, z up; ``"LPS"``: x to the left, y to the back, z up.
            label: see :meth:`click`.
            plane: see :meth:`click`.

        Raises:
            ValueError: when the system is unknown, or as :meth:`click`.
        """
        return self.click(self.to_voxel(point, system), positive, label=label, plane=plane)

    def to_voxel(self, point: Sequence[float], system: str = "RAS") -> tuple[float, float, float]:
        """Return the voxel (i, j, k), fractional, of a point in world millimetres, see :meth:`click_world`.

        Raises:
            ValueError: when the point is not three finite numbers, or the system is neither ``"RAS"`` nor ``"LPS"``.
        """
        return self.image.to_voxel(point, system)

    @property
    def prediction(self) -> SlicePrediction | None:
        """The answer to the newest click, ``None`` before the first."""
        return self._newest

    @property
    def candidates(self) -> list[Candidate]:
        """The ranked candidates of the newest click, on its slice [H, W], the most confident first."""
        return [] if self._newest is None else self._newest.candidates

    def choose(self, rank: int) -> SlicePrediction:
        """Take a candidate of the newest click in the place of its mask.

        Args:
            rank: place among :attr:`candidates`.

        Raises:
            ValueError: when there is no such candidate.
        """
        newest = self._newest
        if newest is None:
            raise ValueError("There is no click, so there is no candidate to choose.")
        thing = self._objects[newest.label]
        state, events = choose_candidate(self.image, thing, newest.plane, newest.index, rank)
        clicks = thing.slices[newest.plane, newest.index].clicks
        return self._keep_slice(newest.label, thing, newest.plane, newest.index, state, clicks, events)

    def propagate(
        self, direction: str = "both", until: str | int = "empty", *, label: int = 1, plane: str | None = None
    ) -> Propagation:
        """Carry an object's mask from its clicked slices to their neighbours.

        Between two clicked slices each carries its mask half of the way. Where nothing changed since an earlier
        propagation, the network is not asked again; so after a correction only what it touches is carried anew.

        Args:
            direction: ``"up"``: to higher slice indices, ``"down"``: to lower ones, or ``"both"``.
            until: ``"empty"``: until the object ends or the network is not sure any more; a number: at most so many
                slices from each clicked one.
            label: number of the object.
            plane: the anatomical plane; by default that of the object's newest click.

        Raises:
            ValueError: when an argument is not as above, or no slice of the plane was clicked.
        """
        if direction not in (*DIRECTIONS, "both"):
            raise ValueError(f"direction must be up, down or both, got {direction!r}.")
        limit = int(until) if isinstance(until, Integral) and not isinstance(until, bool) else 0
        if until != "empty" and limit < 1:
            raise ValueError(f"until must be 'empty' or a whole number of at least 1, got {until!r}.")
        thing = self._objects.get(_checked(label))
        clicked = [] if thing is None else [part for part in thing.slices.values() if part.state is not None]
        if thing is None or not clicked:
            raise ValueError(f"label {label} has no click yet, so there is no mask to propagate.")
        plane = plane or max(clicked, key=lambda part: part.stamp).clicks[-1].plane
        if not thing.clicked(self.image.known(plane)):
            raise ValueError(f"label {label} has no click on a slice of the {plane} plane.")
        self._stamp += 1
        steps = DIRECTIONS if direction == "both" else {direction: DIRECTIONS[direction]}
        carried = carry_object(self.image, thing, plane, steps, limit or None, self.propagation_rule, self._stamp)
        self._keep(label, thing.replace(carried.slices, carried.left), self._newest)
        indices = tuple(sorted(index for _, index in carried.slices))
        return Propagation(label, plane, indices, carried.computed, carried.stops)

    def undo(self) -> None:
        """Take the newest action back: a click, a choice, a propagation, a mask that was set or a reset.

        Raises:
            IndexError: when there is nothing to undo, or ``undo_limit`` is reached.
        """
        if not self._history:
            raise IndexError("There is nothing to undo.")
        self._objects, self._newest = self._history.pop()

    def reset(self, label: int | None = None) -> None:
        """Forget one object, or all; it can be undone."""
        kept = {} if label is None else {number: thing for number, thing in self._objects.items() if number != label}
        for number in self._objects.keys() - kept.keys():
            self._objects[number].forget_mask()
        self._remember()
        self._objects = kept
        self._newest = None if self._newest is None or self._newest.label not in kept else self._newest

    def mask(self, label: int = 1) -> NDArray[np.bool_]:
        """Return the mask of an object, [I, J, K] boolean on the volume's own grid; all false for an unknown label."""
        thing = self._objects.get(_checked(label)) or VolumeObject(self.image.shape, self.image.planes)
        return thing.mask.copy(order="K")

    def labels(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return all objects, [I, J, K] of their numbers, 0 background; where they overlap, the newest one counts."""
        kind = np.uint8 if max(self._objects, default=0) <= 255 else np.uint16
        whole = np.zeros(self.image.shape, dtype=kind, order="F")
        for number, thing in self._objects.items():  # in the order in which they were touched
            whole[thing.mask] = number
        return whole

    def slices(self, label: int = 1, plane: str | None = None) -> dict[int, NDArray[np.bool_]]:
        """Return the slices of a plane that were clicked or reached by a propagation in it: index -> mask [H, W].

        Args:
            label: number of the object.
            plane: by default the acquisition plane.
        """
        plane = self.image.known(plane or self.acquisition_plane)
        thing = self._objects.get(_checked(label))
        found = [] if thing is None else sorted(index for name, index in thing.slices if name == plane)
        return {index: self._objects[label].cut(plane, index) for index in found}

    def clicks(self, label: int | None = None) -> list[VolumeClick]:
        """Return the clicks on an object, or on all, by slice and in the order in which they were made there."""
        chosen = self._objects.items() if label is None else [(label, self._objects.get(label))]
        return [click for _, thing in chosen if thing for part in thing.slices.values() for click in part.clicks]

    def _keep_slice(
        self,
        label: int,
        thing: VolumeObject,
        plane: str,
        index: int,
        state: SessionState,
        clicks: tuple[VolumeClick, ...],
        events: Hashable,
    ) -> SlicePrediction:
        if state.prediction is None:
            raise RuntimeError("The slice has no prediction.")
        answer = on_slice(state.prediction, self.image.frames[plane], self.image.threshold)
        prediction = SlicePrediction(
            answer.mask, answer.probability, lambda: answer.candidates, plane=plane, index=index, label=label
        )
        self._stamp += 1
        part = ObjectSlice(Part.of(answer.mask), prediction.confidence, self._stamp, clicks, state, events)
        self._keep(label, thing.replace({(plane, index): part}), prediction)
        return prediction

    def _keep(self, label: int, thing: VolumeObject, newest: SlicePrediction | None) -> None:
        self._remember()
        old = self._objects.get(label)
        if old is not None:
            old.forget_mask()
        others = {number: other for number, other in self._objects.items() if number != label}
        self._objects, self._newest = {**others, label: thing}, newest

    def _remember(self) -> None:
        self._history.append((self._objects, self._newest))


def _checked(label: int) -> int:
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or not 0 < label < 65536:
        raise ValueError(f"label must be a whole number from 1 to 65535, got {label!r}.")
    return int(label)
