"""Charts of an evaluation: mean IoU against clicks, and how the IoUs of objects are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.visualize.figures import new_figure

__all__ = ["draw_curve_panels", "draw_curves", "draw_histogram"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#8c564b")
_LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (2.5, 1)),
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (1, 2.5)),
    (0, (9, 3)),
)
_MARKERS = "os^vDPX*"
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++", "---")
_EDGES = np.arange(11) / 10
_GREY = "#606060"


def draw_curves(curves: Mapping[str, ArrayLike], thresholds: Sequence[float] = (0.85, 0.9)) -> Figure:
    """Draw mean IoU against clicks, one curve a method.

    Each curve has a colour, a line style and a marker of its own, so that they differ without colour too. The legend
    names the curve that ends highest first.

    Args:
        curves: label -> mean IoU after 1 ... K clicks, [K].
        thresholds: IoUs to mark by a line.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when there is no curve, or a curve is not [K] with values in [0, 1].
    """
    return draw_curve_panels({"": curves}, thresholds)


def draw_curve_panels(
    panels: Mapping[str, Mapping[str, ArrayLike]], thresholds: Sequence[float] = (0.85, 0.9)
) -> Figure:
    """Draw mean IoU against clicks in a panel for each data set; a method looks the same in all panels.

    The legend names the curve that ends highest first, on average over the panels in which it is.

    Args:
        panels: title -> label -> mean IoU after 1 ... K clicks, [K].
        thresholds: IoUs to mark by a line.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when there is no panel or no curve, or a curve is not [K] with values in [0, 1].
    """
    content = {
        title: {label: _ious(curve, f"curve {label!r}", "K") for label, curve in curves.items()}
        for title, curves in panels.items()
    }
    labels = list(dict.fromkeys(label for curves in content.values() for label in curves))
    if not labels:
        raise ValueError("curves must hold at least one curve.")
    styles = dict(zip(labels, _styles(len(labels)), strict=True))
    columns = 2 if len(content) == 4 else min(3, len(content))
    rows = -(-len(content) // columns)
    width = 5.6 if columns == 1 else 3.4 * columns
    lines, legend_columns = _legend_lines(labels, width)
    figure = new_figure(width, (3.3 if columns == 1 else 2.7) * rows + 0.2 * lines)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, curves) in zip(grid, content.items(), strict=False):
        for label, curve in curves.items():
            axes.plot(range(1, len(curve) + 1), curve, label=label, **styles[label])
        _frame(axes, max((len(curve) for curve in curves.values()), default=1), thresholds)
        axes.set_title(title, fontsize=9, parse_math=False)
    for axes in grid[len(content) :]:
        axes.remove()
    ends = {label: float(np.mean([c[label][-1] for c in content.values() if label in c])) for label in labels}
    handles = {line.get_label(): line for axes in grid[: len(content)] for line in axes.get_lines()}
    ranked = sorted(labels, key=lambda label: -ends[label])
    _legend(figure, [(label, handles[label]) for label in ranked], legend_columns)
    return figure


def draw_histogram(ious: Mapping[str, ArrayLike], k: int) -> Figure:
    """Draw how many objects have which IoU after ``k`` clicks, in bins of 0.1, one bar a method.

    A bin holds its lower end, the last one 1.0 too.

    Args:
        ious: label -> IoU of each object after ``k`` clicks, [N].
        k: number of clicks.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when there is no label, ``k`` is no positive number, or IoUs are not [N] with values in [0, 1].
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if not ious:
        raise ValueError("ious must hold at least one label.")
    labels = list(ious)
    lines, legend_columns = _legend_lines(labels, 5.6)
    figure = new_figure(5.6, 2.9 + 0.2 * lines)
    axes = figure.subplots()
    width = 0.084 / len(labels)
    bars: list[tuple[str, Any]] = []
    for index, (label, style) in enumerate(zip(labels, _styles(len(labels)), strict=True)):
        counts, _ = np.histogram(_ious(ious[label], f"ious of {label!r}", "N"), _EDGES)
        places = _EDGES[:-1] + 0.008 + width * index
        hatch = _HATCHES[index % len(_HATCHES)]
        drawn = axes.bar(
            places, counts, width, align="edge", color=style["color"], hatch=hatch, edgecolor="white", linewidth=0.4
        )
        bars.append((label, drawn))
    axes.set(xlim=(0, 1), xticks=_EDGES, xlabel=f"IoU after {k} click{'' if k == 1 else 's'}", ylabel="objects")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _plain(axes)
    _legend(figure, bars, legend_columns)
    return figure


def _ious(values: ArrayLike, name: str, letter: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be of shape [{letter}] with at least one value, got {list(array.shape)}.")
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1], got values from {array.min():g} to {array.max():g}.")
    return array


def _styles(count: int) -> list[dict[str, Any]]:
    """Return that many line styles that differ with and without colour."""
    colours: list[Any] = list(_COLOURS)
    if count > len(colours):
        colours = list(matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count)))
    return [
        {
            "color": colours[index],
            "linestyle": _LINES[index % len(_LINES)],
            "marker": _MARKERS[(index + index // len(_LINES)) % len(_MARKERS)],
            "markersize": 3.5,
            "linewidth": 1.5,
        }
        for index in range(count)
    ]


def _frame(axes: Axes, clicks: int, thresholds: Sequence[float]) -> None:
    axes.set(xlim=(0.5, clicks + 0.5), ylim=(0, 1), xlabel="clicks", ylabel="mean IoU")
    step = 1 if clicks <= 10 else 5 * -(-clicks // 50)
    axes.set_xticks(range(1, clicks + 1) if step == 1 else [1, *range(step, clicks + 1, step)])
    axes.set_yticks(np.arange(6) / 5)
    _plain(axes)
    for close in _close_together(thresholds):
        for threshold in close:
            axes.axhline(threshold, color=_GREY, linewidth=0.8, linestyle=":", zorder=1)
        axes.text(
            *(1.01, float(np.mean(close)), ", ".join(f"{threshold:g}" for threshold in close)),
            transform=axes.get_yaxis_transform(),
            fontsize=7,
            va="center",
            color=_GREY,
        )


def _close_together(values: Sequence[float], distance: float = 0.045) -> list[list[float]]:
    """Return sorted values in groups; inside a group the next one is too near for a label of its own."""
    groups: list[list[float]] = []
    for value in sorted(values):
        if groups and value - groups[-1][-1] < distance:
            groups[-1].append(value)
        else:
            groups.append([value])
    return groups


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend_lines(labels: Sequence[str], width: float) -> tuple[int, int]:
    """Return (lines, columns) of a legend with those labels in a figure of a width in inches."""
    # in points: a letter of 8 points is about 5.2 wide; line and gaps beside a label take 55
    columns = max(1, min(len(labels), int(width * 72 / (max(map(len, labels)) * 5.2 + 55))))
    return -(-len(labels) // columns), columns


def _legend(figure: Figure, entries: Sequence[tuple[str, Any]], columns: int) -> None:
    legend = figure.legend(
        [handle for _, handle in entries],
        [label for label, _ in entries],
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=3.5,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
