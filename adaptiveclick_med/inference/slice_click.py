"""One click on one slice of a volume, from whatever the slice shows already."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference.derived_clicks import clicks_of_mask
from adaptiveclick_med.inference.prediction import Candidate, Prediction
from adaptiveclick_med.inference.slice_frame import SliceFrame
from adaptiveclick_med.inference.state import SessionState
from adaptiveclick_med.inference.volume_image import VolumeImage
from adaptiveclick_med.inference.volume_object import ObjectSlice, VolumeObject

__all__ = ["choose_candidate", "click_slice", "on_slice"]

_SAME_PLACE = 5.0
"""Radius in pixels of the disk that stands for a click."""


class _Unique:
    """Equal to itself only: events that cannot be repeated."""


def click_slice(
    image: VolumeImage, thing: VolumeObject, plane: str, index: int, click: Click
) -> tuple[SessionState, Hashable]:
    """Add a click to an object's slice and predict, or recall the answer where it is known.

    A slice that was clicked before goes on from there. One that shows the object for another reason (a neighbour, a
    crossing slice, a mask to begin with) goes on from what it shows.

    Args:
        image: the volume.
        thing: the object; it stays as it is.
        plane: the anatomical plane.
        index: the slice.
        click: in pixels of the inner grid.

    Returns:
        The slice's new state and its new ``events``, see :class:`ObjectSlice`.

    Raises:
        ValueError: see :meth:`adaptiveclick_med.inference.InteractiveSession.click`.
    """
    old, shown = thing.slices.get((plane, index)), thing.cut(plane, index)
    session = image.session(plane, index)
    untouched = old is not None and bool((old.mask.whole() == shown).all())
    before: Hashable = ()
    if old is not None and old.state is not None and untouched:
        session.restore(replace(old.state, clicks=Clicks(_kept(old, click))))
        before = old.events
    elif shown.any():
        session.set_mask(*_beginning(old, untouched, shown, image.frames[plane], click))
        before = _Unique()
    events: Hashable = _Unique()
    if isinstance(before, tuple):
        events = (*before, (click.row, click.column, click.positive))
        known: SessionState | None = image.answers.get((plane, index, events))
        if known is not None:
            return known, events
    session.click(click.row, click.column, click.positive)
    if isinstance(events, tuple):
        image.answers.put((plane, index, events), session.state, _size(session.state))
    return session.state, events


def choose_candidate(
    image: VolumeImage, thing: VolumeObject, plane: str, index: int, rank: int
) -> tuple[SessionState, Hashable]:
    """Take a candidate of a slice's newest prediction in the place of its mask.

    Args:
        image: the volume.
        thing: the object; it stays as it is.
        plane: the anatomical plane.
        index: the slice; it was clicked.
        rank: place among the candidates.

    Returns:
        As :func:`click_slice`.

    Raises:
        ValueError: when there is no such candidate.
    """
    old = thing.slices[plane, index]
    if old.state is None:
        raise ValueError("The slice was not clicked, so there is no candidate to choose.")
    session = image.session(plane, index)
    session.restore(old.state)
    session.choose(rank)
    return session.state, ((*old.events, rank) if isinstance(old.events, tuple) else _Unique())


def on_slice(answer: Prediction, frame: SliceFrame, threshold: float) -> Prediction:
    """Return a prediction on the inner grid as one on the slice's own, which shares no memory with it.

    Args:
        answer: on the inner grid.
        frame: the two grids.
        threshold: probability above which a pixel belongs to the mask.
    """
    ranked = answer._make_candidates  # anew each time: an answer that is kept does not grow
    if frame.same:
        return Prediction(answer.mask.copy(), answer.probability.copy(), lambda: [_own(each) for each in ranked()])

    def resized(probability: NDArray[np.float32]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = frame.to_slice(torch.from_numpy(probability)[None])[0].numpy()
        return values

    def make_candidates() -> list[Candidate]:
        maps = [(resized(each.probability), each.confidence) for each in ranked()]
        return [Candidate(values > threshold, values, confidence) for values, confidence in maps]

    values = resized(answer.probability)
    return Prediction(values > threshold, values, make_candidates)


def _beginning(
    old: ObjectSlice | None, untouched: bool, shown: NDArray[np.bool_], frame: SliceFrame, click: Click
) -> tuple[Tensor, list[Click]]:
    """Return the previous mask [h, w] of a slice that already shows the object, and the clicks that it stands for.

    A click that the mask stands for is left out where the user says the opposite.
    """
    inner = frame.to_inner(torch.from_numpy(shown.astype(np.float32))[None])[0]
    if old is not None and old.state is not None:
        return inner, _kept(old, click)
    probability = old.previous() if old is not None and untouched else inner
    return probability, _far(clicks_of_mask((inner > 0.5).numpy(), max_negative=0), click)


def _kept(old: ObjectSlice, click: Click) -> list[Click]:
    """Return the clicks of a clicked slice: the user's, and before them what its first mask stood for."""
    clicks = [] if old.state is None else list(old.state.clicks)
    stood_for = max(0, len(clicks) - len(old.clicks))  # the user's are fewer where the slice was emptied
    return [*_far(clicks[:stood_for], click), *clicks[stood_for:]]


def _far(stands_for: Sequence[Click], click: Click) -> list[Click]:
    return [
        each
        for each in stands_for
        if click.positive or math.hypot(each.row - click.row, each.column - click.column) > _SAME_PLACE
    ]


def _own(candidate: Candidate) -> Candidate:
    return Candidate(candidate.mask.copy(), candidate.probability.copy(), candidate.confidence)


def _size(state: SessionState) -> int:
    """Return about how many bytes a state takes: probability, its copy, mask and candidates."""
    return 4096 if state.probability is None else 3 * state.probability.numel() * 4
