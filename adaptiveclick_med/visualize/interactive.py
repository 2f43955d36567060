"""Pictures to click on, in a notebook or any other window of matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.visualize.pictures import draw_image

__all__ = ["ClickFigure", "Clickable", "SliceSession"]

_LEFT, _RIGHT = 1, 3


class Clickable(Protocol):
    """What a :class:`ClickFigure` needs of a session; an ``InteractiveSession`` has it."""

    @property
    def clicks(self) -> Iterable[Click]:
        """The clicks made so far, in pixels of the picture."""

    @property
    def prediction(self) -> Any:
        """The newest answer with its ``mask`` [H, W], or ``None``."""

    def click(self, row: float, column: float, positive: bool = True) -> Any:
        """Add a click."""

    def choose(self, rank: int) -> Any:
        """Take a candidate."""

    def undo(self) -> Any:
        """Take the newest action back."""

    def reset(self) -> None:
        """Forget all clicks."""


class SliceSession:
    """One slice of a volume as a session of its own, to click on it in (row, column).

    Args:
        session: of the volume.
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        index: of the slice, along the array axis of the plane.
        label: number of the object.

    Raises:
        ValueError: when the plane is unknown.
        IndexError: when there is no such slice.
    """

    def __init__(self, session: VolumeSession, plane: str, index: int, label: int = 1) -> None:
        image = session.image
        self.session = session
        self.plane = image.known(plane)
        self.index = index
        self.label = label
        self._cut = image.planes[self.plane]
        self._to_voxel = self._cut.affine(np.eye(4), image.shape, index)
        self._cut.take(session.mask(label), index)  # refuses what does not exist

    @property
    def picture(self) -> NDArray[np.float32]:
        """The slice as shown, [H, W, 3] in [0, 1]."""
        picture: NDArray[np.float32] = self.session.image.picture(self.plane, self.index).permute(1, 2, 0).numpy()
        return picture

    @property
    def clicks(self) -> list[Click]:
        """The clicks on this slice, in its pixels."""
        locate = self.session.image.locate
        made = [click for click in self.session.clicks(self.label) if click.plane == self.plane]
        places = [(locate((click.i, click.j, click.k), self.plane), click.positive) for click in made]
        return [Click(row, column, positive) for (index, row, column), positive in places if index == self.index]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What is segmented on this slice, [H, W] boolean."""
        return self._cut.take(self.session.mask(self.label), self.index)

    @property
    def prediction(self) -> SliceSession:
        """The slice itself, for its mask."""
        return self

    def click(self, row: float, column: float, positive: bool = True) -> Any:
        """Click on a pixel, see :meth:`VolumeSession.click`."""
        i, j, k = (self._to_voxel @ [row, column, 0.0, 1.0])[:3].tolist()
        return self.session.click((i, j, k), positive, label=self.label, plane=self.plane)

    def choose(self, rank: int) -> Any:
        """Take a candidate of the volume's newest click.

        Raises:
            ValueError: when there is no such candidate, or that click was on another slice or object.
        """
        newest = self.session.prediction
        if newest is not None and (newest.plane, newest.index, newest.label) != (self.plane, self.index, self.label):
            raise ValueError("The newest click was not on this slice, so there is no candidate to choose.")
        return self.session.choose(rank)

    def undo(self) -> Any:
        """Take the volume's newest action back, on whatever slice it was."""
        return self.session.undo()

    def reset(self) -> None:
        """Forget the whole object."""
        self.session.reset(self.label)


class ClickFigure:
    """A picture to click on: the mask follows.

    The left button says that a place belongs to the object, the right button (or Shift and the left one) that it does
    not. ``u`` takes the newest click back, ``x`` forgets all, ``1`` ... ``9`` take a candidate. What cannot be done is
    said above the picture. While matplotlib's zoom or pan is on, clicks are left to it.

    In a notebook ``%matplotlib widget`` must come first; without it the picture is drawn, but does not hear clicks.

    Args:
        session: an :class:`~adaptiveclick_med.inference.InteractiveSession` with its image set, or a
            :class:`SliceSession`.
        image: [H, W] or [H, W, 3], values in [0, 1] or 0 ... 255; of a :class:`SliceSession` its own picture.
        target: [H, W], object where > 0: outlined.
        figure: where to draw; ``None``: a new one of pyplot.

    Attributes:
        session: as given; all that was clicked is in there.
        figure: the figure.
    """

    def __init__(
        self,
        session: Clickable | SliceSession,
        image: ArrayLike | None = None,
        *,
        target: ArrayLike | None = None,
        figure: Figure | None = None,
    ) -> None:
        if image is None:
            if not isinstance(session, SliceSession):
                raise ValueError("image must be given: only a SliceSession knows its picture.")
            image = session.picture
        if figure is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=(5, 5), layout="constrained")
        self.session = session
        self.figure = figure
        self._image = np.asarray(image)
        self._target = target
        self._axes = figure.add_subplot()
        canvas: Any = figure.canvas
        # matplotlib holds methods weakly; through a function the figure keeps this object alive.
        canvas.mpl_connect("button_press_event", lambda event: self._pressed(event))
        canvas.mpl_connect("key_press_event", lambda event: self._typed(event))
        self._draw()

    def _pressed(self, event: Any) -> None:
        if event.inaxes is not self._axes or event.canvas.widgetlock.locked() or event.button not in (_LEFT, _RIGHT):
            return
        shift = "shift" in (event.key or "") or "shift" in (event.modifiers or ())  # windows, browsers
        self._try(self.session.click, float(event.ydata), float(event.xdata), event.button == _LEFT and not shift)

    def _typed(self, event: Any) -> None:
        key = event.key or ""
        if key == "u":
            self._try(self.session.undo)
        elif key == "x":
            self._try(self.session.reset)
        elif key in tuple("123456789"):
            self._try(self.session.choose, int(key) - 1)

    def _try(self, action: Any, *arguments: Any) -> None:
        problem = ""
        try:
            action(*arguments)
        except (ValueError, IndexError, RuntimeError) as error:  # an error in a handler would be seen by nobody
            problem = str(error)
        self._draw(problem)

    def _draw(self, problem: str = "") -> None:
        made, prediction = list(self.session.clicks), self.session.prediction
        mask = None if prediction is None else prediction.mask
        count = 0 if mask is None else int(np.count_nonzero(mask))
        title = problem or f"{len(made)} click{'' if len(made) == 1 else 's'}, {count} pixels"
        shown = (self._axes.get_xlim(), self._axes.get_ylim()) if self._axes.images else None
        self._axes.clear()
        draw_image(self._axes, self._image, mask=mask, target=self._target, clicks=made)
        self._axes.set_title(title, fontsize=9, wrap=True, color="#b00020" if problem else "black", parse_math=False)
        if shown is not None:  # stay where the user zoomed to
            self._axes.set(xlim=shown[0], ylim=shown[1])
        if isinstance(self.session, SliceSession):
            tall, wide = self.session.session.image.pixel_sides(self.session.plane)
            self._axes.set_aspect(tall / wide)
        self.figure.canvas.draw_idle()
