"""What the benchmarks share: things timed side by side in one run, and a table of ratios.

Every script measures its floor beside what it judges, turn by turn, so that a busy machine slows both. Medians count;
the spread is from the 10th to the 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds of one thing: median, 10th and 90th percentile, number of repeats."""

    median: float
    low: float
    high: float
    repeats: int


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, repeats: int = 15, warmup: int = 2
) -> dict[str, Timing]:
    """Time several calls in turns: one round calls each once."""
    for call in candidates.values():
        for _ in range(warmup):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats):
        names = list(candidates)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.perf_counter()
            candidates[name]()
            _wait()
            seconds[name].append(time.perf_counter() - begin)
    return {name: _timing(values) for name, values in seconds.items()}


def _wait() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def _timing(values: Sequence[float]) -> Timing:
    ordered = sorted(values)
    last = len(ordered) - 1
    return Timing(statistics.median(ordered), ordered[round(0.1 * last)], ordered[round(0.9 * last)], len(ordered))


class Report:
    """Rows of a benchmark: a name, what was measured, its target and whether it is met."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: list[dict[str, Any]] = []

    def ratio(self, name: str, timing: Timing, floor: Timing, *, at_most: float | None = None) -> None:
        """Add a time as a multiple of another one."""
        value = timing.median / floor.median
        self.add(name, value, "x", timing=timing, floor=floor, at_most=at_most)

    def speedup(self, name: str, timing: Timing, slow: Timing, *, at_least: float | None = None) -> None:
        """Add how many times as fast something is as another thing."""
        self.add(name, slow.median / timing.median, "x faster", timing=timing, floor=slow, at_least=at_least)

    def seconds(self, name: str, timing: Timing, *, at_most_ms: float | None = None) -> None:
        """Add a time in milliseconds."""
        self.add(name, 1e3 * timing.median, "ms", timing=timing, at_most=at_most_ms)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        timing: Timing | None = None,
        floor: Timing | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Add any number."""
        met = None
        if at_most is not None:
            met = value <= at_most
        if at_least is not None:
            met = value >= at_least
        self.rows.append(
            {
                "name": name,
                "value": value,
                "unit": unit,
                "timing": timing and asdict(timing),
                "floor": floor and asdict(floor),
                "at_most": at_most,
                "at_least": at_least,
                "met": met,
            }
        )

    def print(self, json_file: Path | None = None) -> None:
        """Print the table, and write the rows with the machine's facts to a file."""
        print(f"\n{self.title}\n{machine()}")
        for row in self.rows:
            spread = ""
            if row["timing"]:
                low, middle, high = (1e3 * row["timing"][key] for key in ("low", "median", "high"))
                spread = f"{middle:.2f} ms ({low:.2f} to {high:.2f})"
            if row["floor"]:
                spread += f" against {1e3 * row['floor']['median']:.2f} ms"
            bound = ""
            if row["met"] is not None:
                limit = f"<= {row['at_most']:g}" if row["at_most"] is not None else f">= {row['at_least']:g}"
                bound = f"target {limit}: {'met' if row['met'] else 'MISSED'}"
            print(f"  {row['name']:58} {row['value']:9.3f} {row['unit']:8} {bound:24} {spread}")
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps({"title": self.title, "machine": machine(), "rows": self.rows}, indent=1))


def machine() -> str:
    """Tell on what it ran."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{name}, {os.cpu_count()} cores"
    return f"{device}; PyTorch {torch.__version__}, {torch.get_num_threads()} threads"


def options(description: str | None, *, repeats: int = 15) -> argparse.ArgumentParser:
    """Return the command line that all benchmarks have: ``--threads``, ``--repeats``, ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch on the CPU")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, set the threads and the seed."""
    import torch

    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    return arguments
