"""Pictures: what is drawn where, in which colour."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference import Candidate, Prediction
from adaptiveclick_med.visualize import draw_image, draw_object, draw_prediction, draw_sessions, save_figure

GREEN, RED, YELLOW, BLUE = (46, 204, 64), (255, 65, 54), (255, 215, 0), (0, 162, 255)
SIZE = (40, 50)


def drawn(image: Any, **options: Any) -> tuple[np.ndarray, Any]:
    """The picture at 20 screen pixels an image pixel, [800, 1000, 3], and its axes."""
    figure = Figure(figsize=(5, 4), dpi=200)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        draw_image(axes, image, **options)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int), axes


def at(picture: np.ndarray, row: float, column: float) -> tuple[int, ...]:
    return tuple(picture[round(20 * row + 10), round(20 * column + 10)].tolist())


def close(colour: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= 6


class TestDrawImage:
    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (np.full(SIZE, 0.5), (127, 127, 127)),
            (np.full((*SIZE, 3), 0.5, np.float32), (127, 127, 127)),
            (np.full(SIZE, 100, np.uint8), (100, 100, 100)),
            (np.full(SIZE, 100, np.int64), (100, 100, 100)),
            (np.full((*SIZE, 3), 100.0), (100, 100, 100)),
            (np.full((*SIZE, 3), (10, 200, 30), np.uint8), (10, 200, 30)),
            (np.ones(SIZE, bool), (255, 255, 255)),
            (np.zeros(SIZE), (0, 0, 0)),
        ],
    )
    def test_brightness_is_that_of_the_image(self, image, expected):
        assert close(at(drawn(image)[0], 20, 25), expected)

    def test_low_contrast_is_not_stretched(self):
        image = np.linspace(0.4, 0.6, SIZE[0] * SIZE[1]).reshape(SIZE)
        picture, _ = drawn(image)
        for row, column in ((0, 0), (20, 25), (39, 49)):
            assert close(at(picture, row, column), (round(255 * image[row, column]),) * 3)

    def test_the_mask_is_blue_and_the_target_outlined(self):
        mask, target = np.zeros(SIZE, bool), np.zeros(SIZE, int)
        mask[10:20, 5:20], target[25:35, 30:45], target[0] = True, 1, -1
        picture, axes = drawn(np.zeros(SIZE), mask=mask, target=target)
        assert close(at(picture, 15, 12), tuple(round(0.35 * value) for value in BLUE))
        assert at(picture, 30, 37) == at(picture, 5, 5) == at(picture, 0, 20) == (0, 0, 0)
        assert close(at(picture, 24.5, 37), YELLOW)
        assert close(at(picture, 9.5, 12), BLUE)
        assert axes.get_xlim() == (-0.5, 49.5) and axes.get_ylim() == (39.5, -0.5)

    @pytest.mark.parametrize("inside", [np.zeros(SIZE), np.ones(SIZE)])
    def test_nothing_and_everything(self, inside):
        picture, _ = drawn(np.zeros(SIZE), mask=inside, target=inside)
        expected = tuple(round(0.35 * value) for value in BLUE) if inside.any() else (0, 0, 0)
        assert close(at(picture, 20, 25), expected)

    def test_clicks_lie_at_row_and_column_and_are_numbered(self):
        clicks = Clicks([Click(10, 40), Click(30.5, 5, positive=False), Click(2, 3)])
        picture, axes = drawn(np.zeros(SIZE), clicks=clicks, title="two")
        positions = [tuple(float(v[0]) for v in line.get_data()) for line in axes.lines]
        assert positions == [(40.0, 10.0), (5.0, 30.5), (3.0, 2.0)]
        colours = [tuple(round(255 * value) for value in to_rgb(line.get_color())) for line in axes.lines]
        assert colours == [GREEN, RED, GREEN]
        assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
        assert axes.get_title() == "two"
        # inside the marker of 6 points, beside the number
        assert close(at(picture, 9.9, 39.72), GREEN)
        assert close(at(picture, 30.4, 4.72), RED)
        assert at(picture, 39, 10) == (0, 0, 0)

    def test_numbers_stay_inside_at_the_edges(self):
        _, axes = drawn(np.zeros(SIZE), clicks=[Click(20, 25), Click(0, 49), Click(39, 0)])
        assert [(text.get_ha(), text.get_va()) for text in axes.texts] == [
            *(("left", "bottom"), ("right", "top"), ("left", "bottom")),
        ]

    def test_probability_is_a_heat_map_with_a_fixed_scale(self):
        probability = np.full(SIZE, 0.5, np.float32)
        probability[:10], probability[30:] = 0, 0.9
        picture, axes = drawn(np.full(SIZE, 0.5), probability=probability)
        heat = axes.images[1]
        assert np.array_equal(heat.get_array(), probability)
        assert heat.get_clim() == (0, 1)
        assert at(picture, 5, 25) == at(drawn(np.full(SIZE, 0.5))[0], 5, 25)
        for row, value in ((20, 0.5), (35, 0.9)):
            colour = 255 * (0.7 * np.array(heat.get_cmap()(value)[:3]) + 0.3 * 0.5)
            assert close(at(picture, row, 25), tuple(colour.round().astype(int).tolist()))
            assert max(at(picture, row, 25)) - min(at(picture, row, 25)) > 60  # no grey
        alone, _ = drawn(np.full(SIZE, 0.5), probability=np.full(SIZE, 0.5))
        assert close(at(alone, 20, 25), at(picture, 20, 25))

    @pytest.mark.parametrize("name", ["mask", "target", "probability"])
    def test_another_size(self, name):
        with pytest.raises(ValueError, match=rf"{name} must be of the image's size \[40, 50\], got \[50, 40\]"):
            drawn(np.zeros((*SIZE, 3)), **{name: np.zeros(SIZE[::-1])})

    @pytest.mark.parametrize(("value", "text"), [(1.5, "0 to 1.5"), (-0.5, "-0.5 to 0"), (np.nan, "nan to nan")])
    def test_no_probability(self, value, text):
        probability = np.zeros(SIZE)
        probability[0, 0] = value
        with pytest.raises(ValueError, match=rf"probability must lie in \[0, 1\], got values from {text}"):
            drawn(np.zeros(SIZE), probability=probability)

    def test_dollar_signs_in_a_title_are_text(self):
        drawn(np.zeros(SIZE), title=r"a $\frac$ b")

    def test_a_click_outside_leaves_the_picture_as_it_is(self):
        _, axes = drawn(np.zeros(SIZE), clicks=[Click(90, -7)])
        assert axes.get_xlim() == (-0.5, 49.5) and axes.get_ylim() == (39.5, -0.5)


@pytest.fixture
def row() -> tuple[Any, ...]:
    masks = [np.zeros(SIZE, bool) for _ in range(2)]
    masks[0][5:15, 5:15], masks[1][5:20, 5:20] = True, True
    candidates = [Candidate(mask, mask.astype(np.float32), sure) for mask, sure in zip(masks, (0.9, 0.25), strict=True)]
    predictions = [
        Prediction(masks[0], masks[0].astype(np.float32), lambda: candidates),
        Prediction(masks[1], masks[1].astype(np.float32)),
    ]
    target = masks[1].astype(int)
    clicks = Clicks([Click(10, 10), Click(30, 30, positive=False)])
    return np.full(SIZE, 0.5), target, clicks, predictions, [100 / 225, 1.0]


class TestDrawSessions:
    def titles(self, figure: Figure) -> list[str]:
        return [axes.get_title() for axes in figure.axes]

    def test_titles_say_what_is_shown(self, row):
        figure = draw_sessions([row])
        assert self.titles(figure) == [
            *("image, target", "1 click, IoU 0.44", "2 clicks, IoU 1.00"),
            *("candidate 1 (0.90)", "candidate 2 (0.25)", ""),
        ]
        assert [len(axes.lines) for axes in figure.axes] == [0, 1, 2, 1, 1, 0]
        assert len(figure.axes[5].images) == 0

    def test_rows_steps_and_candidates(self, row):
        figure = draw_sessions([row, row, row], steps=(2,), candidates=1)
        assert len(figure.axes) == 9
        assert self.titles(figure)[:3] == ["image, target", "2 clicks, IoU 1.00", "candidate 1 (0.90)"]
        assert self.titles(draw_sessions([row], steps=(), candidates=0)) == ["image, target"]

    def test_sessions_without_candidates(self, row):
        image, target, clicks, predictions, ious = row
        only = (image, target, clicks[:1], predictions[1:], ious[1:])
        titles = self.titles(draw_sessions([only], steps=(1, 5), candidates=2))
        assert titles == ["image, target", "1 click, IoU 1.00", "1 click, IoU 1.00", "", ""]


class TestDrawPrediction:
    def test_mask_probability_and_candidates(self, row):
        image, target, clicks, predictions, _ = row
        figure = draw_prediction(image, predictions[0], clicks, target)
        titles = [axes.get_title() for axes in figure.axes]
        assert titles[:4] == ["2 clicks", "probability", "candidate 1 (0.90)", "candidate 2 (0.25)"]
        first, second, *candidates = figure.axes[:4]
        assert [len(axes.lines) for axes in (first, second, *candidates)] == [2, 0, 2, 2]
        assert [tuple(float(v[0]) for v in line.get_data()) for line in first.lines] == [(10.0, 10.0), (30.0, 30.0)]
        assert np.array_equal(second.images[1].get_array(), predictions[0].probability)
        assert [len(axes.images) for axes in candidates] == [1, 1]

    def test_pictures_are_as_wide_as_each_other_and_keep_their_shape(self, row):
        figure = draw_prediction(row[0], row[3][0], row[2])
        inches = figure.get_size_inches()
        places = [axes.get_position() for axes in figure.axes[:4]]
        assert [place.width * inches[0] for place in places] == pytest.approx([2.4] * 4)
        assert [place.height * inches[1] for place in places] == pytest.approx([2.4 * 40 / 50] * 4)

    @pytest.mark.parametrize(("candidates", "shown"), [(0, 0), (1, 1), (9, 2)])
    def test_how_many_candidates(self, row, candidates, shown):
        figure = draw_prediction(row[0], row[3][0], row[2], candidates=candidates)
        titles = [axes.get_title() for axes in figure.axes]
        assert sum(title.startswith("candidate") for title in titles) == shown
        with pytest.raises(ValueError, match="candidates must be at least 0, got -1"):
            draw_prediction(row[0], row[3][0], row[2], candidates=-1)

    def test_candidates_that_are_not_shown_are_not_made(self, row):
        def fail() -> list[Candidate]:
            raise AssertionError

        draw_prediction(row[0], Prediction(row[3][0].mask, row[3][0].probability, fail), row[2], candidates=0)

    def test_without_candidates(self, row):
        figure = draw_prediction(row[0], row[3][1], row[2][:1])
        assert [axes.get_title() for axes in figure.axes[:2]] == ["1 click", "probability"]
        assert len([axes for axes in figure.axes if axes.images and axes.get_title()]) == 2


class TestDrawObject:
    def test_target_left_mask_and_clicks_right(self, row):
        image, target, clicks, predictions, _ = row
        figure = draw_object(image, target, clicks, predictions[0].mask, "case $1: IoU 0.44")
        left, right = figure.axes
        assert (left.get_title(), right.get_title()) == ("target", "2 clicks")
        assert (len(left.lines), len(right.lines)) == (0, 2)
        colours = [
            {tuple(round(255 * v) for v in edge[:3]) for lines in axes.collections for edge in lines.get_edgecolor()}
            for axes in figure.axes
        ]
        assert YELLOW in colours[0] and BLUE not in colours[0]
        assert BLUE in colours[1] and YELLOW not in colours[1]
        assert figure.get_suptitle() == "case $1: IoU 0.44"

    def test_titles_make_room(self, row):
        image, target, clicks, predictions, _ = row
        figures = [draw_object(image, target, clicks, predictions[0].mask, title) for title in ("", "a", "word " * 20)]
        heights = [figure.get_size_inches()[1] for figure in figures]
        assert heights[0] < heights[1] < heights[2]
        assert figures[0].get_suptitle() == ""
        assert figures[2].get_suptitle().count("\n") == 1
        for figure in figures[1:]:
            canvas: Any = figure.canvas
            box = figure._suptitle.get_window_extent(canvas.get_renderer())
            below = figure.axes[0].title.get_window_extent(canvas.get_renderer())
            assert box.y0 >= below.y1 and box.x0 >= 0
            assert box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width

    def test_files(self, row, tmp_path):
        image, target, clicks, predictions, _ = row
        figure = draw_object(image, target, clicks, predictions[0].mask, "case")
        assert Image.open(save_figure(figure, tmp_path / "a.png", dpi=50)).format == "PNG"
        assert save_figure(figure, tmp_path / "a.svg").read_text().startswith("<?xml")
        figure = draw_prediction(image, predictions[0], clicks, target)
        assert Image.open(save_figure(figure, tmp_path / "b.png", dpi=50)).format == "PNG"


class TestSaveFigure:
    def test_a_png_with_the_colours(self, row, tmp_path):
        path = save_figure(draw_sessions([row]), tmp_path / "new" / "picture.png", dpi=100)
        assert path == tmp_path / "new" / "picture.png"
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert picture.shape == (240, 1320, 3)
        assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
        grey = np.abs(picture - 127).max(-1) <= 2
        assert grey.mean() > 0.2
        for colour in (GREEN, RED, YELLOW, BLUE):
            near = np.abs(picture - np.array(colour)).max(-1) <= 40
            assert near.sum() > 3, colour

    @pytest.mark.parametrize("suffix", ["pdf", "svg", "jpg"])
    def test_other_formats(self, row, tmp_path, suffix):
        path = save_figure(draw_sessions([row]), str(tmp_path / f"picture.{suffix}"), dpi=30)
        head = path.read_bytes()[:5]
        assert head[:4] in (b"%PDF", b"<?xm", b"\xff\xd8\xff\xe0")

    def test_nothing_is_left_of_a_failure(self, row, tmp_path: Path):
        with pytest.raises(ValueError, match="xyz"):
            save_figure(draw_sessions([row]), tmp_path / "picture.xyz")
        assert list(tmp_path.iterdir()) == []
