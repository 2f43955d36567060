"""The protocol: a robot user clicks on every object of a data set, and the clicks are counted."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from adaptiveclick_med._files import replacing
from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.metrics import NumberOfClicks, click_curve, intersection_over_union
from adaptiveclick_med.simulation import RobotUser

__all__ = [
    "EvaluationResult",
    "ObjectResult",
    "SampleResult",
    "evaluate_dataset",
    "evaluate_objects",
    "evaluate_sample",
    "format_table",
    "objects_of",
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


@dataclass(frozen=True)
class ObjectResult:
    """One object of a data set.

    Attributes:
        name: image and object.
        clicks: (row, column, positive) in image pixels, in the order made.
        ious: IoU after each click.
        seconds: time spent in the session, without the robot user.
    """

    name: str
    clicks: list[tuple[float, float, bool]]
    ious: list[float]
    seconds: float


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


@dataclass(frozen=True)
class EvaluationResult:
    """Clicks and IoUs of all objects of a data set.

    Attributes:
        objects: one result an object.
        max_clicks: clicks after which the user gave up.
        thresholds: IoUs of NoC and NoF.
        facts: what was evaluated: data set, weights and so on.
    """

    objects: list[ObjectResult]
    max_clicks: int = 20
    thresholds: tuple[float, ...] = (0.85, 0.90)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """Return the number of objects, NoC, NoF and mIoU@k of :class:`NumberOfClicks`, and SPC.

        SPC is the mean time of a click in seconds, the robot user's own time not counted.

        Raises:
            ValueError: when there is no object.
        """
        metric = NumberOfClicks(self.thresholds, self.max_clicks)
        for item in self.objects:
            metric([item.ious])
        seconds = sum(item.seconds for item in self.objects)
        clicks = sum(len(item.clicks) for item in self.objects)
        return {"objects": float(len(self.objects)), **metric.aggregate(), "SPC": seconds / max(1, clicks)}

    def curve(self) -> np.ndarray:
        """Return the mean IoU after 1 ... ``max_clicks`` clicks, [max_clicks]."""
        return np.mean([click_curve(item.ious, self.max_clicks).numpy() for item in self.objects], axis=0)

    def table(self) -> str:
        """Return the summary as text."""
        return format_table({str(self.facts.get("dataset", "data set")): self.summary()})

    def save(self, folder: str | Path) -> None:
        """Write ``results.json`` (everything), ``objects.csv`` (a line an object) and ``summary.csv``.

        Each file appears whole or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        summary = self.summary()
        content = {
            "facts": dict(self.facts),
            "max_clicks": self.max_clicks,
            "thresholds": list(self.thresholds),
            "summary": summary,
            "objects": [asdict(item) for item in self.objects],
        }
        with replacing(folder / "results.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        _write_csv(folder / "summary.csv", [list(summary), list(summary.values())])
        header = ["name", "clicks", "seconds", *(f"IoU@{k}" for k in range(1, self.max_clicks + 1))]
        rows = [
            [item.name, len(item.clicks), f"{item.seconds:.4f}", *(f"{iou:.6f}" for iou in curve.tolist())]
            for item in self.objects
            for curve in [click_curve(item.ious, self.max_clicks)]
        ]
        _write_csv(folder / "objects.csv", [header, *rows])


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
        ValueError: when there is no object.
    """
    stop = max(thresholds) if target_iou is None else target_iou
    results: list[ObjectResult] = []
    for sample in tqdm(samples, desc="evaluating", unit="image", disable=not progress):
        results += evaluate_objects(
            sample, session, max_clicks=max_clicks, target_iou=stop, min_area=min_area, on_object=on_object
        )
    if not results:
        raise ValueError(f"The data set has no object of at least {min_area} pixels.")
    return EvaluationResult(results, max_clicks, tuple(thresholds), dict(facts or {}))


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return a text table, a row for each name and a column for each number.

    Args:
        rows: name -> numbers; the columns are those of the first row.

    Raises:
        ValueError: when there is no row.
    """
    if not rows:
        raise ValueError("rows must hold at least one row.")
    columns = list(next(iter(rows.values())))
    whole = ("objects", "NoF", ">=")

    def cell(column: str, value: float) -> str:
        return f"{value:.0f}" if column.startswith(whole) else f"{value:.3f}"

    lines = [["", *columns]]
    lines += [[name, *(cell(column, numbers[column]) for column in columns)] for name, numbers in rows.items()]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns) + 1)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


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


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
