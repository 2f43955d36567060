"""Region growing on a line, where the level of a pixel is the largest difference on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptiveclick_med.baselines import RegionGrowingSession

LINE = np.array([1.0, 0.9, 0.95, 0.7, 0.8, 0.4, 0.9, 0.2, 0.2, 0.2])
LEVELS = np.array([0.0, 0.1, 0.1, 0.3, 0.3, 0.6, 0.6, 0.8, 0.8, 0.8])


def start(image: np.ndarray, **options: Any) -> RegionGrowingSession:
    session = RegionGrowingSession(**{"sigma": 0, "radius": 0, "max_tolerance": 2, **options})
    session.set_image(np.atleast_2d(image), window=(0.0, 1.0))
    return session


@pytest.mark.parametrize(("share", "last"), [(0.3, 2), (0.5, 4), (0.9, 6), (1.0, 6)])
def test_the_tolerance_is_a_share_of_the_level_of_the_background(share: float, last: int) -> None:
    # the frame, at the right end, is reached at 0.8
    prediction = start(LINE, share=share).click(0, 0)
    tolerance = share * 0.8
    expected = tolerance / (tolerance + LEVELS)
    np.testing.assert_allclose(prediction.probability[0], expected, atol=1e-6)
    assert np.flatnonzero(prediction.mask[0]).tolist() == list(range(last + 1))


def test_the_largest_tolerance() -> None:
    assert start(LINE, share=1, max_tolerance=0.2).click(0, 0).mask[0].sum() == 3


def test_a_negative_click_makes_its_region_shrink() -> None:
    session = start(LINE, share=0.9)
    assert session.click(0, 0).mask[0].sum() == 7
    assert np.flatnonzero(session.click(0, 6, False).mask[0]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(session.click(0, 4, False).mask[0]).tolist() == [0, 1, 2]
    # another positive click has a tolerance of its own: 0.9 * 0.5 from 0.9 to the negative click at 0.4
    assert np.flatnonzero(session.click(0, 6).mask[0]).tolist() == [0, 1, 2, 6]


def test_holes_are_filled_unless_they_are_background() -> None:
    image = np.zeros((20, 20))
    image[4:15, 4:15] = 1
    image[8:10, 8:10] = 0
    session = start(image, share=0.5)
    assert session.click(6, 6).mask.sum() == 121
    after = session.click(8, 8, False).mask
    assert after.sum() == 117 and not after[8:10, 8:10].any()


@pytest.mark.parametrize(("argument", "value"), [("share", 0), ("share", 1.1), ("max_tolerance", 0), ("sigma", -1)])
def test_bad_parameters(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a number .*, got {value}"):
        RegionGrowingSession(**{argument: value})
