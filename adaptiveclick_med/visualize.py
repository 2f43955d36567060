"""Pictures of images, clicks, masks and candidates, drawn the same way everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med._files import replacing
from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import Prediction

__all__ = ["draw_image", "draw_sessions", "save_figure"]

_TARGET, _MASK, _POSITIVE, _NEGATIVE = "#ffd700", "#00a2ff", "#2ecc40", "#ff4136"


def draw_image(
    axes: Axes,
    image: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    target: ArrayLike | None = None,
    clicks: Iterable[Click] = (),
    title: str = "",
) -> None:
    """Draw an image with a mask (blue, filled), a target (yellow outline) and clicks (green on, red off the object).

    Args:
        axes: where to draw.
        image: [H, W] or [H, W, 3], values in [0, 1] or 0 ... 255.
        mask: [H, W] boolean.
        target: [H, W]; object where > 0.
        clicks: in image pixels.
        title: above the picture.
    """
    shown = np.asarray(image)
    largest = 255.0 if shown.dtype.kind in "iu" or (shown.size and shown.max() > 1) else 1.0
    axes.imshow((shown / largest).clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if mask is not None and np.any(mask):
        axes.contourf(np.asarray(mask, float), levels=[0.5, 1.5], colors=[_MASK], alpha=0.35)
        _outline(axes, np.asarray(mask, bool), _MASK, 1.2)
    if target is not None:
        _outline(axes, np.asarray(target) > 0, _TARGET, 1.0)
    for number, click in enumerate(clicks, start=1):
        colour = _POSITIVE if click.positive else _NEGATIVE
        axes.plot(click.column, click.row, "o", color=colour, markeredgecolor="white", markersize=6)
        axes.annotate(str(number), (click.column, click.row), color="white", fontsize=7, ha="center", va="center")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=width)


def draw_sessions(
    rows: Sequence[tuple[ArrayLike, ArrayLike, Sequence[Click], Sequence[Prediction], Sequence[float]]],
    *,
    steps: Sequence[int] = (1, 3),
    candidates: int = 3,
) -> Figure:
    """Draw a row for each session: the image with its target, the mask after some clicks, the best candidates.

    Args:
        rows: (image [H, W] or [H, W, 3], target [H, W], clicks, prediction after each click, IoU after each click).
        steps: numbers of clicks to show; the last prediction stands for those beyond it.
        candidates: how many alternatives of the first click to show, the most confident first.

    Returns:
        A figure without a window.
    """
    columns = 1 + len(steps) + candidates
    figure = Figure(figsize=(2.2 * columns, 2.4 * len(rows)), layout="tight")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(rows), columns, squeeze=False)
    for line, (image, target, clicks, predictions, ious) in zip(grid, rows, strict=True):
        draw_image(line[0], image, target=target, title="image, target")
        for axes, step in zip(line[1:], steps, strict=False):
            last = min(step, len(predictions))
            draw_image(
                axes,
                image,
                mask=predictions[last - 1].mask,
                target=target,
                clicks=clicks[:last],
                title=f"{last} click{'s' if last > 1 else ''}, IoU {ious[last - 1]:.2f}",
            )
        alternatives = predictions[0].candidates
        for rank, axes in enumerate(line[1 + len(steps) :]):
            if rank < len(alternatives):
                confidence = alternatives[rank].confidence
                draw_image(
                    axes,
                    image,
                    mask=alternatives[rank].mask,
                    clicks=clicks[:1],
                    title=f"candidate {rank + 1} ({confidence:.2f})",
                )
            else:
                axes.set_axis_off()
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
