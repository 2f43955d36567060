"""The random walker on a line, where its probabilities are potentials of a chain of resistors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adaptiveclick_med.baselines import RandomWalkerSession


def walked(line: Any, **options: Any) -> np.ndarray:
    session = RandomWalkerSession(radius=0, **options)
    session.set_image(np.asarray(line, float)[None], window=(0.0, 1.0))
    return session.click(0, 0).probability[0]


@pytest.mark.parametrize("beta", [0.0, 1000.0])
def test_a_constant_line(beta: float) -> None:
    np.testing.assert_allclose(walked(np.full(11, 0.5), beta=beta), 1 - np.arange(11) / 10, atol=1e-6)


def test_an_edge_is_a_resistor() -> None:
    line = np.r_[np.ones(5), np.zeros(5)]
    beta = 20.0
    edge = math.exp(beta / (10 * 0.5))  # the standard deviation is 0.5, the step 1
    resistors = np.r_[np.ones(4), edge, np.ones(4)]
    expected = 1 - np.r_[0, np.cumsum(resistors)] / resistors.sum()
    np.testing.assert_allclose(walked(line, beta=beta), expected, atol=1e-6)


def test_without_beta_the_image_is_without_effect() -> None:
    noise = np.random.default_rng(0).random(11)
    np.testing.assert_allclose(walked(noise, beta=0), 1 - np.arange(11) / 10, atol=1e-6)


def test_impassable_edges() -> None:
    probability = walked(np.r_[np.ones(5), np.zeros(5)], beta=1e9)
    np.testing.assert_allclose(probability, np.r_[np.ones(5), np.zeros(5)], atol=1e-6)


def test_bad_beta() -> None:
    with pytest.raises(ValueError, match="beta must be a number at least 0, got -1"):
        RandomWalkerSession(-1)
    assert RandomWalkerSession(5, radius=2).parameters == {
        "beta": 5.0,
        "radius": 2.0,
        "frame_distance": 0.1,
        "max_side": 256,
    }
