"""Pictures to click on: events of matplotlib become clicks of a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.figure import Figure

from adaptiveclick_med.clicks import Click, click_maps
from adaptiveclick_med.inference import InteractiveSession, VolumeSession
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.visualize.figures import new_figure
from adaptiveclick_med.visualize.interactive import ClickFigure, SliceSession

PICTURE = np.zeros((40, 60), np.uint8)
TILTED = np.array([[-2.0, 0.0, 0.1, 5.0], [0.0, -2.0, 0.0, 9.0], [0.2, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]])


def disks(image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Answer with a disk of a radius of 3 pixels at each positive click."""
    return 20 * click_maps(points, (image.shape[-2], image.shape[-1]), 3.0)[:, :1] - 10


def picture_session(**options: Any) -> InteractiveSession:
    session = InteractiveSession(disks, zoom_in=False, flip=False, **options)
    session.set_image(PICTURE)
    return session


def press(figure: Figure, row: float, column: float, button: int = 1, **more: Any) -> None:
    canvas: Any = figure.canvas
    canvas.draw()
    x, y = figure.axes[0].transData.transform((column, row))
    canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", canvas, x, y, button, **more))


def strike(figure: Figure, key: str) -> None:
    canvas: Any = figure.canvas
    canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", canvas, key))


def title(figure: Figure) -> str:
    return figure.axes[0].get_title()


def test_buttons_are_positive_and_negative_clicks() -> None:
    session = picture_session()
    figure = ClickFigure(session, PICTURE, figure=new_figure(4, 4)).figure
    assert title(figure) == "0 clicks, 0 pixels"
    press(figure, 10, 20)
    assert title(figure) == "1 click, 29 pixels"
    press(figure, 30.5, 7.25)
    press(figure, 5, 5, button=3)
    press(figure, 6, 6, key="shift")  # as windows tell it
    press(figure, 8, 8, modifiers=["shift"])  # as browsers do
    press(figure, 7, 7, button=2)
    made = [(click.row, click.column, click.positive) for click in session.clicks]
    assert [positive for *_, positive in made] == [True, True, False, False, False]
    expected = [(10, 20), (30.5, 7.25), (5, 5), (6, 6), (8, 8)]
    np.testing.assert_allclose([place for *place, _ in made], expected, atol=0.01)
    assert title(figure).startswith("5 clicks, ")


def test_only_clicks_on_the_picture_count() -> None:
    session = picture_session()
    shown = ClickFigure(session, PICTURE, figure=new_figure(4, 4))
    press(shown.figure, -300, 20)
    assert not session.clicks
    shown.figure.canvas.widgetlock(shown)  # as zoom and pan do
    press(shown.figure, 10, 20)
    assert not session.clicks
    shown.figure.canvas.widgetlock.release(shown)
    press(shown.figure, 10, 20)
    assert len(session.clicks) == 1


def test_keys_undo_and_forget() -> None:
    session = picture_session()
    figure = ClickFigure(session, PICTURE, figure=new_figure(4, 4)).figure
    for column in (10, 30, 50):
        press(figure, 20, column)
    strike(figure, "u")
    assert [round(click.column) for click in session.clicks] == [10, 30]
    assert title(figure) == "2 clicks, 58 pixels"
    strike(figure, "q")
    assert len(session.clicks) == 2
    strike(figure, "x")
    assert title(figure) == "0 clicks, 0 pixels"


def test_what_cannot_be_done_is_said() -> None:
    figure = ClickFigure(picture_session(max_clicks=1), PICTURE, figure=new_figure(4, 4)).figure
    press(figure, 10, 10, button=3)
    assert title(figure).startswith("There is no positive click")
    strike(figure, "u")
    assert title(figure) == "There is no click to undo."
    strike(figure, "1")
    assert title(figure).startswith("rank must be left out: there are no candidates")
    press(figure, 10, 10)
    press(figure, 20, 10)
    assert title(figure).startswith("There are already max_clicks = 1")
    strike(figure, "u")
    assert title(figure) == "0 clicks, 0 pixels"


def test_a_number_takes_a_candidate() -> None:
    torch.manual_seed(0)
    session = InteractiveSession(AdaptiveClick.from_preset("nano", image_size=32).eval())
    session.set_image(PICTURE)
    figure = ClickFigure(session, PICTURE, figure=new_figure(4, 4)).figure
    press(figure, 10, 10)
    first = session.prediction
    assert first is not None
    strike(figure, "3")
    assert session.prediction is not None
    np.testing.assert_array_equal(session.prediction.mask, first.candidates[2].mask)
    strike(figure, "u")
    assert session.prediction is first


def test_the_user_stays_where_they_zoomed_to() -> None:
    figure = ClickFigure(picture_session(), PICTURE, figure=new_figure(4, 4)).figure
    assert figure.axes[0].get_xlim() == (-0.5, 59.5)
    figure.axes[0].set(xlim=(10, 30), ylim=(25, 5))
    press(figure, 12, 20)
    assert figure.axes[0].get_xlim() == (10, 30)
    assert figure.axes[0].get_ylim() == (25, 5)


def test_what_is_drawn() -> None:
    target = np.zeros((40, 60), np.uint8)
    target[5:20, 5:20] = 1
    figure = ClickFigure(picture_session(), PICTURE, target=target, figure=new_figure(4, 4)).figure
    (axes,) = figure.axes
    outlines = len(axes.collections)
    press(figure, 10, 20)
    assert len(axes.collections) == outlines + 2  # the mask and its outline
    assert [tuple(round(float(at)) for at in line.get_xydata()[0]) for line in axes.lines] == [(20, 10)]


def test_without_a_figure_there_is_one_of_pyplot() -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    shown = ClickFigure(picture_session(), PICTURE)
    assert pyplot.fignum_exists(shown.figure.number)  # type: ignore[attr-defined]
    pyplot.close(shown.figure)


def test_a_picture_must_come_with_its_image() -> None:
    with pytest.raises(ValueError, match="only a SliceSession knows its picture"):
        ClickFigure(picture_session(), figure=new_figure(4, 4))


@pytest.fixture
def volume() -> VolumeSession:
    session = VolumeSession(disks, zoom_in=False, flip=False)
    session.set_volume(np.arange(30 * 24 * 9, dtype=np.int16).reshape(30, 24, 9), TILTED)
    return session


class TestSlice:
    def test_clicks_go_to_the_voxel_that_is_shown(self, volume: VolumeSession) -> None:
        one = SliceSession(volume, "coronal", 11, label=2)
        assert one.picture.shape == (9, 30, 3)
        figure = ClickFigure(one, figure=new_figure(4, 4)).figure
        assert figure.axes[0].get_aspect() == pytest.approx(volume.image.pixel_sides("coronal")[0] / 2.01, abs=0.01)
        press(figure, 2, 21)
        (click,) = volume.clicks()
        assert (click.label, click.plane, click.positive) == (2, "coronal", True)
        np.testing.assert_allclose((click.i, click.j, click.k), (21, 11, 9 - 1 - 2), atol=0.01)
        assert bool(volume.mask(2)[21, 11, 6])
        assert [(round(each.row), round(each.column)) for each in one.clicks] == [(2, 21)]
        assert one.mask.sum() == volume.mask(2).sum() > 0
        np.testing.assert_array_equal(one.mask, one.prediction.mask)

    def test_other_slices_and_objects_are_not_shown(self, volume: VolumeSession) -> None:
        here = SliceSession(volume, "axial", 4)
        ClickFigure(here, figure=new_figure(4, 4))
        volume.click((10, 10, 5))
        volume.click((10, 10, 4), label=2)
        volume.click((10, 10, 4), plane="sagittal")
        assert list(here.clicks) == []
        here.click(12, 6)
        assert here.clicks == [Click(12, 6, True)]
        here.undo()
        assert here.clicks == []
        with pytest.raises(ValueError, match="The newest click was not on this slice"):
            here.choose(0)
        here.reset()
        assert [click.label for click in volume.clicks()] == [2]

    def test_what_does_not_exist(self, volume: VolumeSession) -> None:
        with pytest.raises(ValueError, match="plane must be one of"):
            SliceSession(volume, "frontal", 4)
        with pytest.raises(IndexError, match="slice index 9 is outside the volume's 9 slices"):
            SliceSession(volume, "axial", 9)
