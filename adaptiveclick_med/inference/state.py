"""What a session knows at one moment, and what it asks of the network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from adaptiveclick_med.clicks import Clicks
from adaptiveclick_med.inference.crop import CropBox
from adaptiveclick_med.inference.prediction import Prediction

__all__ = ["Question", "SessionState"]


@dataclass(frozen=True)
class SessionState:
    """What a session knows of its object at one moment; it never changes.

    Attributes:
        clicks: all clicks made so far, in image pixels. Not to be changed.
        box: the part of the image that the network saw last.
        probability: [H, W] of the newest prediction, the next previous mask; ``None`` before the first.
        prediction: the newest answer.
        start: the state that ``reset`` goes back to; ``None``: this one is a start.
    """

    clicks: Clicks
    box: CropBox | None = None
    probability: Tensor | None = None
    prediction: Prediction | None = None
    start: SessionState | None = None


@dataclass(frozen=True)
class Question:
    """What a session asks of the network after a click.

    Attributes:
        clicks: all clicks with the newest, in image pixels.
        box: the part of the image that the network sees.
        frame: [1, 4, h, w], that part and the previous mask.
        moved: the clicks in pixels of the frame.
        first: whether nothing was known of the object before: no mask, and no answer to the newest click.
        again: whether the newest click was answered already, and this is the second look at it.
    """

    clicks: Clicks
    box: CropBox
    frame: Tensor
    moved: Clicks
    first: bool
    again: bool = False
