from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from adaptiveclick_med.inference import CropBox, InteractiveSession, ZoomIn

CLICKS = [(30, 40, True), (10, 12, False), (52.5, 70.25, True), (20, 66, False), (3, 79, True)]


def picture(height=61, width=83, channels=3, dtype=np.uint8, seed=0):
    values = np.random.RandomState(seed).randint(0, 256, (height, width, channels))
    return values.astype(dtype)


def make(network, image=None, **options):
    session = InteractiveSession(network, **options)
    session.set_image(picture() if image is None else image)
    return session


def follow(session, clicks=CLICKS):
    return [session.click(row, column, positive) for row, column, positive in clicks]


def same(one, two):
    return (
        np.array_equal(one.mask, two.mask)
        and np.array_equal(one.probability, two.probability)
        and [each.confidence for each in one.candidates] == [each.confidence for each in two.candidates]
        and all(
            np.array_equal(a.probability, b.probability) for a, b in zip(one.candidates, two.candidates, strict=True)
        )
    )


def blob_network(image, previous, points):
    """A callable that finds what is bright near positive clicks, and remembers a little."""
    rows = torch.arange(image.shape[-2], dtype=torch.float32)[:, None]
    columns = torch.arange(image.shape[-1], dtype=torch.float32)
    logits = 4.0 * image.mean(1, keepdim=True) - 3.0 + previous
    half = points.shape[1] // 2
    for index in range(points.shape[0]):
        for place, (row, column, order) in enumerate(points[index].tolist()):
            if order >= 0:
                bump = torch.exp(-((rows - row).square() + (columns - column).square()) / 200.0)
                logits[index, 0] += (3.0 if place < half else -6.0) * bump
    return logits


class TestClicks:
    def unchanged(self, session, call, error, message):
        state, history = session._state, list(session._history)
        with pytest.raises(error, match=message):
            call()
        assert session._state is state
        assert list(session._history) == history

    @pytest.mark.parametrize("place", [(-0.1, 5), (5, -1), (60.1, 5), (61, 5), (5, 82.5), (5, 83), (1e9, 1e9)])
    def test_outside_the_image(self, network, place):
        session = make(network)
        for _ in range(2):
            self.unchanged(
                session,
                lambda: session.click(*place),
                ValueError,
                "lies outside the image: rows go from 0 to 60, columns from 0 to 82",
            )
            session.click(30, 40)

    def test_corners_belong_to_the_image(self, network):
        session = make(network)
        for row, column in [(0, 0), (60, 82), (0, 82), (60, 0)]:
            session.click(row, column)
        assert len(session.clicks) == 4

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, network, value):
        session = make(network)
        self.unchanged(session, lambda: session.click(value, 4), ValueError, "row of a click must be a finite number")

    def test_the_first_must_be_positive(self, network):
        session = make(network)
        self.unchanged(
            session, lambda: session.click(5, 5, positive=False), ValueError, "the first click must be on the object"
        )
        session.click(30, 40)
        session.click(5, 5, positive=False)
        session.undo()
        session.undo()
        self.unchanged(session, lambda: session.click(5, 5, positive=False), ValueError, "first click")

    def test_limit(self, network):
        session = make(network, max_clicks=2)
        follow(session, CLICKS[:2])
        self.unchanged(session, lambda: session.click(3, 3), ValueError, "already max_clicks = 2 clicks")
        session.undo()
        session.click(3, 3)

    def test_no_image(self, network):
        session = InteractiveSession(network)
        for call in (lambda: session.click(1, 1), lambda: session.set_mask(np.zeros((4, 4))), lambda: session.size):
            with pytest.raises(RuntimeError, match="No image was set; call set_image first"):
                call()

    def test_a_network_that_fails_leaves_the_session_as_it_was(self):
        calls = []

        def network(image, previous, points):
            calls.append(1)
            if len(calls) == 2:
                raise MemoryError("too large")
            return blob_network(image, previous, points)

        session = make(network, crop_size=64)
        session.click(30, 40)
        self.unchanged(session, lambda: session.click(3, 3), MemoryError, "too large")
        assert same(session.click(3, 3), follow(make(blob_network, crop_size=64), [(30, 40, True), (3, 3, True)])[1])

    def test_the_same_place_twice(self, network):
        session = make(network)
        session.click(30, 40)
        session.click(30, 40, positive=False)
        assert len(session.clicks) == 2

    def test_positions_and_previous_mask_that_the_network_gets(self):
        calls = []

        def network(image, previous, points):
            calls.append((previous, points))
            return blob_network(image, previous, points)

        session = make(network, picture(32, 64), crop_size=(64, 64), flip=False)
        first = session.click(3, 5)
        session.click(30.5, 60, positive=False)
        assert (calls[0][0] == 0).all()
        assert calls[0][1].tolist() == [[[6, 5, 0], [-1, -1, -1]]]
        assert calls[1][1].tolist() == [[[6, 5, 0], [61, 60, 1]]]
        expected = torch.nn.functional.interpolate(
            torch.as_tensor(first.probability)[None, None], (64, 64), mode="bilinear", align_corners=True
        )
        torch.testing.assert_close(calls[1][0], expected)


class TestMask:
    def test_an_existing_mask_is_the_previous_one(self, network):
        mask = np.zeros((61, 83), dtype=bool)
        mask[20:40, 30:60] = True
        session = make(network)
        session.set_mask(mask)
        assert np.array_equal(session.prediction.mask, mask)
        assert session.prediction.candidates == []
        assert len(session.clicks) == 0
        corrected = session.click(22, 33, positive=False)
        assert not same(corrected, make(network).click(22, 33))
        assert np.array_equal(session.undo().mask, mask)
        session.click(22, 33)
        session.reset()
        assert np.array_equal(session.prediction.mask, mask)
        with pytest.raises(IndexError):
            session.undo()
        assert same(session.click(22, 33, positive=False), corrected)

    def test_the_first_crop_is_around_it(self):
        sizes = []

        def network(image, previous, points):
            sizes.append(points)
            return blob_network(image, previous, points)

        mask = np.zeros((600, 700), dtype=bool)
        mask[100:201, 100:201] = True
        session = make(network, picture(600, 700), crop_size=64, flip=False, zoom_in=ZoomIn(64, min_size=200))
        session.set_mask(mask)
        session.click(150, 150)
        box = session._state.box
        assert box == CropBox(50, 250, 50, 250)
        np.testing.assert_allclose(sizes[0][0, 0, :2], 2 * [64 * 100 / 201], rtol=1e-6)
        outside = session.prediction.probability.copy()
        outside[50:251, 50:251] = 0
        assert (outside == 0).all()

    @pytest.mark.parametrize(
        "convert",
        [
            lambda m: m.astype(np.uint8),
            lambda m: m.astype(np.float64),
            lambda m: m.tolist(),
            lambda m: torch.as_tensor(m),
            lambda m: torch.as_tensor(m).to(torch.bfloat16),
            lambda m: torch.as_tensor(m).float().requires_grad_(),
            lambda m: MetaTensor(torch.as_tensor(m)),
        ],
    )
    def test_kinds_of_masks(self, network, convert):
        mask = np.zeros((61, 83), dtype=bool)
        mask[20:40, 30:60] = True
        sessions = [make(network), make(network)]
        for session, given in zip(sessions, (mask, convert(mask)), strict=True):
            session.set_mask(given)
        assert same(*[session.click(22, 33, positive=False) for session in sessions])

    def test_probabilities_are_kept(self, network):
        probability = np.random.RandomState(0).rand(61, 83).astype(np.float32)
        session = make(network)
        session.set_mask(probability)
        assert np.array_equal(session.prediction.probability, probability)
        expected = session.prediction.probability.copy()
        probability[:] = 0
        session.prediction.probability[:] = 0
        np.testing.assert_array_equal(session._state.probability, expected)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.zeros((61, 82)), r"image's size \[61, 83\], got \[61, 82\]"),
            (np.zeros((61, 83, 1)), r"image's size \[61, 83\]"),
            (np.full((61, 83), 255, np.uint8), r"boolean or hold probabilities in \[0, 1\]"),
            (np.full((61, 83), -0.1), "boolean or hold probabilities"),
            (np.full((61, 83), np.nan), "boolean or hold probabilities"),
        ],
    )
    def test_ill_masks_leave_the_session_as_it_was(self, network, mask, message):
        session = make(network)
        prediction = session.click(30, 40)
        with pytest.raises(ValueError, match=message):
            session.set_mask(mask)
        assert session.prediction is prediction
