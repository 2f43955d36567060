"""The trivial baseline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adaptiveclick_med.baselines import DiskSession
from adaptiveclick_med.evaluation import evaluate_dataset, evaluate_sample


def disk(size: tuple[int, int], row: float, column: float, area: float) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= area / math.pi


@pytest.mark.parametrize("image", [np.zeros((30, 40)), np.zeros((30, 40, 3), np.uint8)])
def test_a_disk_at_each_click(image: Any) -> None:
    session = DiskSession(100)
    session.set_image(image)
    first = session.click(12, 20.5)
    np.testing.assert_array_equal(first.mask, disk((30, 40), 12, 20.5, 100))
    assert first.mask.dtype == bool and first.probability.dtype == np.float32
    np.testing.assert_array_equal(first.probability, first.mask)
    assert first.candidates == []
    second = session.click(0, 39)
    np.testing.assert_array_equal(second.mask, first.mask | disk((30, 40), 0, 39, 100))
    third = session.click(12, 22, False)
    np.testing.assert_array_equal(third.mask, second.mask & ~disk((30, 40), 12, 22, 100))
    fourth = session.click(12, 20)
    np.testing.assert_array_equal(fourth.mask, third.mask | disk((30, 40), 12, 20, 100))
    np.testing.assert_array_equal(first.mask, disk((30, 40), 12, 20.5, 100))


def test_a_disk_has_the_area() -> None:
    for area in (50.0, 314.0, 2000.0):
        session = DiskSession(area)
        session.set_image(np.zeros((101, 101)))
        assert session.click(50, 50).mask.sum() == pytest.approx(area, rel=0.11)
    session = DiskSession(0.01)
    session.set_image(np.zeros((5, 5)))
    assert np.argwhere(session.click(2, 3).mask).tolist() == [[2, 3]]


def test_a_new_image_starts_anew() -> None:
    session = DiskSession(20)
    session.set_image(np.zeros((20, 20)))
    session.click(5, 5)
    session.set_image(np.zeros((30, 10)))
    prediction = session.click(25, 5)
    np.testing.assert_array_equal(prediction.mask, disk((30, 10), 25, 5, 20))


@pytest.mark.parametrize("area", [0, -1.0, float("nan")])
def test_bad_area(area: float) -> None:
    with pytest.raises(ValueError, match="area must be positive, got"):
        DiskSession(area)


def test_no_image() -> None:
    with pytest.raises(RuntimeError, match="No image was set; call set_image first"):
        DiskSession(10).click(1, 1)
    session = DiskSession(10)
    session.set_image(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="row of a click must be a finite number"):
        session.click(float("nan"), 1)


def test_the_robot_user_finds_a_disk_with_one_click() -> None:
    target = disk((50, 60), 20, 31, 300).astype(int)
    clicks, ious = evaluate_sample(np.zeros((50, 60)), target, DiskSession(300))
    assert [(click.row, click.column, click.positive) for click in clicks] == [(20, 31, True)]
    assert ious == [1.0]


def test_hand_computed_numbers_of_clicks() -> None:
    # a bar of 3 x 60 and disks of 13 pixels; the first click (10, 6) fills 10 pixels of the bar and 3 beside it
    label = np.zeros((1, 21, 70), int)
    label[0, 9:12, 5:65] = 7
    summary = evaluate_dataset(
        [{"image": np.zeros((3, 21, 70)), "label": label, "name": "bar"}], DiskSession(13), max_clicks=4
    ).summary()
    assert summary["objects"] == 1
    assert summary["NoC@90"] == summary["NoC@85"] == 4
    assert summary["NoF@90"] == 1
    assert summary["mIoU@1"] == pytest.approx(10 / 183)
