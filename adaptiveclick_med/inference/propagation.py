"""Carrying an object through the slices, from all that were clicked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adaptiveclick_med.inference.chain import Chain, PropagationRule, Step, carry
from adaptiveclick_med.inference.volume_image import VolumeImage
from adaptiveclick_med.inference.volume_object import ObjectSlice, VolumeObject

__all__ = ["DIRECTIONS", "REASONS", "Carried", "Propagation", "PropagationRule", "Stop", "carry_object"]

DIRECTIONS = {"up": 1, "down": -1}
"""Steps along a plane's slice indices, by name."""

REASONS = ("empty", "confidence", "limit", "clicked slice", "end of volume")
"""Why a propagation stops: the object ended; the network is not sure any more, or the mask jumped; as many slices as
were asked for; the other half of the way belongs to the next clicked slice; no more slices."""


@dataclass(frozen=True)
class Stop:
    """Where and why one direction of a propagation stopped.

    Attributes:
        reason: one of :data:`REASONS`.
        index: the last slice with a mask.
        confidence: mean probability inside the first mask that was not taken; of the last one otherwise.
        overlap: Dice overlap of that mask with the slice before.
    """

    reason: str
    index: int
    confidence: float | None = None
    overlap: float | None = None


@dataclass(frozen=True)
class Propagation:
    """What a propagation did.

    Attributes:
        label: number of the object.
        plane: the anatomical plane.
        slices: indices of the slices that got their mask from a neighbour, ascending.
        computed: how many slices the network was asked for; known ones are not asked for again.
        stops: by (clicked slice, ``"up"`` or ``"down"``).
    """

    label: int
    plane: str
    slices: tuple[int, ...]
    computed: int
    stops: Mapping[tuple[int, str], Stop]


@dataclass
class Carried:
    """What :func:`carry_object` found.

    Attributes:
        slices: the object's new slices, by (plane, index).
        left: slices that the object does not reach any more.
        computed: how many slices the network was asked for.
        stops: by (clicked slice, direction).
    """

    slices: dict[tuple[str, int], ObjectSlice] = field(default_factory=dict)
    left: set[tuple[str, int]] = field(default_factory=set)
    computed: int = 0
    stops: dict[tuple[int, str], Stop] = field(default_factory=dict)


def carry_object(
    image: VolumeImage,
    thing: VolumeObject,
    plane: str,
    directions: Mapping[str, int],
    limit: int | None,
    rule: PropagationRule,
    stamp: int,
) -> Carried:
    """Carry an object from all of its clicked slices of a plane.

    Between two clicked slices each carries its mask half of the way, or one of them all of it where there is only one
    direction. Ways that were gone before are taken from ``image.answers``.

    Args:
        image: the volume.
        thing: the object.
        plane: the anatomical plane.
        directions: those of :data:`DIRECTIONS` to go.
        limit: most slices from each clicked one, ``None``: until the object ends.
        rule: when to stop.
        stamp: of the new slices.
    """
    found = Carried()
    starts = thing.clicked(plane)
    last = image.planes[plane].size(image.shape)[0] - 1
    for name, step in directions.items():
        for place, index in enumerate(starts):
            free, reason = (last - index if step > 0 else index), "end of volume"
            if 0 <= place + step < len(starts):
                gap = abs(starts[place + step] - index) - 1
                free, reason = (gap if len(directions) == 1 else (gap + (step > 0)) // 2), "clicked slice"
            found.left.update((plane, index + step * away) for away in range(1, free + 1))
            length = free if limit is None else min(free, limit)
            chain, asked = _chain(image, thing.slices[plane, index], (plane, index, step), length, rule)
            found.computed += asked
            steps = chain.steps[:length]
            for taken in steps:
                found.slices[plane, taken.index] = ObjectSlice(
                    taken.mask, taken.confidence, stamp, probability=taken.probability
                )
            end: Step | None = steps[-1] if steps else None
            if length < free:
                reason = "limit"
            if chain.ended is not None and len(chain.steps) < length:
                reason, end = chain.ended, chain.last
            sure, overlap = (None, None) if end is None else (end.confidence, end.overlap)
            found.stops[index, name] = Stop(reason, index + step * len(steps), sure, overlap)
    found.left -= found.slices.keys()
    return found


def _chain(
    image: VolumeImage, part: ObjectSlice, way: tuple[str, int, int], length: int, rule: PropagationRule
) -> tuple[Chain, int]:
    """Return the way (plane, index, step) from a clicked slice, and how many slices the network was asked for."""
    plane, index, step = way
    key = ("chain", *way, part.events, rule)
    known: Chain = image.answers.get(key) or Chain()
    if known.ended is not None or len(known.steps) >= length:
        return known, 0
    negative = [] if part.state is None else part.state.clicks.negative
    chain = carry(image, plane, (index, part.previous()), step, length, known=known, negative=negative, rule=rule)
    image.answers.put(key, chain, chain.nbytes)
    return chain, len(chain.steps) - len(known.steps) + (chain.last is not None)
