"""Fast marching on a line, where the times of arrival are sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from adaptiveclick_med.baselines import FastMarchingSession


def marched(line: np.ndarray, **options: Any) -> np.ndarray:
    session = FastMarchingSession(radius=0, **options)
    session.set_image(line[None], window=(0.0, 1.0))
    return session.click(0, 0).probability[0]


def test_without_steepness_only_distances_count() -> None:
    noise = np.random.default_rng(0).random(11)
    np.testing.assert_allclose(marched(noise, steepness=0), 1 - np.arange(11) / 10, atol=1e-6)
    np.testing.assert_allclose(marched(np.full(11, 0.5), steepness=100), 1 - np.arange(11) / 10, atol=1e-6)


def test_the_times_are_sums_of_slownesses() -> None:
    line = np.r_[np.ones(4), np.zeros(8)]
    slowness = np.exp(3 * ndimage.gaussian_gradient_magnitude(line, 1.0, mode="nearest"))
    there = np.r_[0, np.cumsum(slowness[1:])]
    back = np.r_[np.cumsum(slowness[:-1][::-1])[::-1], 0]
    np.testing.assert_allclose(marched(line, steepness=3, sigma=1), back / (there + back), atol=1e-6)


def test_a_steep_edge_is_the_boundary() -> None:
    line = np.r_[np.ones(4), np.zeros(8)]
    np.testing.assert_array_equal(marched(line, steepness=30, sigma=0.5) > 0.5, line > 0)
    assert (marched(line, steepness=0) > 0.5).sum() == 6


@pytest.mark.parametrize(("argument", "value"), [("steepness", -1), ("sigma", 0), ("sigma", 51)])
def test_bad_parameters(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a number .*, got {value}"):
        FastMarchingSession(**{argument: value})
