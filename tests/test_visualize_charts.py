"""Charts: lines are the curves, bars are the counts, and methods differ without colour too."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from adaptiveclick_med.visualize import draw_curve_panels, draw_curves, draw_histogram, save_figure

CURVES = {"low": [0.2, 0.4, 0.5], "high": np.array([0.6, 0.8, 0.95, 0.96], np.float32), "middle": [0.7]}


def lines(axes: Any) -> dict[str, Any]:
    """The curves of a panel by label, without the lines of thresholds."""
    return {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_child")}


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Texts of a figure that lie over each other or outside of it."""
    canvas: Any = figure.canvas
    canvas.draw()
    texts: list[Any] = [*figure.legends[0].get_texts()]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts if text.get_text()]
    inside = figure.bbox.padded(1)
    wrong = [(name, "outside") for name, box in boxes if not (inside.contains(*box.p0) and inside.contains(*box.p1))]
    for index, (name, box) in enumerate(boxes):
        wrong += [(name, other) for other, place in boxes[:index] if box.overlaps(place)]
    return wrong


class TestDrawCurves:
    def test_lines_are_the_curves(self) -> None:
        figure = draw_curves(CURVES)
        (axes,) = figure.axes
        drawn = lines(axes)
        assert list(drawn) == ["low", "high", "middle"]
        for label, curve in CURVES.items():
            assert drawn[label].get_xdata().tolist() == list(range(1, len(curve) + 1))
            assert np.array_equal(drawn[label].get_ydata(), np.asarray(curve, float))
        assert axes.get_ylim() == (0, 1)
        assert axes.get_xlim() == (0.5, 4.5)

    def test_the_legend_goes_from_high_to_low(self) -> None:
        assert legend(draw_curves(CURVES)) == ["high", "middle", "low"]
        assert legend(draw_curves({"b": [0.5], "a": [0.5]})) == ["b", "a"]

    @pytest.mark.parametrize(
        ("clicks", "ticks"),
        [(1, [1]), (3, [1, 2, 3]), (10, list(range(1, 11))), (20, [1, 5, 10, 15, 20]), (100, [1, *range(10, 101, 10)])],
    )
    def test_ticks_are_whole_clicks(self, clicks: int, ticks: list[int]) -> None:
        (axes,) = draw_curves({"a": np.full(clicks, 0.5)}).axes
        assert axes.get_xticks().tolist() == ticks

    def test_thresholds(self) -> None:
        (axes,) = draw_curves(CURVES, thresholds=(0.9, 0.5, 0.89)).axes
        marked = [line.get_ydata()[0] for line in axes.lines if str(line.get_label()).startswith("_child")]
        assert marked == [0.5, 0.89, 0.9]
        assert [(text.get_text(), text.get_position()[1]) for text in axes.texts] == [
            ("0.5", 0.5),
            ("0.89, 0.9", pytest.approx(0.895)),
        ]
        assert draw_curves(CURVES, thresholds=()).axes[0].texts[:] == []

    @pytest.mark.parametrize("count", [2, 8, 9, 20])
    def test_curves_differ_with_and_without_colour(self, count: int) -> None:
        (axes,) = draw_curves({f"m{index}": [0.5, 0.6] for index in range(count)}).axes
        drawn = list(lines(axes).values())
        assert len({to_hex(line.get_color()) for line in drawn}) == count
        assert len({(str(line._dash_pattern), line.get_marker()) for line in drawn}) == count
        if count <= 8:
            assert len({str(line._dash_pattern) for line in drawn}) == count

    @pytest.mark.parametrize(
        "labels", [["a"], ["a", "b"], ["AdaptiveClick ViT-B, COCO-LVIS", "x"], [f"a method {i}" for i in range(11)]]
    )
    def test_no_text_lies_over_another(self, labels: list[str]) -> None:
        assert overlapping(draw_curves({label: np.linspace(0.3, 0.95, 20) for label in labels})) == []

    def test_labels_are_text(self) -> None:
        figure = draw_curves({r"$\frac$": [0.5], "_low": [0.4]})
        assert overlapping(figure) == []
        assert legend(figure) == [r"$\frac$", "_low"]

    @pytest.mark.parametrize(
        ("curves", "message"),
        [
            ({}, "curves must hold at least one curve"),
            ({"a": []}, r"curve 'a' must be of shape \[K\] with at least one value, got \[0\]"),
            ({"a": [[0.5]]}, r"curve 'a' must be of shape \[K\] with at least one value, got \[1, 1\]"),
            ({"a": [0.5, 85.0]}, r"curve 'a' must lie in \[0, 1\], got values from 0.5 to 85"),
            ({"a": [0.5, float("nan")]}, r"curve 'a' must lie in \[0, 1\]"),
        ],
    )
    def test_bad_curves(self, curves: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            draw_curves(curves)


class TestDrawCurvePanels:
    PANELS = (
        ("ssTEM", {"a": [0.9], "b": [0.2, 0.4]}),
        ("BraTS", {"b": [0.1, 0.7], "c": [0.65]}),
        ("VOC", {"a": [0.3]}),
    )

    def test_a_panel_each_and_one_look_a_method(self) -> None:
        figure = draw_curve_panels(dict(self.PANELS))
        assert [axes.get_title() for axes in figure.axes] == ["ssTEM", "BraTS", "VOC"]
        for axes, (_, curves) in zip(figure.axes, self.PANELS, strict=True):
            assert {label: line.get_ydata().tolist() for label, line in lines(axes).items()} == curves
        first, second, third = map(lines, figure.axes)
        for one, other in ((first["b"], second["b"]), (first["a"], third["a"])):
            assert (one.get_color(), one.get_marker()) == (other.get_color(), other.get_marker())
        assert legend(figure) == ["c", "a", "b"]  # 0.65, 0.6, 0.55
        assert overlapping(figure) == []

    @pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
    def test_the_grid(self, count: int, grid: tuple[int, int]) -> None:
        figure = draw_curve_panels({f"set {index}": CURVES for index in range(count)})
        assert len(figure.axes) == count
        places: Any = figure.axes[0].get_subplotspec()
        assert places.get_gridspec().get_geometry() == grid
        assert overlapping(figure) == []

    def test_nothing(self) -> None:
        with pytest.raises(ValueError, match="curves must hold at least one curve"):
            draw_curve_panels({})


class TestDrawHistogram:
    IOUS = (("one", [0.0, 0.05, 0.3, 0.69, 0.7, 0.9, 1.0]), ("two", [0.95, 0.1]))

    def test_bars_are_the_counts(self) -> None:
        figure = draw_histogram(dict(self.IOUS), 3)
        (axes,) = figure.axes
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        assert heights == [[2, 0, 0, 1, 0, 0, 1, 1, 0, 2], [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]]
        assert axes.get_xlabel() == "IoU after 3 clicks"
        assert legend(figure) == ["one", "two"]
        assert all(tick == round(tick) for tick in axes.get_yticks())

    def test_bars_of_a_bin_stand_beside_each_other(self) -> None:
        (axes,) = draw_histogram({name: [0.5] for name in "abc"}, 1).axes
        edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bars in axes.containers for bar in bars)
        for (_, end), (start, _) in itertools.pairwise(edges):
            assert end <= start + 1e-9
        for index in range(10):
            inside = edges[3 * index : 3 * index + 3]
            assert index / 10 < inside[0][0] and inside[-1][1] < (index + 1) / 10
        assert axes.get_xlabel() == "IoU after 1 click"

    def test_bars_differ_with_and_without_colour(self) -> None:
        (axes,) = draw_histogram({str(index): [0.5] for index in range(8)}, 1).axes
        bars = [container[0] for container in axes.containers]
        assert len({bar.get_facecolor() for bar in bars}) == len({bar.get_hatch() for bar in bars}) == 8

    @pytest.mark.parametrize("labels", [["a"], ["AdaptiveClick ViT-B, COCO-LVIS", "x"], [f"m{i}" for i in range(12)]])
    def test_no_text_lies_over_another(self, labels: list[str]) -> None:
        assert overlapping(draw_histogram({label: np.linspace(0, 1, 2000) for label in labels}, 20)) == []

    @pytest.mark.parametrize(
        ("ious", "k", "message"),
        [
            ({}, 1, "ious must hold at least one label"),
            ({"a": [0.5]}, 0, "k must be at least 1, got 0"),
            ({"a": []}, 1, r"ious of 'a' must be of shape \[N\] with at least one value, got \[0\]"),
            ({"a": [1.1]}, 1, r"ious of 'a' must lie in \[0, 1\], got values from 1.1 to 1.1"),
        ],
    )
    def test_bad_arguments(self, ious: dict[str, Any], k: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            draw_histogram(ious, k)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_files(tmp_path: Path, suffix: str) -> None:
    for name, figure in (("curves", draw_curves(CURVES)), ("histogram", draw_histogram({"a": [0.4, 0.6]}, 2))):
        path = save_figure(figure, tmp_path / f"{name}.{suffix}", dpi=40)
        if suffix == "png":
            assert len(np.unique(np.asarray(Image.open(path)).reshape(-1, 4), axis=0)) > 10
        else:
            assert "</svg>" in path.read_text()
