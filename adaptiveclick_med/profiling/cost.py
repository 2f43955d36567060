"""The cost of a network by part and in total, as numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adaptiveclick_med.evaluation import format_table

__all__ = ["REST", "NetworkCost", "PartCost"]

REST = "rest"
"""Name of the part for all that lies in no top-level module of a network."""


@dataclass(frozen=True)
class PartCost:
    """What one part of a network costs, or the whole.

    Attributes:
        parameters: number of trainable values.
        flops: floating point operations for one image, two for each multiply-add.
        memory: most bytes in use while the part works on one image, the whole network's parameters included.
        seconds: seconds of one click of a session; ``None``: not timed.
    """

    parameters: int
    flops: int
    memory: int
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, multiply-adds among them, as plain values."""
        return {
            "parameters": self.parameters,
            "multiply_adds": self.flops // 2,
            "flops": self.flops,
            "memory_bytes": self.memory,
            "seconds_per_click": self.seconds,
        }


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs (the paper, Table V).

    Attributes:
        parts: cost of each top-level module by its name, and of :data:`REST`.
        facts: what was measured and how: ``network``, ``image_size`` (height, width), ``device``, ``threads``,
            ``torch``, ``memory_method``, ``parameter_bytes``, and ``clicks`` where it was timed.
    """

    parts: Mapping[str, PartCost]
    facts: Mapping[str, Any]

    @property
    def total(self) -> PartCost:
        """The whole network: the sum of the parts, for memory the largest of them."""
        parts = list(self.parts.values())
        seconds = [part.seconds for part in parts if part.seconds is not None]
        return PartCost(
            sum(part.parameters for part in parts),
            sum(part.flops for part in parts),
            max(part.memory for part in parts),
            sum(seconds) if seconds else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return ``facts``, ``parts`` and ``total`` as plain values for JSON."""
        return {
            "facts": dict(self.facts),
            "parts": {name: part.as_dict() for name, part in self.parts.items()},
            "total": self.total.as_dict(),
        }

    def table(self) -> str:
        """Return a text table, a row for each part and the total, with what the columns mean below it."""
        rows = {name.replace("_", " "): _row(part) for name, part in self.parts.items()}
        return "\n".join([format_table({**rows, "total": _row(self.total)}), "", *self._notes()])

    def _notes(self) -> list[str]:
        facts = self.facts
        height, width = facts["image_size"]
        threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
        notes = [
            f"{facts['network']}, {height} x {width} pixels, {facts['device']}, {threads}, PyTorch {facts['torch']}.",
            "Parameters, FLOPs and memory: the network alone on one image (batch 1).",
            "FLOPs: two for each multiply-add of convolutions, linear layers, matrix products and attention.",
            "  Not counted: bilinear sampling and resizing, normalisation, softmax, activations and sums.",
            f"Memory: {facts['memory_method']}, {facts['parameter_bytes'] / 2**30:.3f} GiB of parameters included.",
            "  A part's is the most while it runs, the total the largest of them.",
        ]
        if "clicks" in facts:
            notes += [
                f"SPC: mean of {facts['clicks'] - 1} clicks of a session, after one click to warm up.",
                "  A session predicts on the image and its mirror image (batch 2). Its own work is in the rest.",
            ]
        return notes


def _row(part: PartCost) -> dict[str, float]:
    row = {
        "parameters (M)": part.parameters / 1e6,
        "multiply-adds (G)": part.flops / 2e9,
        "FLOPs (G)": part.flops / 1e9,
        "peak memory (GiB)": part.memory / 2**30,
    }
    return row if part.seconds is None else {**row, "SPC (ms)": 1e3 * part.seconds}
