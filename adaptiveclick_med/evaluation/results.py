"""What an evaluation found: clicks and IoUs of every object, their numbers, tables and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med._files import replacing
from adaptiveclick_med.metrics import NumberOfClicks, click_curve

__all__ = ["EvaluationResult", "ObjectResult", "format_table"]


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
        folder, summary = Path(folder), self.summary()
        folder.mkdir(parents=True, exist_ok=True)
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


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
