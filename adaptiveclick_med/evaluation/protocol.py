"""The protocol: a robot user clicks on an object until the mask is right (the paper, Sec. IV-A)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult
from adaptiveclick_med.metrics import intersection_over_union
from adaptiveclick_med.simulation import RobotUser

__all__ = ["SampleResult", "Session", "evaluate_dataset", "evaluate_objects", "evaluate_sample", "objects_of"]


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
    if not (target > 0).any():
        raise ValueError("target has no object pixel, so there is nothing to click on.")
    robot = robot or RobotUser()
    session.set_image(image)
    mask = np.zeros(target.shape, dtype=bool)
    clicks, ious = Clicks(), []
    while len(clicks) < max_clicks:
        click = robot.next_click(target, mask, clicks)
        if click is None:
            break
        prediction = session.click(click.row, click.column, click.positive)
        clicks.add(click)
        mask = np.asarray(prediction.mask)
        ious.append(intersection_over_union(mask, target))
        if on_click is not None:
            on_click(click, prediction, ious[-1])
        if ious[-1] >= target_iou:
            break
    return SampleResult(clicks, ious)


def objects_of(label: ArrayLike, min_area: int = 1) -> list[tuple[int, np.ndarray]]:
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


def evaluate_objects(
    sample: Mapping[str, Any],
    session: Session,
    *,
    max_clicks: int = 20,
    target_iou: float = 0.9,
    min_area: int = 1,
    on_object: Callable[[Mapping[str, Any], np.ndarray, ObjectResult], None] | None = None,
) -> list[ObjectResult]:
    """Evaluate every object of one sample with the robot user.

    Args:
        sample: ``image`` [C, H, W], ``label`` [L, H, W] (object ids in layers; 0 background, -1 ignore) and ``name``.
        session: see :func:`evaluate_sample`.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops when the IoU reaches this.
        min_area: smaller objects are left out, in pixels.
        on_object: called with (sample, target, result) after each object.

    Returns:
        One result an object; none when there is no object.
    """
    image = np.moveaxis(np.asarray(sample["image"]), 0, -1)
    timed = _TimedSession(session)
    results = []
    for identifier, target in objects_of(sample["label"], min_area):
        timed.seconds = 0.0
        clicks, ious = evaluate_sample(image, target, timed, max_clicks, target_iou)
        places = [(float(click.row), float(click.column), click.positive) for click in clicks]
        results.append(ObjectResult(f"{sample['name']}#{identifier}", places, ious, timed.seconds))
        if on_object is not None:
            on_object(sample, target, results[-1])
    return results


def evaluate_dataset(
    samples: Iterable[Mapping[str, Any]],
    session: Session,
    *,
    max_clicks: int = 20,
    target_iou: float | None = None,
    thresholds: Sequence[float] = (0.85, 0.90),
    min_area: int = 1,
    facts: Mapping[str, Any] | None = None,
    progress: bool = False,
    on_object: Callable[[Mapping[str, Any], np.ndarray, ObjectResult], None] | None = None,
) -> EvaluationResult:
    """Evaluate every object of every sample with the robot user.

    Args:
        samples: see :func:`evaluate_objects`.
        session: see :func:`evaluate_sample`.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops here; by default at the highest threshold.
        thresholds: IoUs of NoC and NoF.
        min_area: smaller objects are left out, in pixels.
        facts: what is evaluated, kept in the result.
        progress: show a progress bar.
        on_object: called with (sample, target, result) after each object.

    Raises:
        ValueError: when there is no object, or ``max_clicks`` is below 1.
    """
    if max_clicks < 1:
        raise ValueError(f"max_clicks must be at least 1, got {max_clicks}.")
    stop = max(thresholds) if target_iou is None else target_iou
    results: list[ObjectResult] = []
    for sample in tqdm(samples, desc="evaluating", unit="image", disable=not progress):
        results += evaluate_objects(
            sample, session, max_clicks=max_clicks, target_iou=stop, min_area=min_area, on_object=on_object
        )
    if not results:
        raise ValueError(f"The data set has no object of at least {min_area} pixels.")
    return EvaluationResult(results, max_clicks, tuple(thresholds), dict(facts or {}))


class _TimedSession:
    """Passes everything on and adds up the time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.seconds = 0.0

    def set_image(self, image: Any) -> None:
        self.session.set_image(image)

    def click(self, row: float, column: float, positive: bool = True) -> Any:
        start = time.perf_counter()
        prediction = self.session.click(row, column, positive)
        self.seconds += time.perf_counter() - start
        return prediction
