"""Two or more evaluations side by side: beside the paper's numbers, and with the certainty of their difference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult, format_table

__all__ = [
    "Difference",
    "PaperRow",
    "bootstrap_interval",
    "compare_results",
    "paired_bootstrap",
    "read_paper",
    "read_results",
]

_COLUMNS = ("NoC@85", "NoC@90", "mIoU@1", "mIoU@3", "mIoU@5", "mIoU@10")


@dataclass(frozen=True)
class Difference:
    """How much one evaluation differs from another on the same objects.

    Attributes:
        metric: for example ``"NoC@85"``.
        difference: mean of the second minus mean of the first.
        low: lower end of the interval, NaN for a single object.
        high: upper end of the interval, likewise.
        objects: number of objects.
        level: confidence level of the interval.
    """

    metric: str
    difference: float
    low: float
    high: float
    objects: int
    level: float = 0.95

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """Return one line of text; a star marks an interval without zero."""
        if np.isnan(self.low):
            return f"{self.metric}: {self.difference:+.3f} (no interval: one object)"
        mark = " *" if self.certain else ""
        return f"{self.metric}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]{mark}"


@dataclass(frozen=True)
class PaperRow:
    """One row of one of the paper's tables.

    Attributes:
        label: table, method, backbone and training data.
        results: data set -> metric -> number.
    """

    label: str
    results: Mapping[str, Mapping[str, float]]


def read_paper(
    path: str | Path, tables: Iterable[str] = ("I", "II", "III", "IV"), methods: Iterable[str] | None = None
) -> list[PaperRow]:
    """Read the paper's numbers.

    Args:
        path: a YAML list of rows with ``table``, ``method``, ``results`` and, where known, ``backbone``,
            ``trained_on`` and ``setting`` (``configs/paper.yaml``).
        tables: numbers of the tables wanted.
        methods: names of the methods wanted, in upper or lower case; ``None``: all.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not as above.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of the paper's numbers {path}.")
    wanted = {str(table) for table in tables}
    named = None if methods is None else {method.lower() for method in methods}
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [
            PaperRow(_paper_label(row), row["results"])
            for row in rows
            if str(row["table"]) in wanted
            and (named is None or str(row["method"]).lower() in named)
            and isinstance(next(iter(row["results"].values())), dict)
        ]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a list of the paper's numbers: {error}.") from error


def _paper_label(row: Mapping[str, Any]) -> str:
    setting = ", ".join(f"{key} {value}" for key, value in (row.get("setting") or {}).items())
    parts = [row["method"], row.get("backbone"), row.get("trained_on"), setting]
    return f"Table {row['table']}: " + ", ".join(str(part) for part in parts if part)


def read_results(paths: Sequence[str | Path]) -> dict[str, dict[str, EvaluationResult]]:
    """Read evaluations and sort them by data set.

    Args:
        paths: ``results.json`` files, or folders that hold one, or that hold folders which do.

    Returns:
        data set -> label -> result, in the order given. Labels are the shortest ends of the paths that differ.

    Raises:
        FileNotFoundError: when a path holds no result.
        ValueError: when a file is no result, or the same file comes twice.
    """
    files: list[Path] = []
    for path in (Path(each) for each in paths):
        found = [path] if path.is_file() or (path / "results.json").is_file() else sorted(path.glob("*/results.json"))
        if not found:
            raise FileNotFoundError(f"There is no evaluation result in {path}.")
        files += [file.parent if file.name == "results.json" else file for file in found]
    resolved = [file.resolve() for file in files]
    twice = [str(file) for index, file in enumerate(files) if resolved[index] in resolved[:index]]
    if twice:
        raise ValueError(f"{twice[0]} was given twice.")
    sets: dict[str, list[tuple[Path, EvaluationResult]]] = {}
    for file in files:
        result = EvaluationResult.load(file)
        sets.setdefault(str(result.facts.get("name") or result.facts.get("dataset")), []).append((file, result))
    return {
        name: dict(zip(_labels([file for file, _ in found]), [result for _, result in found], strict=True))
        for name, found in sets.items()
    }


def _labels(files: Sequence[Path]) -> list[str]:
    """Return names for files: their paths without the parts that all share at the beginning and at the end."""
    parts = [file.resolve().parts for file in files]
    if len(parts) == 1:
        return ["/".join(parts[0][-2:])]
    start = 0
    while all(len(each) > start + 1 and each[start] == parts[0][start] for each in parts):
        start += 1
    end = 0
    while all(len(each) - end > start + 1 and each[-1 - end] == parts[0][-1 - end] for each in parts):
        end += 1
    return ["/".join(each[start : len(each) - end]) for each in parts]


def paired_bootstrap(
    first: EvaluationResult,
    second: EvaluationResult,
    metric: str,
    *,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Difference:
    """Return the difference of a mean over the same objects, with a paired bootstrap interval over objects.

    Args:
        first: the reference.
        second: what is compared with it.
        metric: ``"NoC@t"`` with t in percent, or ``"mIoU@k"``.
        level: confidence level.
        resamples: bootstrap samples; each draws objects with replacement, the same for both.
        seed: of the bootstrap.

    Raises:
        ValueError: when no object is in both, ``max_clicks`` differ, or the metric is unknown.
    """
    if first.max_clicks != second.max_clicks:
        raise ValueError(f"max_clicks differ: {first.max_clicks} and {second.max_clicks}.")
    mine, theirs = _common(first, second)
    if not mine.objects:
        raise ValueError("the two evaluations have no object in common.")
    values = _per_object(theirs, metric) - _per_object(mine, metric)
    low, high = _interval(values, level, resamples, seed)
    return Difference(metric, float(values.mean()), low, high, len(values), level)


def bootstrap_interval(
    result: EvaluationResult, metric: str, *, level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Return a bootstrap interval over objects of the mean of one evaluation.

    Args:
        result: the evaluation.
        metric: ``"NoC@t"`` with t in percent, or ``"mIoU@k"``.
        level: confidence level.
        resamples: bootstrap samples; each draws objects with replacement.
        seed: of the bootstrap.

    Returns:
        (low, high); NaN for a single object.

    Raises:
        ValueError: when there is no object, or the metric is unknown.
    """
    if not result.objects:
        raise ValueError("the evaluation has no object.")
    return _interval(_per_object(result, metric), level, resamples, seed)


def _interval(values: NDArray[np.float64], level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return the bootstrap interval of a mean."""
    from scipy.stats import bootstrap

    if len(values) == 1:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=max(1, 2_000_000 // len(values)),
    ).confidence_interval
    return float(found.low), float(found.high)


def _common(first: EvaluationResult, second: EvaluationResult) -> tuple[EvaluationResult, EvaluationResult]:
    """Return both with the objects that are in both, in one order."""
    by_name = {item.name: item for item in second.objects}
    mine = [item for item in first.objects if item.name in by_name]
    theirs: list[ObjectResult] = [by_name[item.name] for item in mine]
    return (
        EvaluationResult(mine, first.max_clicks, first.thresholds),
        EvaluationResult(theirs, second.max_clicks, second.thresholds),
    )


def _per_object(result: EvaluationResult, metric: str) -> NDArray[np.float64]:
    match = re.fullmatch(r"(NoC)@(\d+(?:\.\d+)?)|(mIoU)@([1-9]\d*)", metric)
    if match is None:
        raise ValueError(f"metric must be NoC@t or mIoU@k, got {metric!r}.")
    if match[1]:
        return result.clicks_to(float(match[2]) / 100).astype(np.float64)
    return result.ious_at(int(match[4])).astype(np.float64)


def compare_results(
    results: Mapping[str, EvaluationResult],
    *,
    dataset: str = "",
    paper: Sequence[PaperRow] = (),
    metrics: Sequence[str] = ("NoC@85", "NoC@90", "mIoU@1", "mIoU@5"),
    level: float = 0.95,
    seed: int = 0,
) -> str:
    """Return a text: a table of evaluations of one data set, the paper's rows below, and differences from the first.

    Args:
        results: by label; the first is the reference.
        dataset: name of the data set.
        paper: rows of the paper; those with numbers for the data set are shown.
        metrics: what is compared with an interval.
        level: confidence level of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: when there is no result, or two cannot be compared.
    """
    if not results:
        raise ValueError("there is no evaluation to compare.")
    rows: dict[str, dict[str, float]] = {}
    for label, result in results.items():
        numbers = result.summary()
        rows[label] = {"objects": numbers["objects"], **{c: numbers[c] for c in _COLUMNS if c in numbers}}
    columns = list(next(iter(rows.values())))
    for row in paper:
        if dataset in row.results:
            rows[row.label] = {column: row.results[dataset].get(column, float("nan")) for column in columns}
    first_label, first = next(iter(results.items()))
    title = first.facts.get("title") or dataset
    lines = [str(title), format_table(rows)]
    for label, other in list(results.items())[1:]:
        try:
            found = [
                paired_bootstrap(first, other, metric, level=level, seed=seed)
                for metric in metrics
                if not metric.startswith("mIoU@") or int(metric[5:]) <= min(first.max_clicks, other.max_clicks)
            ]
        except ValueError as error:
            raise ValueError(f"{title}, {first_label} and {label}: {error}") from error
        left_out = len(first.objects) + len(other.objects) - 2 * found[0].objects
        lines.append(
            f"{label} minus {first_label}, {found[0].objects} objects in both, {100 * level:g} % paired bootstrap:"
        )
        lines += [f"  {each}" for each in found]
        if left_out:
            lines.append(f"  {left_out} objects are in one of the two only and are left out.")
    return "\n".join(lines)
