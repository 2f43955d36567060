from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.transforms import Intensity

SHAPE = (20, 18, 6)


def seen(bright, volume, k=2, **options):
    """What the network sees of an axial slice, as [3, i, j]."""
    session = VolumeSession(bright, zoom_in=False, flip=False)
    session.set_volume(volume, np.diag([-1.0, -1, 1, 1]), **options)
    session.click((10, 9, k))
    return bright.calls[-1][0][0].permute(0, 2, 1).numpy()


def random(dtype=np.int16, shape=SHAPE, low=-1000, high=2000):
    return np.random.RandomState(0).randint(low, high, shape).astype(dtype)


class TestRange:
    def test_percentiles_are_those_of_the_whole_volume(self, bright):
        volume = random()
        low, high = np.percentile(volume, (0.5, 99.5))
        expected = np.clip((volume[:, :, 2] - low) / (high - low), 0, 1)
        for channel in seen(bright, volume):
            np.testing.assert_allclose(channel, expected, atol=1e-5)
        low, high = np.percentile(volume, (10, 80))
        expected = np.clip((volume[:, :, 2] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(seen(bright, volume, percentiles=(10, 80))[0], expected, atol=1e-5)

    def test_a_slice_without_structure_is_not_stretched(self, bright):
        volume = random()
        volume[:, :, 2] = random(low=100, high=103)[:, :, 2]
        assert np.ptp(seen(bright, volume)) < 0.002
        volume[:, :, 2] = 7
        assert np.ptp(seen(bright, volume)) == 0

    @pytest.mark.parametrize("window", [(-100, 300), "abdomen"])
    def test_a_window(self, bright, window):
        low, high = (-160, 240) if window == "abdomen" else window
        volume = random()
        expected = np.clip((volume[:, :, 2] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(seen(bright, volume, window=window)[1], expected, atol=1e-6)

    def test_a_constant_volume(self, bright):
        assert (seen(bright, np.full(SHAPE, -1024, np.int16)) == 0).all()


class TestTypes:
    @pytest.mark.parametrize(
        "dtype",
        ["int8", "int16", "uint16", ">i2", ">u2", "int32", "uint32", "int64", "uint64", "float32", ">f4", ">f8"],
    )
    def test_values_count_and_not_the_type(self, bright, dtype):
        volume = random(dtype, low=2, high=120)
        assert volume.dtype == np.dtype(dtype)
        np.testing.assert_allclose(seen(bright, volume), seen(bright, volume.astype(np.float64)), atol=1e-5)

    @pytest.mark.parametrize("dtype", ["float16", "longdouble"])
    def test_other_floats(self, bright, dtype):
        volume = random(dtype, low=0, high=120)
        np.testing.assert_allclose(seen(bright, volume), seen(bright, volume.astype(np.float64)), atol=2e-3)

    def test_uint8_bool_and_unit_floats_are_what_they_are(self, bright):
        volume = random(np.uint8, low=10, high=100)
        np.testing.assert_allclose(seen(bright, volume)[0], volume[:, :, 2] / 255, atol=1e-6)
        np.testing.assert_array_equal(seen(bright, volume > 50)[0], volume[:, :, 2] > 50)
        unit = (volume / 255).astype(np.float32)
        np.testing.assert_array_equal(seen(bright, unit)[0], unit[:, :, 2])

    @pytest.mark.parametrize("convert", [np.asfortranarray, lambda v: v[::-1, ::-1][::-1, ::-1], torch.as_tensor])
    def test_any_layout_in_memory(self, bright, convert):
        volume = random()
        np.testing.assert_array_equal(seen(bright, convert(volume)), seen(bright, volume))


class TestChannels:
    def test_colours(self, bright):
        volume = random(np.uint8, (*SHAPE, 3), 0, 255)
        expected = np.moveaxis(volume[:, :, 2], -1, 0) / 255
        np.testing.assert_allclose(seen(bright, volume), expected, atol=1e-6)

    def test_each_channel_has_its_own_range(self, bright):
        volume = random(np.int16, (*SHAPE, 3))
        volume[..., 1] *= 4
        np.testing.assert_allclose(seen(bright, volume)[1], seen(bright, volume[..., 1])[1], atol=1e-5)
        np.testing.assert_allclose(seen(bright, volume)[0], seen(bright, volume[..., 0])[0], atol=1e-5)

    @pytest.mark.parametrize(("channels", "used"), [(2, [2, 2, 2]), ([3, 0, 1], [3, 0, 1]), (np.int64(1), [1, 1, 1])])
    def test_of_four(self, bright, channels, used):
        volume = random(np.int16, (*SHAPE, 4)) * np.array([1, 2, 3, 4], np.int16)
        found = seen(bright, volume, channels=channels)
        for channel, at in zip(found, used, strict=True):
            np.testing.assert_allclose(channel, seen(bright, volume[..., at])[0], atol=1e-5)

    def test_all_planes_of_a_volume_with_channels(self, bright):
        volume = np.full((*SHAPE, 4), 0.1, np.float32)
        volume[4:12, 5:13, 1:5, 2] = 0.9
        session = VolumeSession(bright, zoom_in=False, flip=False)
        session.set_volume(volume, channels=2)
        for plane in ("axial", "coronal", "sagittal"):
            session.click((8, 8, 2), plane=plane)
        expected = np.zeros(SHAPE, dtype=bool)
        expected[4:12, 5:13, 2] = expected[4:12, 8, 1:5] = expected[8, 5:13, 1:5] = True
        assert np.array_equal(session.mask(), expected)

    @pytest.mark.parametrize(
        ("count", "channels", "message"),
        [
            (4, None, "4 channels; say which to use"),
            (2, None, "2 channels; say which to use"),
            (4, 4, "channels must be one index or three, from 0 to 3, got 4"),
            (4, (0, 1), r"channels must be one index or three, got \(0, 1\)"),
            (4, -1, "channels must be one index or three"),
        ],
    )
    def test_errors(self, bright, count, channels, message):
        stays(bright, random(np.int16, (*SHAPE, count)), message, channels=channels)


def stays(bright, volume, message, **options):
    """A volume that cannot be used leaves the session with the one before."""
    session = VolumeSession(bright, zoom_in=False, flip=False)
    session.set_volume(np.full(SHAPE, 0.9, np.float32))
    session.click((8, 8, 2))
    image, mask = session.image, session.mask()
    with pytest.raises(ValueError, match=message):
        session.set_volume(volume, **options)
    assert session.image is image
    assert np.array_equal(session.mask(), mask)
    session.undo()


class TestNotFinite:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("place", [0, 5])
    def test_is_an_error_wherever_it_is(self, bright, value, place):
        volume = random(np.float32)
        volume[3, 4, place] = value
        stays(bright, volume, r"volume has 1 NaN or infinite value\(s\); pass nan='fill'")
        stays(bright, volume, "volume has 1 NaN", window="lung")

    def test_filled(self, bright):
        volume = random(np.float32)
        volume[3, 4, 2], volume[5, 6, 2], volume[7, 8, 2] = np.nan, np.inf, -np.inf
        found = seen(bright, volume, nan="fill")[0]
        assert (found[3, 4], found[5, 6], found[7, 8]) == (0, 1, 0)
        low, high = np.percentile(volume[np.isfinite(volume)], (0.5, 99.5))
        assert found[1, 1] == pytest.approx(np.clip((volume[1, 1, 2] - low) / (high - low), 0, 1), abs=1e-5)

    def test_a_slice_of_nothing_else(self, bright):
        volume = random(np.float32)
        volume[:, :, 2] = np.nan
        assert (seen(bright, volume, nan="fill") == 0).all()

    def test_a_channel_that_is_not_used_may_be_empty(self, bright):
        volume = random(np.float32, (*SHAPE, 2))
        volume[..., 1] = np.nan
        found = seen(bright, volume, channels=0, nan="fill")
        np.testing.assert_allclose(found, seen(bright, volume[..., 0]), atol=1e-6)

    def test_errors(self, bright):
        stays(bright, np.full(SHAPE, np.nan, np.float32), "no finite value", nan="fill")
        stays(bright, random(), "nan must be 'raise' or 'fill', got 'drop'", nan="drop")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": "heart"}, r"window must be one of abdomen, .*got 'heart'"),
            ({"window": (3, 3)}, r"window must be \(low, high\) with low < high, got \(3, 3\)"),
            ({"window": (0, np.inf)}, "window must be"),
            ({"percentiles": (90, 10)}, r"percentiles must be two ascending numbers in \[0, 100\], got \(90, 10\)"),
            ({"percentiles": (0, 101)}, "percentiles must be"),
        ],
    )
    def test_other_options(self, bright, options, message):
        stays(bright, random(), message, **options)


class TestWhatTheNetworkWasTrainedWith:
    class Trained:
        """A callable that tells what it was trained with."""

        def __init__(self, bright, **intensity):
            self.bright, self.intensity, self.calls = bright, Intensity(**intensity).to_dict(), bright.calls

        def __call__(self, *inputs):
            return self.bright(*inputs)

    def test_is_the_default(self, bright):
        volume = random(np.int16, (*SHAPE, 4))
        trained = self.Trained(bright, window="lung", channels=(2, 1, 0))
        expected = seen(bright, volume, window="lung", channels=(2, 1, 0))
        np.testing.assert_array_equal(seen(trained, volume), expected)
        trained = self.Trained(bright, percentiles=(5, 95), channels=3)
        np.testing.assert_array_equal(seen(trained, volume), seen(bright, volume, percentiles=(5, 95), channels=3))
        trained = self.Trained(bright, nan="fill")
        flawed = random(np.float32)
        flawed[3, 4, 2] = np.nan
        np.testing.assert_array_equal(seen(trained, flawed), seen(bright, flawed, nan="fill"))

    def test_what_is_given_counts(self, bright):
        volume = random(np.int16, (*SHAPE, 4))
        trained = self.Trained(bright, window="lung", channels=(2, 1, 0))
        expected = seen(bright, volume, window=(0, 100), channels=1)
        np.testing.assert_array_equal(seen(trained, volume, window=(0, 100), channels=1), expected)
        np.testing.assert_array_equal(
            seen(trained, volume, channels=0), seen(bright, volume, window="lung", channels=0)
        )

    def test_no_window_at_all(self, bright):
        trained = self.Trained(bright, window="lung")
        np.testing.assert_array_equal(seen(trained, random(), window="none"), seen(bright, random()))

    def test_a_window_does_not_hold_for_pictures_of_eight_bits(self, bright):
        volume = random(np.uint8, low=0, high=255)
        trained = self.Trained(bright, window="lung")
        np.testing.assert_array_equal(seen(trained, volume), seen(bright, volume))

    def test_nothing_known(self, bright):
        network = AdaptiveClick.from_preset("nano", image_size=32).eval()
        assert network.intensity is None
        session = VolumeSession(network)
        session.set_volume(random())
        other = AdaptiveClick.from_preset("nano", image_size=32).eval()
        other.load_state_dict(network.state_dict())
        other.intensity = {"window": "bone", "channels": None, "percentiles": [0.5, 99.5], "nan": "raise"}
        trained = VolumeSession(other)
        trained.set_volume(random())
        given = VolumeSession(network)
        given.set_volume(random(), window="bone")
        answers = [each.click((8, 8, 2)).probability for each in (session, trained, given)]
        assert np.array_equal(answers[1], answers[2])
        assert not np.array_equal(answers[0], answers[1])
