"""Seeds from clicks, and what all classical sessions promise."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from adaptiveclick_med.baselines import FastMarchingSession, RandomWalkerSession, RegionGrowingSession
from adaptiveclick_med.baselines.seeds import click_seeds, frame_seeds
from adaptiveclick_med.clicks import Click
from adaptiveclick_med.metrics import intersection_over_union

SESSIONS = (RandomWalkerSession, FastMarchingSession, RegionGrowingSession)
every = pytest.mark.parametrize("make", SESSIONS)
rows, columns = np.ogrid[:64, :80]
DISK = (rows - 30) ** 2 + (columns - 25) ** 2 <= 12**2
SQUARE = (abs(rows - 32) <= 9) & (abs(columns - 60) <= 9)


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noisy(clean: np.ndarray) -> np.ndarray:
    return np.clip(clean + np.random.default_rng(0).normal(0, 0.04, clean.shape), 0, 1)


def start(make: Any, image: Any, **options: Any) -> Any:
    session = make(**options)
    session.set_image(image)
    return session


def test_disks_of_seeds() -> None:
    seeds = click_seeds([Click(2, 2), Click(2, 4, False)], (5, 7), 1)
    assert seeds.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, -1, 0, 0],
        [0, 1, 1, -1, -1, -1, 0],
        [0, 0, 1, 0, -1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    # the later disk covers the earlier one, but not its middle
    assert click_seeds([Click(0, 1), Click(0, 2.4, False)], (1, 5), 2).tolist() == [[-1, 1, -1, -1, -1]]
    assert click_seeds([Click(0, 1), Click(0, 1, False)], (1, 3), 0).tolist() == [[0, -1, 0]]


def test_the_frame() -> None:
    frame = frame_seeds([Click(1, 1), Click(2, 8, False)], (8, 9), 1)
    expected = np.ones((8, 9), bool)
    expected[1:-1, 1:-1] = False
    expected[0, 1] = expected[1, 0] = False
    np.testing.assert_array_equal(frame, expected)
    assert frame_seeds([], (7, 8), 1).astype(int).tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]] * 7
    assert not frame_seeds([], (1, 1), 0).any()


@every
@pytest.mark.parametrize("target", [DISK, SQUARE])
def test_a_bright_object_takes_one_click(make: Any, target: np.ndarray) -> None:
    prediction = start(make, noisy(0.2 + 0.6 * target)).click(*map(round, np.argwhere(target).mean(0)))
    assert intersection_over_union(prediction.mask, target) >= 0.95
    assert prediction.mask.dtype == bool and prediction.probability.dtype == np.float32
    assert prediction.probability.min() >= 0 and prediction.probability.max() <= 1
    np.testing.assert_array_equal(prediction.mask, prediction.probability > 0.5)
    assert prediction.candidates == []


@every
def test_a_negative_click_takes_a_second_object_away(make: Any) -> None:
    bridge = (abs(rows - 30) <= 3) & (columns > 30) & (columns < 55)
    session = start(make, noisy(0.2 + 0.6 * DISK + 0.5 * (SQUARE & ~DISK) + 0.4 * (bridge & ~DISK & ~SQUARE)))
    session.click(30, 25)
    assert session.click(32, 60).mask[SQUARE].mean() > 0.9
    session.undo()
    after = session.click(32, 60, False).mask
    assert after[SQUARE].mean() < 0.05 and after[DISK].mean() > 0.8


@every
def test_clicked_pixels_have_their_label(make: Any) -> None:
    random = np.random.default_rng(3)
    for shape, side in (((40, 50), 512), ((40, 50), 16), ((40, 50, 3), 512)):
        session = start(make, random.random(shape), max_side=side)
        places = random.permutation(2000)[:8]
        for count, place in enumerate(places):
            prediction = session.click(place // 50, place % 50, count % 3 != 1)
            for earlier, other in enumerate(places[: count + 1]):
                assert prediction.mask[other // 50, other % 50] == (earlier % 3 != 1)


@every
def test_undo_reset_and_a_new_image(make: Any) -> None:
    session = start(make, noisy(0.2 + 0.6 * DISK))
    first = session.click(30, 25)
    second = session.click(30, 60)
    assert second.mask[30, 60] and not first.mask[30, 60]
    np.testing.assert_array_equal(session.undo().probability, first.probability)
    np.testing.assert_array_equal(session.click(30, 60).probability, second.probability)
    assert len(session.clicks) == 2
    session.reset()
    np.testing.assert_array_equal(session.click(30, 25).probability, first.probability)
    assert session.undo() is None
    with pytest.raises(IndexError, match="no click to undo"):
        session.undo()
    session.click(30, 25)
    session.set_image(noisy(0.2 + 0.6 * SQUARE))
    again = session.click(32, 60).mask
    assert intersection_over_union(again, SQUARE) >= 0.95


@every
@pytest.mark.parametrize("image", [np.zeros((30, 40)), np.full((30, 40, 3), 200, np.uint8)])
def test_a_constant_image(make: Any, image: np.ndarray) -> None:
    session = start(make, image)
    prediction = session.click(15, 20)
    assert prediction.mask[15, 20] and not prediction.mask[0, 0] and np.isfinite(prediction.probability).all()
    assert not session.click(15, 30, False).mask[15, 30]


@every
@pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 40), (3, 40), (40, 7)])
def test_thin_images(make: Any, size: tuple[int, int]) -> None:
    line = np.zeros(40)
    line[15:26] = 1
    image = np.broadcast_to(line if size[1] == 40 else line[:, None], size)
    click = (size[0] // 2, size[1] // 2)
    mask = start(make, image, radius=0).click(*click).mask
    inner = mask[click[0]] if size[1] == 40 else mask[:, click[1]]
    assert intersection_over_union(inner, line > 0) >= 0.8
    assert start(make, np.zeros((1, 1))).click(0, 0).mask.tolist() == [[True]]


@every
def test_seeds_everywhere(make: Any) -> None:
    session = start(make, np.eye(4), radius=3)
    assert session.click(0, 0).mask[0, 0]
    assert session.click(3, 3, False).mask.sum() < 16


@every
def test_types_and_grey_in_colour(make: Any) -> None:
    values = np.round(noisy(0.2 + 0.6 * DISK) * 255).astype(np.uint8)
    expected = start(make, values).click(30, 25).mask
    for image in (values / 255.0, values.astype(np.int16), values.astype(np.uint16) * 16, np.stack([values] * 3, -1)):
        np.testing.assert_array_equal(start(make, image).click(30, 25).mask, expected)
    assert expected[DISK].mean() > 0.95


@every
def test_colour_tells_what_grey_does_not(make: Any) -> None:
    image = np.stack([0.2 + 0.6 * DISK, 0.8 - 0.6 * DISK, np.full(DISK.shape, 0.5)], -1)
    assert image.sum(-1).std() < 1e-9
    assert intersection_over_union(start(make, noisy(image)).click(30, 25).mask, DISK) >= 0.95


@every
def test_a_large_image_is_reduced(make: Any) -> None:
    large = np.kron(0.2 + 0.6 * DISK, np.ones((4, 4)))
    prediction = start(make, large, max_side=80).click(122, 102)
    assert prediction.mask.shape == (256, 320)
    assert intersection_over_union(prediction.mask, large > 0.5) >= 0.95


@every
def test_errors(make: Any) -> None:
    session = make()
    with pytest.raises(RuntimeError, match="No image was set; call set_image first"):
        session.click(1, 1)
    for image, message in (
        (np.zeros(5), r"image must be of shape \[H, W\] or \[H, W, C\], got \[5\]"),
        (np.zeros((4, 4), complex), "image must be of an integer or floating type, got complex128"),
        (np.zeros((4, 4, 2)), "image has 2 channels"),
        (np.full((4, 4), np.nan), "image has 16 NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            session.set_image(image)
    session.set_image(np.zeros((4, 5)))
    for place in ((-1, 0), (4, 0), (0, 4.5)):
        with pytest.raises(ValueError, match="lies outside the image: rows go from 0 to 3, columns from 0 to 4"):
            session.click(*place)
    with pytest.raises(ValueError, match="row of a click must be a finite number"):
        session.click(float("nan"), 1)
    with pytest.raises(ValueError, match="the first click must be on the object"):
        session.click(1, 1, False)
    assert len(session.clicks) == 0


@every
@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("radius", -1, "at least 0 and at most 100"),
        ("frame_distance", 1.5, "at least 0 and at most 1"),
        ("max_side", 3, "at least 16"),
        ("max_side", "large", "at least 16"),
        ("radius", float("nan"), "at least 0"),
    ],
)
def test_bad_parameters(make: Any, argument: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a number {allowed}.*, got {value!r}"):
        make(**{argument: value})


def test_window_and_nan() -> None:
    session = RegionGrowingSession(share=0.5)
    image = np.where(DISK, 60.0, -100.0)
    image[0, 0] = np.nan
    session.set_image(image, window=(-160, 240), nan="fill")
    assert intersection_over_union(session.click(30, 25).mask, DISK) >= 0.95
    session.set_image(np.stack([image, np.nan_to_num(image)], -1), channels=1)
    assert intersection_over_union(session.click(30, 25).mask, DISK) >= 0.95
