"""Percentiles from the tails: NumPy's own numbers, to the last digit."""

from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.transforms import percentiles
from adaptiveclick_med.transforms.percentiles import percentile_pair

PAIRS = [(0.5, 99.5), (0, 100), (25, 75), (1, 50), (49.99, 50.01), (0, 33.3), (99, 99.9)]


@pytest.fixture(params=[4, 64, 4096])
def always(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the tails of small arrays too, with samples of several sizes."""
    monkeypatch.setattr(percentiles, "_SMALL", 1)
    monkeypatch.setattr(percentiles, "_SAMPLE", request.param)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 997, 5000])
def test_the_numbers_are_those_of_numpy(dtype: type, size: int) -> None:
    random = np.random.RandomState(size)
    spread = random.normal(500, 100, size)
    for values in (spread, np.where(spread < 520, 400, spread), np.round(spread / 50), np.full(size, 7)):
        array = values.astype(dtype)
        for pair in PAIRS:
            assert percentile_pair(array, pair) == tuple(np.percentile(array, pair).tolist())


@pytest.mark.usefixtures("always")
def test_a_sample_that_misleads() -> None:
    values = np.zeros(4000, np.float32)
    values[1::2] = np.arange(2000) - 5000  # each second value is below all that a sample of even places sees
    for pair in PAIRS:
        assert percentile_pair(values, pair) == tuple(np.percentile(values, pair).tolist())


@pytest.mark.usefixtures("always")
def test_any_order_in_memory() -> None:
    values = np.random.RandomState(0).normal(0, 9, (20, 30, 7, 2)).astype(np.float32)
    expected = tuple(np.percentile(values[..., 1], (0.5, 99.5)).tolist())
    assert percentile_pair(values[..., 1], (0.5, 99.5)) == expected
    assert percentile_pair(np.asfortranarray(values)[..., 1], (0.5, 99.5)) == expected
    assert percentile_pair(values[::-1, ..., 1], (0.5, 99.5)) == expected


@pytest.mark.usefixtures("always")
def test_neighbours_too_far_apart_for_their_type() -> None:
    values = np.array([-30000, 30000], np.int16)
    low, high = percentile_pair(values, (25, 75))
    assert (low, high) == (-15000, 15000)


def test_large_arrays_take_the_same_way() -> None:
    values = np.random.RandomState(0).randint(-1000, 2000, (70, 70, 70)).astype(np.int16)
    assert values.size >= percentiles._SMALL
    assert percentile_pair(values, (0.5, 99.5)) == tuple(np.percentile(values, (0.5, 99.5)).tolist())
