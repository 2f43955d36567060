"""The protocol: a robot user clicks on an object until the mask is right (the paper, Sec. IV-A)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.evaluation.results import ObjectResult
from adaptiveclick_med.inference import InteractiveSession, click_together
from adaptiveclick_med.metrics import intersection_over_union
from adaptiveclick_med.simulation import RobotUser

__all__ = [
    "ObjectRun",
    "SampleResult",
    "Session",
    "evaluate_objects",
    "evaluate_sample",
    "object_runs",
    "objects_of",
    "run_together",
    "sample_objects",
]


class Session(Protocol):
    """What the robot user needs of a session: an image goes in, then clicks; the answer to a click has a mask."""

    def set_image(self, image: Any) -> None:
        """Start with a new image."""

    def click(self, row: float, column: float, positive: bool = True) -> Any:
        """Add a click and predict."""


class SampleResult(NamedTuple):
    """Clicks on one object and the IoU after each.

    Attributes:
        clicks: in the order made.
        ious: one a click.
    """

    clicks: Clicks
    ious: list[float]


@dataclass
class ObjectRun:
    """One object on its way: the robot user clicks, the session answers, until the mask is good enough.

    Args:
        name: image and object.
        target: [H, W]; 1 object, 0 background, -1 ignore.
        session: holds the image already, unless ``image`` is given.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops when the IoU reaches this.
        robot: the simulated user.
        sample: the sample that the object belongs to, for whoever listens.
        image: [H, W, C], given to the session before the first click.

    Raises:
        ValueError: when the target has no object pixel.
    """

    name: str
    target: NDArray[Any]
    session: Session
    max_clicks: int = 20
    target_iou: float = 0.9
    robot: RobotUser = field(default_factory=RobotUser)
    sample: Mapping[str, Any] = field(default_factory=dict)
    image: NDArray[Any] | None = None
    clicks: Clicks = field(default_factory=Clicks, init=False)
    ious: list[float] = field(default_factory=list, init=False)
    seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not (self.target > 0).any():
            raise ValueError("target has no object pixel, so there is nothing to click on.")
        self._mask = np.zeros(self.target.shape, dtype=bool)

    def next_click(self) -> Click | None:
        """Return the robot's next click, or ``None`` when it is done: good enough, no error left, or no click left."""
        if len(self.clicks) >= self.max_clicks or (self.ious and self.ious[-1] >= self.target_iou):
            return None
        if self.image is not None and not self.clicks:
            self.session.set_image(self.image)
        return self.robot.next_click(self.target, self._mask, self.clicks)

    def take(self, click: Click, prediction: Any, seconds: float = 0.0) -> None:
        """Take the session's answer to a click."""
        self.clicks.add(click)
        self._mask = np.asarray(prediction.mask)
        self.ious.append(intersection_over_union(self._mask, self.target))
        self.seconds += seconds

    def result(self) -> ObjectResult:
        """Return clicks and IoUs."""
        places = [(float(click.row), float(click.column), click.positive) for click in self.clicks]
        return ObjectResult(self.name, places, list(self.ious), self.seconds)


def run_together(runs: Iterable[ObjectRun], batch_size: int = 1) -> Iterator[ObjectRun]:
    """Advance objects click by click until all are done; up to ``batch_size`` of them together.

    As soon as an object is done the next one takes its place, so batches stay full. Sessions other than
    :class:`~adaptiveclick_med.inference.InteractiveSession` answer one after the other.

    Args:
        runs: the objects; taken one by one, as places become free.
        batch_size: places.

    Yields:
        The objects in the order in which they are done.

    Raises:
        ValueError: when ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    waiting = iter(runs)
    active: list[ObjectRun] = []
    while True:
        active += islice(waiting, batch_size - len(active))
        if not active:
            return
        asked = [(run, run.next_click()) for run in active]
        yield from (run for run, click in asked if click is None)
        clicked = [(run, click) for run, click in asked if click is not None]
        active = [run for run, _ in clicked]
        _answer(clicked)


def _answer(clicked: Sequence[tuple[ObjectRun, Click]]) -> None:
    """Let the sessions answer to one click each, together where they can."""
    sessions = [run.session for run, _ in clicked]
    if len(clicked) > 1 and all(isinstance(session, InteractiveSession) for session in sessions):
        start = time.perf_counter()
        predictions = click_together(sessions, [click for _, click in clicked])  # type: ignore[arg-type]
        seconds = (time.perf_counter() - start) / len(clicked)
        for (run, click), prediction in zip(clicked, predictions, strict=True):
            run.take(click, prediction, seconds)
        return
    for run, click in clicked:
        start = time.perf_counter()
        prediction = run.session.click(click.row, click.column, click.positive)
        run.take(click, prediction, time.perf_counter() - start)


def evaluate_sample(
    image: ArrayLike,
    target: ArrayLike,
    session: Session,
    max_clicks: int = 20,
    target_iou: float = 0.9,
    *,
    robot: RobotUser | None = None,
    on_click: Callable[[Click, Any, float], None] | None = None,
) -> SampleResult:
    """Let the robot user click on one object until the mask is good enough.

    Args:
        image: [H, W, C] or [H, W], whatever ``session.set_image`` takes.
        target: [H, W]; 1 object, 0 background, -1 ignore.
        session: an :class:`~adaptiveclick_med.inference.InteractiveSession`, or anything with ``set_image`` and
            ``click``.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops when the IoU reaches this.
        robot: the simulated user.
        on_click: called with (click, prediction, IoU) after each click.

    Returns:
        (clicks, ious). The user also stops when no error is left that may be clicked.

    Raises:
        ValueError: when the target has no object pixel, or its size is not the image's.
    """
    target = np.asarray(target)
    size = np.shape(image)[:2]
    if target.shape != size:
        raise ValueError(f"target must be of the image's size {list(size)}, got {list(target.shape)}.")
    run = ObjectRun("", target, session, max_clicks, target_iou, robot or RobotUser(), image=np.asarray(image))
    while (click := run.next_click()) is not None:
        prediction = session.click(click.row, click.column, click.positive)
        run.take(click, prediction)
        if on_click is not None:
            on_click(click, prediction, run.ious[-1])
    return SampleResult(run.clicks, run.ious)


def objects_of(label: ArrayLike, min_area: int = 1) -> list[tuple[int, NDArray[np.int8]]]:
    """Return every object of a sample as a target of its own.

    Args:
        label: [L, H, W] layers of object ids; 0 background, -1 ignore.
        min_area: smallest area of an object in pixels.

    Returns:
        (id, target [H, W] int8: 1 object, 0 background, -1 ignore) in the order of the ids.
    """
    layers = np.asarray(label)
    ignore = (layers < 0).any(0)
    targets = []
    for identifier in np.unique(layers[layers > 0]).tolist():
        mask = (layers == identifier).any(0)
        if mask.sum() >= min_area:
            targets.append((int(identifier), np.where(mask, 1, np.where(ignore, -1, 0)).astype(np.int8)))
    return targets


def sample_objects(sample: Mapping[str, Any], min_area: int = 1) -> list[tuple[int, NDArray[np.int8]]]:
    """Return the objects of one sample, see :func:`objects_of`.

    Args:
        sample: with ``label`` [L, H, W]. Ids above ``num_instances``, where a sample has that (COCO-LVIS), are regions
            and no objects.
        min_area: smallest area of an object in pixels.
    """
    most = sample.get("num_instances", math.inf)
    return [found for found in objects_of(sample["label"], min_area) if found[0] <= most]


def object_runs(
    sample: Mapping[str, Any],
    session: Session,
    *,
    max_clicks: int = 20,
    target_iou: float = 0.9,
    min_area: int = 1,
    skip: Callable[[str], bool] | None = None,
) -> Iterator[ObjectRun]:
    """Return the objects of one sample, each ready to be clicked on.

    Args:
        sample: ``image`` [C, H, W], ``label`` [L, H, W] (object ids in layers; 0 background, -1 ignore) and ``name``.
            Also ``num_instances`` where ids above that are no objects, see :func:`sample_objects`.
        session: an :class:`~adaptiveclick_med.inference.InteractiveSession` gives each object a sibling of its own.
            Another session serves all objects, so they must be run one after the other.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops when the IoU reaches this.
        min_area: smaller objects are left out, in pixels.
        skip: tells by its name whether an object is left out.

    Raises:
        ValueError: when the session cannot take the image.
    """
    image = np.moveaxis(np.asarray(sample["image"]), 0, -1)
    first = session.sibling() if isinstance(session, InteractiveSession) else None
    if first is not None:
        first.set_image(image)
    for identifier, target in sample_objects(sample, min_area):
        name = f"{sample['name']}#{identifier}"
        if skip is not None and skip(name):
            continue
        own = session if first is None else first.sibling(keep_image=True)
        own_image = image if first is None else None
        yield ObjectRun(name, target, own, max_clicks, target_iou, sample=sample, image=own_image)


def evaluate_objects(
    sample: Mapping[str, Any],
    session: Session,
    *,
    max_clicks: int = 20,
    target_iou: float = 0.9,
    min_area: int = 1,
    batch_size: int = 1,
) -> list[ObjectResult]:
    """Evaluate every object of one sample with the robot user.

    Args:
        sample: see :func:`object_runs`.
        session: see there.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops when the IoU reaches this.
        min_area: smaller objects are left out, in pixels.
        batch_size: objects that advance together, see :func:`run_together`.

    Returns:
        One result an object, in the order of their ids; none when there is no object.
    """
    runs = object_runs(sample, session, max_clicks=max_clicks, target_iou=target_iou, min_area=min_area)
    places = batch_size if isinstance(session, InteractiveSession) else 1
    found = [run.result() for run in run_together(runs, places)]
    return sorted(found, key=lambda result: int(result.name.rpartition("#")[2]))
