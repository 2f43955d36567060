"""Figures without a window, and how they become files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adaptiveclick_med._files import replacing

__all__ = ["new_figure", "save_figure"]


def new_figure(
    width: float, height: float, *, layout: Literal["constrained", "tight"] | None = "constrained"
) -> Figure:
    """Return an empty figure without a window.

    Args:
        width: in inches.
        height: in inches.
        layout: layout engine of matplotlib; ``None``: axes stay where they are put.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 100) -> Path:
    """Write a figure; the file appears whole or not at all.

    Args:
        figure: what to write.
        path: a name with a suffix that matplotlib knows, such as ``.png``.
        dpi: pixels an inch.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return Path(path)
