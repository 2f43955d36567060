"""Images with clicks, masks, probabilities and candidates."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import Candidate, Prediction
from adaptiveclick_med.visualize.figures import new_figure

__all__ = ["draw_image", "draw_object", "draw_prediction", "draw_sessions"]

_TARGET, _MASK, _POSITIVE, _NEGATIVE = "#ffd700", "#00a2ff", "#2ecc40", "#ff4136"
_HEAT, _HEAT_ALPHA, _HEAT_FROM = "plasma", 0.7, 0.05


def draw_image(
    axes: Axes,
    image: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    target: ArrayLike | None = None,
    probability: ArrayLike | None = None,
    clicks: Iterable[Click] = (),
    title: str = "",
) -> None:
    """Draw an image with a mask (blue, filled), a target (yellow outline) and clicks (green on, red off the object).

    A probability map is a heat map from dark blue (0) to yellow (1), the same colours for the same values in every
    picture; it fades out below 0.05, so that the image stays visible there.

    Args:
        axes: where to draw.
        image: [H, W] or [H, W, 3], values in [0, 1] or 0 ... 255.
        mask: [H, W] boolean.
        target: [H, W]; object where > 0.
        probability: [H, W] in [0, 1].
        clicks: in image pixels.
        title: above the picture.

    Raises:
        ValueError: when ``mask``, ``target`` or ``probability`` is not of the image's size, or a probability lies
            outside [0, 1].
    """
    shown = np.asarray(image)
    largest = 255.0 if shown.dtype.kind in "iu" or (shown.size and shown.max() > 1) else 1.0
    axes.imshow((shown / largest).clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.autoscale(False)
    if probability is not None:
        heat = _plane(probability, shown, "probability").astype(float)
        if not ((heat >= 0) & (heat <= 1)).all():
            raise ValueError(f"probability must lie in [0, 1], got values from {heat.min():g} to {heat.max():g}.")
        alpha = _HEAT_ALPHA * (heat / _HEAT_FROM).clip(0, 1)
        axes.imshow(heat, cmap=_HEAT, vmin=0, vmax=1, alpha=alpha, interpolation="nearest")
    if mask is not None:
        inside = _plane(mask, shown, "mask").astype(bool)
        if inside.any():
            axes.contourf(inside.astype(float), levels=[0.5, 1.5], colors=[_MASK], alpha=0.35)
            _outline(axes, inside, _MASK, 1.2)
    if target is not None:
        _outline(axes, _plane(target, shown, "target") > 0, _TARGET, 1.0)
    for number, click in enumerate(clicks, start=1):
        colour = _POSITIVE if click.positive else _NEGATIVE
        axes.plot(click.column, click.row, "o", color=colour, markeredgecolor="white", markersize=6)
        _number_beside(axes, number, click, shown.shape[:2])
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_axis_off()


def _number_beside(axes: Axes, number: int, click: Click, size: Sequence[int]) -> None:
    """Write a click's number to the upper right of it; near the upper or right edge on the other side."""
    right, above = click.column < 0.9 * size[1], click.row > 0.1 * size[0]
    axes.annotate(
        str(number),
        (click.column, click.row),
        (4 if right else -4, 2 if above else -2),
        textcoords="offset points",
        color="white",
        fontsize=7,
        ha="left" if right else "right",
        va="bottom" if above else "top",
        path_effects=[withStroke(linewidth=1.5, foreground="black")],
    )


def _plane(values: ArrayLike, image: NDArray[Any], name: str) -> NDArray[Any]:
    plane = np.asarray(values)
    if plane.shape != image.shape[:2]:
        raise ValueError(f"{name} must be of the image's size {list(image.shape[:2])}, got {list(plane.shape)}.")
    return plane


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=width)


def _row_of_pictures(
    count: int, image: ArrayLike, *, width: float, above: float, below: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure of pictures beside each other, as high as the image needs; all lengths in inches."""
    rows, columns = np.shape(image)[:2]
    high, gap = width * min(max(rows / columns, 0.3), 3.0), 0.05
    figure = new_figure(count * (width + gap) + gap, high + above + below + gap, layout=None)
    whole_width, whole_height = figure.get_size_inches()
    places = [(gap + index * (width + gap), gap + below, width, high) for index in range(count)]
    scale = (1 / whole_width, 1 / whole_height) * 2
    return figure, [figure.add_axes(tuple(x * y for x, y in zip(place, scale, strict=True))) for place in places]


def _number(clicks: Sequence[Click]) -> str:
    return f"{len(clicks)} click{'' if len(clicks) == 1 else 's'}"


def _draw_candidate(
    axes: Axes, image: ArrayLike, candidates: Sequence[Candidate], rank: int, clicks: Iterable[Click]
) -> None:
    chosen = candidates[rank]
    title = f"candidate {rank + 1} ({chosen.confidence:.2f})"
    draw_image(axes, image, mask=chosen.mask, clicks=clicks, title=title)


def draw_prediction(
    image: ArrayLike,
    prediction: Prediction,
    clicks: Iterable[Click],
    target: ArrayLike | None = None,
    candidates: int = 3,
) -> Figure:
    """Draw an answer: the image with clicks and mask, the probability, and the best candidates with their confidences.

    Args:
        image: [H, W] or [H, W, 3], values in [0, 1] or 0 ... 255.
        prediction: the answer of a session.
        clicks: that led to it, in image pixels.
        target: [H, W]; object where > 0, outlined.
        candidates: how many candidates to show at most, the most confident first.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when ``candidates`` is negative, or an array is not of the image's size.
    """
    if candidates < 0:
        raise ValueError(f"candidates must be at least 0, got {candidates}.")
    made = list(clicks)
    ranked = prediction.candidates[:candidates] if candidates else []
    figure, (first, second, *others) = _row_of_pictures(2 + len(ranked), image, width=2.4, above=0.25, below=0.3)
    draw_image(first, image, mask=prediction.mask, target=target, clicks=made, title=_number(made))
    draw_image(second, image, probability=prediction.probability, title="probability")
    inch = 1 / (second.get_position().height * figure.get_size_inches()[1])
    bar = second.inset_axes((0.1, -0.15 * inch, 0.8, 0.1 * inch))
    figure.colorbar(second.images[-1], cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7, length=2, pad=1)
    for rank, axes in enumerate(others):
        _draw_candidate(axes, image, ranked, rank, made)
    return figure


def draw_object(
    image: ArrayLike, target: ArrayLike, clicks: Iterable[Click], mask: ArrayLike, title: str = ""
) -> Figure:
    """Draw one object of an evaluation, small: left the image with its target, right the mask and the clicks.

    Args:
        image: [H, W] or [H, W, 3], values in [0, 1] or 0 ... 255.
        target: [H, W]; object where > 0.
        clicks: in image pixels.
        mask: [H, W] boolean.
        title: above both; long ones are broken into lines.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when an array is not of the image's size.
    """
    lines = textwrap.wrap(title, 62)
    figure, (left, right) = _row_of_pictures(2, image, width=2.2, above=0.28 + 0.16 * len(lines))
    made = list(clicks)
    draw_image(left, image, target=target, title="target")
    draw_image(right, image, mask=mask, clicks=made, title=_number(made))
    if lines:
        figure.suptitle(
            "\n".join(lines), y=1 - 0.05 / figure.get_size_inches()[1], fontsize=9, va="top", parse_math=False
        )
    return figure


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
    figure = new_figure(2.2 * columns, 2.4 * len(rows), layout="tight")
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
        for rank, axes in enumerate(line[1 + len(steps) :]):
            if rank < len(predictions[0].candidates):
                _draw_candidate(axes, image, predictions[0].candidates, rank, clicks[:1])
            else:
                axes.set_axis_off()
    return figure
