"""Slices of a volume with clicks and masks."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.visualize.figures import new_figure
from adaptiveclick_med.visualize.pictures import draw_image

__all__ = ["draw_volume"]


def draw_volume(session: VolumeSession, label: int = 1, plane: str | None = None, *, count: int = 8) -> Figure:
    """Draw slices through an object: those that were clicked, and others evenly between its ends.

    Slices are shown as radiologists see them, with pixels as long as they are wide in millimetres.

    Args:
        session: the session.
        label: number of the object.
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``; by default the acquisition plane.
        count: most slices; clicked ones are always shown.

    Returns:
        A figure without a window.

    Raises:
        ValueError: when the object has no voxel and no click, or ``count`` is not positive.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}.")
    image = session.image
    plane = image.known(plane or image.acquisition_plane)
    cut, mask = image.planes[plane], session.mask(label)
    clicks: dict[int, list[Click]] = {}
    for click in session.clicks(label):
        if click.plane == plane:
            index, row, column = image.locate((click.i, click.j, click.k), plane)
            clicks.setdefault(index, []).append(Click(row, column, click.positive))
    filled = np.flatnonzero(cut.view(mask).any(axis=(1, 2)))
    chosen = set(clicks)
    if filled.size:
        wanted = np.linspace(0, filled.size - 1, max(0, min(count - len(chosen), filled.size))).round().astype(int)
        chosen.update(int(index) for index in filled[wanted])
    if not chosen:
        raise ValueError(f"label {label} has no voxel and no click, so there is nothing to draw.")
    columns = min(4, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    tall, wide = image.pixel_sides(plane)
    _, height, width = cut.size(image.shape)
    high = 2.4 * min(max(height * tall / (width * wide), 0.3), 3.0)
    figure = new_figure(2.45 * columns, (high + 0.25) * rows, layout="tight")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, index in zip(grid, sorted(chosen), strict=False):
        picture = image.picture(plane, index).permute(1, 2, 0).numpy()
        title = f"{plane} {index}"
        draw_image(axes, picture, mask=cut.take(mask, index), clicks=clicks.get(index, ()), title=title)
        axes.set_aspect(tall / wide)
    return figure
