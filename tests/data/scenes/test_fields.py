from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.data.scenes.canvas import Canvas, to_bytes
from adaptiveclick_med.data.scenes.fields import TEXTURES, fractal, grain, smooth, texture
from adaptiveclick_med.data.scenes.outlines import Patch, blob, lines, polygon, share


def test_noise_has_mean_0_and_deviation_1() -> None:
    random = np.random.default_rng(0)
    for field in (smooth(random, (300, 300), 6), fractal(random, (300, 300), 12, 3), grain(random, (300, 300), 1.0)):
        assert field.dtype == np.float32 and abs(field.mean()) < 0.1 and field.std() == pytest.approx(1, abs=0.1)


def test_larger_scales_are_smoother() -> None:
    steps = [np.abs(np.diff(smooth(np.random.default_rng(1), (200, 200), scale))).mean() for scale in (4, 8, 32)]
    assert steps[0] > 1.7 * steps[1] > 3 * steps[2]


@pytest.mark.parametrize("name", TEXTURES)
def test_textures(name: str) -> None:
    fields = [texture(np.random.default_rng(2), (40, 56), name) for _ in range(2)]
    assert fields[0].shape == (40, 56) and fields[0].dtype == np.float32
    assert np.array_equal(*fields) and (fields[0].std() < 1e-6) == (name == "flat")


def test_a_blob_without_waves_is_an_ellipse() -> None:
    patch = blob(np.random.default_rng(0), (100, 120), (50, 60), (20, 10), angle=0.0, irregularity=0.0)
    mask = np.zeros((100, 120), dtype=bool)
    mask[patch.box] = patch.mask
    assert mask.sum() == pytest.approx(np.pi * 200, rel=0.02)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (31, 69, 51, 69)
    assert patch.level.max() == pytest.approx(10)


def test_blobs_at_the_border_and_outside_have_a_patch() -> None:
    for centre in ((0, 0), (-50, 300), (99, 119)):
        patch = blob(np.random.default_rng(0), (100, 120), centre, (8, 8))
        assert min(patch.size) >= 1 and not (patch.mask.any() and centre == (-50, 300))


def test_polygons_and_lines_cover_their_area() -> None:
    square = polygon((50, 50), np.array([[10, 10], [10, 30], [30, 30], [30, 10]], dtype=float))
    assert square.mask.sum() == pytest.approx(400, rel=0.1)
    tube = lines((50, 50), [(np.array([[25.0, 5.0], [25.0, 45.0]]), np.array([4.0, 4.0]))])
    assert tube.mask[25, 5:45].all() and tube.mask[:, 20].sum() in (4, 5)


def test_share_of_the_rim() -> None:
    level = np.array([[-3, -0.5, 0, 0.25, 3]], dtype=np.float32)
    assert share(level)[0].tolist() == [0, 0, 0.5, 0.75, 1]
    assert share(level, 2)[0].tolist() == [0, 0.25, 0.5, 0.625, 1]


def square(rows: slice, columns: slice) -> Patch:
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return Patch((rows, columns), np.full(shape, 5, dtype=np.float32))


def test_later_things_hide_earlier_ones_and_their_parts() -> None:
    canvas = Canvas((20, 20))
    whole, part = square(slice(0, 10), slice(0, 10)), square(slice(0, 10), slice(4, 10))
    assert canvas.paint(0, whole, 0.5) == 1 and canvas.paint(1, part, 0.7) == 2
    assert canvas.paint(0, square(slice(0, 10), slice(7, 14)), 0.9) == 3
    scene = canvas.scene(canvas.image)
    assert scene.label[0, 3].tolist() == [1] * 7 + [3] * 7 + [0] * 6
    assert scene.label[1, 3].tolist() == [0] * 4 + [2] * 3 + [0] * 13
    assert scene.image[0, 3, [0, 5, 8, 15]].tolist() == [128, 179, 230, 0]


def test_small_large_and_cut_objects() -> None:
    canvas = Canvas((20, 20), layers=1)
    canvas.paint(0, square(slice(0, 15), slice(0, 20)), 0.5)  # 300 of 400 pixels
    canvas.paint(0, square(slice(15, 18), slice(0, 9)), 0.5)  # 27 pixels
    assert not (canvas.scene(canvas.image).label > 0).any()
    canvas = Canvas((20, 20), layers=1)
    canvas.paint(0, square(slice(0, 9), slice(0, 20)), 0.5)
    canvas.paint(0, square(slice(0, 9), slice(3, 9)), 0.9)
    label = canvas.scene(canvas.image).label
    assert label[0, 4].tolist() == [-1] * 3 + [2] * 6 + [1] * 11


def test_bytes() -> None:
    assert to_bytes(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]], dtype=np.float32)).tolist() == [[0, 0, 128, 255, 255]]
