"""The way of a mask from a clicked slice in one direction, until the object ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference.appearance import Appearance
from adaptiveclick_med.inference.derived_clicks import clicks_of_mask
from adaptiveclick_med.inference.volume_image import VolumeImage
from adaptiveclick_med.inference.volume_object import Part, foreground_confidence
from adaptiveclick_med.simulation import RobotUser

__all__ = ["Chain", "PropagationRule", "Step", "carry"]


@dataclass(frozen=True)
class PropagationRule:
    """How hard a mask is carried, when an object has ended, and when the network is not sure any more.

    Args:
        min_area: an object of fewer pixels has ended.
        min_area_share: so has one of a smaller share of its area in the clicked slice.
        min_share_left: so has one of whose mask less than this share still looks like it in the next slice.
        min_confidence: least mean probability inside the mask.
        min_overlap: least Dice overlap with the mask of the slice before.
        corrections: most further clicks in a slice while its mask is unlike that of the slice before.
        min_agreement: Dice overlap with the mask of the slice before, where the slice still looks like the object,
            from which on there is no such click.
    """

    min_area: int = 4
    min_area_share: float = 0.02
    min_share_left: float = 0.35
    min_confidence: float = 0.6
    min_overlap: float = 0.3
    corrections: int = 3
    min_agreement: float = 0.8


@dataclass(frozen=True)
class Step:
    """The mask of one slice on the way.

    Attributes:
        index: of the slice.
        mask: on the slice's own grid.
        probability: float16 on the inner grid.
        confidence: mean probability inside the mask.
        overlap: Dice overlap with the slice before.
    """

    index: int
    mask: Part
    probability: Part
    confidence: float
    overlap: float

    @property
    def nbytes(self) -> int:
        """Memory of the maps."""
        return int(self.mask.values.nbytes + self.probability.values.nbytes)


@dataclass(frozen=True)
class Chain:
    """A way from a clicked slice in one direction.

    Attributes:
        steps: the slices that hold the object, in order.
        ended: ``"empty"`` or ``"confidence"`` when the step after these was not taken, and why.
        last: that step.
    """

    steps: tuple[Step, ...] = ()
    ended: str | None = None
    last: Step | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the maps."""
        return 512 + sum(step.nbytes for step in self.steps)


def carry(
    image: VolumeImage,
    plane: str,
    start: tuple[int, Tensor],
    direction: int,
    length: int,
    *,
    known: Chain | None = None,
    negative: Sequence[Click] = (),
    rule: PropagationRule | None = None,
) -> Chain:
    """Carry a mask through ``length`` slices at most.

    The neighbour's probability becomes the previous mask, and clicks are derived from its mask, both where the slice
    still looks like the object in the clicked slice, see :class:`Appearance`. To the network's log-odds those of the
    appearance are added, so that a mask neither leaks into unlike tissue nor lives on by itself. Where the answer is
    unlike the neighbour's mask, the robot user corrects it towards that. This is no part of the paper, whose network
    sees single pictures.

    Args:
        image: the volume.
        plane: the anatomical plane.
        start: index of the clicked slice, and its probability [h, w] on the inner grid.
        direction: 1 to higher indices, -1 to lower ones.
        length: most slices.
        known: the beginning of the way, when it was gone before.
        negative: the user's clicks off the object, in pixels of the inner grid; they go along where they still lie
            outside the mask.
        rule: when to stop.

    Returns:
        The way, at least as long as ``known``.
    """
    rule = rule or PropagationRule()
    chain = known or Chain()
    index, probability = start
    frame, threshold = image.frames[plane], image.threshold
    mask = frame.to_slice(probability[None])[0].numpy(force=True) > threshold
    area = int(mask.sum())
    look = Appearance.of(_grey(image, plane, index), probability.numpy(force=True) > threshold)
    if chain.steps:
        index = chain.steps[-1].index
        probability = torch.from_numpy(chain.steps[-1].probability.whole().astype(np.float32))
        mask = chain.steps[-1].mask.whole().astype(np.bool_)
    while chain.ended is None and len(chain.steps) < length:
        index += direction
        before = probability.numpy(force=True) > threshold
        odds: NDArray[np.float64] | float = 0.0
        if look is not None:
            odds = look.log_odds(_grey(image, plane, index))
            left = before & (odds > 0)
            if left.sum() < max(rule.min_area, rule.min_share_left * before.sum()):
                return replace(chain, ended="empty")
            probability = probability.cpu() * torch.from_numpy(odds > 0)
            before = left
        clicks = [click for click in clicks_of_mask(before) if click.positive or not _alike(odds, click)]
        if not clicks:
            return replace(chain, ended="empty")
        carried = [click for click in negative if not before[round(click.row), round(click.column)]]
        session = image.session(plane, index)
        session.set_mask(probability, [*carried, *clicks[:-1]])
        answer = session.click(clicks[-1].row, clicks[-1].column)
        joint = _joined(answer.probability, odds)
        for _ in range(rule.corrections):
            shown = joint > threshold
            if _dice(shown, before) >= rule.min_agreement:
                break
            correction = RobotUser().next_click(before, shown, session.clicks)
            if correction is None or len(session.clicks) >= session.max_clicks:
                break
            answer = session.click(correction.row, correction.column, correction.positive)
            joint = _joined(answer.probability, odds)
        kept = Part.of(joint.astype(np.float16), session.state.box)
        probability = torch.from_numpy(kept.whole().astype(np.float32))  # as a way that goes on later begins
        values = frame.to_slice(probability[None])[0].numpy(force=True)
        found = values > threshold
        overlap = _dice(found, mask)
        sure = foreground_confidence(found, values)
        step = Step(index, Part.of(found), kept, sure, overlap)
        if found.sum() < max(rule.min_area, rule.min_area_share * area):
            return replace(chain, ended="empty", last=step)
        if sure < rule.min_confidence or overlap < rule.min_overlap:
            return replace(chain, ended="confidence", last=step)
        chain = replace(chain, steps=(*chain.steps, step))
        mask = found
    return chain


def _joined(probability: NDArray[np.float32], odds: NDArray[np.float64] | float) -> NDArray[np.float32]:
    """Return the probability with log-odds added."""
    joint: NDArray[np.float32] = special.expit(special.logit(probability.clip(1e-4, 1 - 1e-4)) + odds)
    return joint.astype(np.float32)


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return 2 * int((first & second).sum()) / max(1, int(first.sum()) + int(second.sum()))


def _alike(odds: NDArray[np.float64] | float, click: Click) -> bool:
    """Tell whether a click lies where the slice looks like the object, which then may grow there."""
    return not isinstance(odds, float) and bool(odds[round(click.row), round(click.column)] > 0)


def _grey(image: VolumeImage, plane: str, index: int) -> NDArray[np.float32]:
    """Return the values of a slice on the inner grid, [h, w] in [0, 1]."""
    grey: NDArray[np.float32] = image.frames[plane].to_inner(image.picture(plane, index)).mean(0).clamp(0, 1).numpy()
    return grey
