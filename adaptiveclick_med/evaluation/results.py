"""What an evaluation found: clicks and IoUs of every object, their numbers, tables and files."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med._files import replacing
from adaptiveclick_med.metrics import NumberOfClicks, click_curve

__all__ = ["RESULT_FILES", "EvaluationResult", "ObjectResult", "format_table", "summary_rows", "write_csv"]

RESULT_FILES = ("results.json", "objects.csv", "summary.csv")
"""What :meth:`EvaluationResult.save` writes."""


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ObjectResult:
        """Return the object that ``dataclasses.asdict`` made ``values`` of, also after JSON.

        Raises:
            KeyError: when a value is missing.
            TypeError: when a value is of another type.
            ValueError: when there is not one IoU in [0, 1] for each click, or no click.
        """
        name = str(values["name"])
        clicks = [(float(row), float(column), bool(positive)) for row, column, positive in values["clicks"]]
        ious = [float(iou) for iou in values["ious"]]
        if not ious or len(ious) != len(clicks):
            raise ValueError(f"object {name} has {len(clicks)} clicks and {len(ious)} IoUs")
        if not all(0 <= iou <= 1 for iou in ious):
            raise ValueError(f"object {name} has an IoU that is not between 0 and 1")
        return cls(name, clicks, ious, float(values.get("seconds", 0.0)))


@dataclass(frozen=True)
class EvaluationResult:
    """Clicks and IoUs of all objects of a data set.

    Attributes:
        objects: one result an object.
        max_clicks: clicks after which the user gave up.
        thresholds: IoUs of NoC and NoF.
        facts: what was evaluated: data set, weights and so on.
        skipped: (sample, reason) of samples that could not be used.
        notes: what else is worth knowing, a sentence each.
        run: what tells this run from others, see :class:`~adaptiveclick_med.evaluation.journal.Journal`.
    """

    objects: list[ObjectResult]
    max_clicks: int = 20
    thresholds: tuple[float, ...] = (0.85, 0.90)
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> EvaluationResult:
        """Read ``results.json``.

        Args:
            path: the file, or the folder that holds it.

        Raises:
            FileNotFoundError: when there is none.
            ValueError: when the file is no evaluation result.
        """
        path = Path(path)
        path = path / "results.json" if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"There is no evaluation result {path}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            result = cls(
                [ObjectResult.from_dict(item) for item in content["objects"]],
                int(content["max_clicks"]),
                tuple(float(threshold) for threshold in content["thresholds"]),
                dict(content.get("facts", {})),
                [(str(name), str(reason)) for name, reason in content.get("skipped", [])],
                [str(note) for note in content.get("notes", [])],
                dict(content.get("run", {})),
            )
            result._check()
            return result
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is no evaluation result: {reason}.") from error

    def _check(self) -> None:
        """Check what a file that was edited can have wrong.

        Raises:
            ValueError: when there is no object, one comes twice or has too many clicks, or a threshold is no IoU.
        """
        names = Counter(item.name for item in self.objects)
        if not names:
            raise ValueError("it has no object")
        name, count = names.most_common(1)[0]
        if count > 1:
            raise ValueError(f"object {name} comes {count} times")
        most = max(self.objects, key=lambda item: len(item.ious))
        if len(most.ious) > self.max_clicks:
            raise ValueError(f"object {most.name} has {len(most.ious)} clicks, but max_clicks is {self.max_clicks}")
        if not self.thresholds or not all(0 < threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds must be numbers above 0 and at most 1, got {list(self.thresholds)}")

    @property
    def label(self) -> str:
        """Name of the data set, with the method where that is no trained network."""
        name = str(self.facts.get("title") or self.facts.get("dataset", "data set"))
        kind = self.facts.get("method", "network")
        if self.facts.get("untrained"):
            kind = "untrained"
        return name if kind == "network" else f"{name} ({kind})"

    def clicks_to(self, threshold: float) -> np.ndarray:
        """Return the number of clicks that each object needs for an IoU, [objects]; ``max_clicks`` if never."""
        reached = [np.flatnonzero(np.asarray(item.ious) >= threshold) for item in self.objects]
        return np.array([places[0] + 1 if places.size else self.max_clicks for places in reached], dtype=np.int64)

    def ious_at(self, clicks: int) -> np.ndarray:
        """Return the IoU of each object after so many clicks, [objects]; the last one where there were fewer."""
        return np.array([item.ious[min(clicks, len(item.ious)) - 1] for item in self.objects])

    def failures(self, threshold: float) -> list[ObjectResult]:
        """Return the objects that never reach an IoU, the worst first."""
        missed = [item for item in self.objects if max(item.ious) < threshold]
        return sorted(missed, key=lambda item: (max(item.ious), item.name))

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
        """Return the summary as text, with what was left out."""
        lines = [format_table({self.label: self.summary()})]
        if self.skipped:
            lines.append(f"{len(self.skipped)} samples could not be used and were left out:")
            lines += [f"  {name}: {reason}." for name, reason in self.skipped[:20]]
            if len(self.skipped) > 20:
                lines.append(f"  ... and {len(self.skipped) - 20} more, see results.json.")
        if self.notes:
            lines.append(f"{len(self.notes)} notes in results.json, the first: {self.notes[0]}")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write ``results.json`` (everything), ``objects.csv`` (a line an object) and ``summary.csv``.

        Each file appears whole or not at all, ``results.json`` last.
        """
        folder, summary = Path(folder), self.summary()
        content = {
            "facts": dict(self.facts),
            "run": dict(self.run),
            "max_clicks": self.max_clicks,
            "thresholds": list(self.thresholds),
            "summary": summary,
            "curve": self.curve().tolist(),
            "skipped": [list(pair) for pair in self.skipped],
            "notes": self.notes,
        }
        head = json.dumps(content, indent=1).removesuffix("\n}")
        lines = ",\n".join("  " + json.dumps(asdict(item)) for item in self.objects)
        header = ["name", "clicks", "seconds", *(f"IoU@{k}" for k in range(1, self.max_clicks + 1))]
        rows = [
            [item.name, len(item.clicks), f"{item.seconds:.4f}", *(f"{iou:.6f}" for iou in curve.tolist())]
            for item in self.objects
            for curve in [click_curve(item.ious, self.max_clicks)]
        ]
        folder.mkdir(parents=True, exist_ok=True)
        results_file, objects_file, summary_file = (folder / name for name in RESULT_FILES)
        write_csv(summary_file, [list(summary), list(summary.values())])
        write_csv(objects_file, [header, *rows])
        with replacing(results_file) as temporary:
            temporary.write_text(f'{head},\n "objects": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return a text table, a row for each name and a column for each number.

    Args:
        rows: name -> numbers; the columns are those of the first row.

    Raises:
        ValueError: when there is no row.
    """
    lines = summary_rows(rows)
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def summary_rows(rows: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Return the cells of a table: a head line, then a line for each name. Numbers that are missing become ``-``.

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
        if math.isnan(value):
            return "-"
        return f"{value:.0f}" if column.startswith(whole) else f"{value:.3f}"

    body = [[name, *(cell(each, numbers.get(each, math.nan)) for each in columns)] for name, numbers in rows.items()]
    return [["", *columns], *body]


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV; the file appears whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
