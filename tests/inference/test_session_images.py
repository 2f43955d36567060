from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from adaptiveclick_med.inference import InteractiveSession, ZoomIn

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


class TestImages:
    def test_kinds_of_the_same_picture(self, network):
        image = picture()
        expected = make(network, image).click(30, 40)
        scaled = image.astype(np.float32) / np.float32(255)
        for other in (
            scaled,
            scaled.astype(">f4"),
            scaled.astype(np.float64),
            torch.as_tensor(image),
            torch.as_tensor(scaled),
            MetaTensor(torch.as_tensor(image)),
            np.asfortranarray(image),
            np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1],
            image[..., ::-1].copy()[..., ::-1],
        ):
            np.testing.assert_allclose(make(network, other).click(30, 40).probability, expected.probability, atol=1e-5)

    def test_grey_is_repeated(self, network):
        grey = picture(channels=1)
        expected = make(network, np.repeat(grey, 3, axis=2)).click(30, 40)
        assert same(make(network, grey).click(30, 40), expected)
        assert same(make(network, grey[..., 0]).click(30, 40), expected)

    @pytest.mark.parametrize(
        "dtype",
        [
            np.uint16,
            np.int16,
            ">u2",
            ">i2",
            np.int32,
            np.uint32,
            np.int64,
            np.uint64,
            ">f8",
            np.float16,
            np.longdouble,
            np.int8,
        ],
    )
    def test_other_types_are_scaled_by_percentiles(self, network, dtype):
        values = np.random.RandomState(1).randint(0, 120, (40, 48))
        low, high = np.percentile(values, (0.5, 99.5))
        expected = make(network, np.clip((values - low) / (high - low), 0, 1)).click(20, 20)
        prediction = make(network, values.astype(dtype)).click(20, 20)
        np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-4)

    def test_signed_values_and_windows(self, network):
        values = np.random.RandomState(1).randint(-1000, 1000, (40, 48)).astype(np.int16)
        session = InteractiveSession(network)
        session.set_image(values, window=(-160, 240))
        expected = make(network, np.clip((values + 160.0) / 400, 0, 1)).click(20, 20)
        np.testing.assert_allclose(session.click(20, 20).probability, expected.probability, atol=1e-4)
        session.set_image(values, window="abdomen")
        np.testing.assert_allclose(session.click(20, 20).probability, expected.probability, atol=1e-4)
        with pytest.raises(ValueError, match="window must be one of"):
            session.set_image(values, window="nose")

    def test_boolean(self, network):
        values = np.random.RandomState(1).rand(40, 48) > 0.5
        assert same(make(network, values).click(20, 20), make(network, values.astype(np.float32)).click(20, 20))

    def test_constant_and_black(self, network):
        for value in (0, 1000):
            prediction = make(network, np.full((40, 48), value, dtype=np.int16)).click(20, 20)
            assert np.isfinite(prediction.probability).all()

    def test_many_channels_must_be_chosen(self, network):
        image = picture(channels=5)
        session = InteractiveSession(network)
        for other in (image, image[..., :2], image[..., :4]):
            with pytest.raises(ValueError, match="channels; say which to use with channels="):
                session.set_image(other)
        session.set_image(image, channels=(4, 0, 2))
        assert same(session.click(30, 40), make(network, image[..., [4, 0, 2]]).click(30, 40))
        session.set_image(image, channels=3)
        assert same(session.click(30, 40), make(network, image[..., 3]).click(30, 40))
        with pytest.raises(ValueError, match="channels must be one index or three, from 0 to 4"):
            session.set_image(image, channels=5)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite(self, network, value):
        image = np.random.RandomState(1).rand(40, 48).astype(np.float32)
        image[3, 4] = value
        session = InteractiveSession(network)
        with pytest.raises(ValueError, match=r"1 NaN or infinite value\(s\); pass nan='fill'"):
            session.set_image(image)
        session.set_image(image, nan="fill")
        filled = image.copy()
        filled[3, 4] = 1 if value == np.inf else 0
        np.testing.assert_allclose(
            session.click(20, 20).probability, make(network, filled).click(20, 20).probability, atol=1e-5
        )
        with pytest.raises(ValueError, match=r"no finite value|NaN"):
            session.set_image(np.full((40, 48), value), nan="fill")
        with pytest.raises(ValueError, match="nan must be 'raise' or 'fill'"):
            session.set_image(image, nan="ignore")

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((7, 100), np.uint8), "at least one patch of 8 x 8 pixels, got 7 x 100"),
            (np.zeros((100, 0, 3), np.uint8), "at least one patch of 8 x 8 pixels, got 100 x 0"),
            (np.zeros((3, 64, 64), np.uint8), "at least one patch of 8 x 8 pixels, got 3 x 64"),
            (np.zeros((64, 64, 0), np.uint8), "not empty"),
            (np.zeros(64, np.uint8), r"shape \[H, W\] or \[H, W, C\], got \[64\]"),
            (np.zeros((1, 64, 64, 3), np.uint8), r"shape \[H, W\] or \[H, W, C\]"),
            (np.zeros((64, 64), complex), "integer or floating type, got complex128"),
            (np.full((64, 64), "a"), "integer or floating type"),
            (np.full((64, 64), None), "integer or floating type, got object"),
        ],
    )
    def test_ill_images_leave_the_session_as_it_was(self, network, image, message):
        session = make(network)
        prediction = session.click(30, 40)
        with pytest.raises(ValueError, match=message):
            session.set_image(image)
        assert session.prediction is prediction
        assert session.size == (61, 83)
        session.click(10, 12, positive=False)

    def test_one_patch(self, network):
        for options in ({}, {"zoom_in": False}):
            prediction = make(network, picture(8, 8), **options).click(7, 7)
            assert prediction.probability.shape == (8, 8)
            assert np.isfinite(prediction.probability).all()

    def test_very_long_images(self, network):
        for zoom in (ZoomIn(64), True):
            prediction = make(network, picture(8, 3000), zoom_in=zoom).click(3, 2900)
            assert prediction.mask.shape == (8, 3000)

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_the_image_is_neither_changed_nor_kept(self, network, dtype):
        image = picture(dtype=dtype) / dtype(1 if dtype == np.uint8 else 255)
        image = image.astype(dtype)
        before = image.copy()
        session = make(network, image)
        first = session.click(30, 40)
        assert np.array_equal(image, before)
        image[:] = 0
        session.undo()
        assert same(session.click(30, 40), first)

    def test_a_new_image_forgets_clicks_and_mask(self, network):
        session = make(network)
        session.set_mask(np.ones((61, 83), dtype=bool))
        follow(session)
        session.set_image(picture(seed=2))
        assert session.prediction is None
        assert len(session.clicks) == 0
        with pytest.raises(ValueError, match="first click must be on the object"):
            session.click(5, 5, positive=False)
        assert same(session.click(30, 40), make(network, picture(seed=2)).click(30, 40))
