from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from adaptiveclick_med.transforms.intensity import CT_WINDOWS, Intensity, intensity_range, to_unit_rgb


def test_uint8_is_divided_by_255() -> None:
    image = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    rgb = to_unit_rgb(image)
    assert rgb.dtype == torch.float32 and rgb.shape == (3, 2, 2)
    assert torch.equal(rgb, (image.float() / 255).expand(3, 2, 2))


def test_dark_uint8_is_not_stretched() -> None:
    assert to_unit_rgb(np.full((1, 4, 4), 51, dtype=np.uint8)).unique().tolist() == pytest.approx([0.2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_inside_the_unit_interval_are_unchanged(dtype: torch.dtype) -> None:
    image = torch.tensor([0.25, 0.5, 0.75, 0.5]).reshape(1, 2, 2).to(dtype)
    assert torch.equal(to_unit_rgb(image)[0], image[0].float())


def test_other_values_are_scaled_by_percentiles_and_clipped() -> None:
    image = np.arange(1001, dtype=np.int16).reshape(1, 7, 143) * 2 - 500
    low, high = np.percentile(image, (0.5, 99.5))
    assert (low, high) == (-490, 1490)
    expected = np.clip((image - low) / (high - low), 0, 1)
    assert np.allclose(to_unit_rgb(image)[1], expected[0], atol=1e-6)
    assert intensity_range(image, (25, 75)) == (0, 1000)
    halves = to_unit_rgb(image, percentiles=(25, 75))
    assert float((halves == 0).float().mean()) == pytest.approx(0.25, abs=0.002)


def test_floats_beyond_one_are_scaled() -> None:
    image = torch.tensor([[[0.0, 2.0], [4.0, 4.0]]])
    assert to_unit_rgb(image, percentiles=(0, 100))[0].tolist() == [[0.0, 0.5], [1.0, 1.0]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.int64, np.uint32, np.float64])
def test_types(dtype: type) -> None:
    image = np.array([[[0, 1000], [2000, 4000]]], dtype=dtype)
    assert to_unit_rgb(image, percentiles=(0, 100))[2].tolist() == [[0.0, 0.25], [0.5, 1.0]]


def test_bool() -> None:
    assert to_unit_rgb(torch.tensor([[[True, False]]]))[0].tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("value", [7, -3, 1000])
def test_constant_images_become_zero(value: int) -> None:
    rgb = to_unit_rgb(torch.full((1, 3, 3), value, dtype=torch.int16))
    assert torch.equal(rgb, torch.zeros(3, 3, 3))


def test_a_rare_bright_spot_survives() -> None:
    image = torch.zeros(1, 100, 100, dtype=torch.int16)
    image[0, 3, 4] = 900
    rgb = to_unit_rgb(image)
    assert rgb[0, 3, 4] == 1 and rgb[0].sum() == 1


@pytest.mark.parametrize("window", ["lung", (-1350, 150), [-1350.0, 150.0]])
def test_windows(window: object) -> None:
    image = torch.tensor([[[-2000, -1350], [-600, 150]]], dtype=torch.int16)
    assert to_unit_rgb(image, window)[0].tolist() == [[0.0, 0.0], [0.5, 1.0]]  # type: ignore[arg-type]


def test_window_goes_before_the_range() -> None:
    image = torch.tensor([[[0.0, 40.0]]])
    assert to_unit_rgb(image, "brain", value_range=(0, 1000))[0].tolist() == [[0.0, 0.5]]
    assert set(CT_WINDOWS) == {"abdomen", "bone", "brain", "liver", "lung", "mediastinum", "soft_tissue"}


def test_range_of_one_or_of_each_channel() -> None:
    image = torch.tensor([[[10.0]], [[10.0]], [[10.0]], [[10.0]]])
    ranges = [[0, 10], [0, 20], [0, 40], [10, 10]]
    assert to_unit_rgb(image, channels=(2, 1, 0), value_range=ranges).flatten().tolist() == [0.25, 0.5, 1.0]
    assert to_unit_rgb(image, channels=(0, 1, 3), value_range=ranges).flatten().tolist() == [1.0, 0.5, 0.0]
    assert to_unit_rgb(image, channels=3, value_range=(0, 100)).flatten().tolist() == pytest.approx([0.1] * 3)
    with pytest.raises(ValueError, match="value_range"):
        to_unit_rgb(image, channels=0, value_range=[[0, 1], [0, 1]])


def test_channels() -> None:
    image = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1) * 51
    with pytest.raises(ValueError, match=r"5 channels.*channels=.*0 to 4"):
        to_unit_rgb(image)
    assert to_unit_rgb(image, channels=2).flatten().tolist() == pytest.approx([0.4, 0.4, 0.4])
    assert to_unit_rgb(image, channels=[2]).flatten().tolist() == pytest.approx([0.4, 0.4, 0.4])
    assert to_unit_rgb(image, channels=(4, 0, 1)).flatten().tolist() == pytest.approx([0.8, 0.0, 0.2])
    assert to_unit_rgb(image[:3]).flatten().tolist() == pytest.approx([0.0, 0.2, 0.4])
    for wrong in (5, -1, (0, 1), (0, 1, 5)):
        with pytest.raises(ValueError, match="channels must be one index or three, from 0 to 4"):
            to_unit_rgb(image, channels=wrong)


def test_percentiles_are_those_of_the_chosen_channels() -> None:
    image = torch.stack([torch.tensor([[0, 100]]), torch.tensor([[5000, 9000]])]).short()
    assert to_unit_rgb(image, channels=0, percentiles=(0, 100))[0].tolist() == [[0.0, 1.0]]


def test_nan_and_infinity() -> None:
    image = torch.tensor([[[0.0, 10.0], [torch.nan, torch.inf]], [[0.0, 5.0], [-torch.inf, 10.0]]])
    with pytest.raises(ValueError, match="2 NaN or infinite"):
        to_unit_rgb(image, channels=0)
    assert to_unit_rgb(image, channels=0, nan="fill", percentiles=(0, 100))[0].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert to_unit_rgb(image, channels=1, nan="fill", percentiles=(0, 100))[0].tolist() == [[0.0, 0.5], [0.0, 1.0]]
    assert image[0, 0, 1] == 10  # the input is left alone
    with pytest.raises(ValueError, match="no finite value"):
        to_unit_rgb(torch.full((1, 2, 2), torch.nan), nan="fill")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": torch.zeros(4, 4)}, r"\[C, H, W\]"),
        ({"image": torch.zeros(1, 0, 4)}, "not empty"),
        ({"image": torch.zeros(1, 2, 2, dtype=torch.complex64)}, "complex"),
        ({"image": torch.zeros(1, 2, 2), "window": "heart"}, "abdomen, bone, brain"),
        ({"image": torch.zeros(1, 2, 2), "window": (5, 5)}, "low < high"),
        ({"image": torch.zeros(1, 2, 2), "window": (1, 2, 3)}, "low, high"),
        ({"image": torch.zeros(1, 2, 2), "nan": "zero"}, "'raise' or 'fill'"),
        ({"image": torch.full((1, 2, 2), 7.0), "percentiles": (99, 1)}, "ascending"),
        ({"image": torch.full((1, 2, 2), 7.0), "percentiles": (99,)}, "ascending"),
        ({"image": torch.zeros(1, 2, 2), "window": 5}, r"window must be \(low, high\) with low < high, got 5"),
        ({"image": torch.zeros(1, 2, 2), "window": (0, float("inf"))}, "low < high"),
        ({"image": torch.zeros(1, 2, 2), "channels": 1.5}, "one index or three, from 0 to 0, got 1.5"),
        ({"image": torch.zeros(1, 2, 2), "channels": "red"}, "one index or three, from 0 to 0, got 'red'"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_unit_rgb(**arguments)


class TestIntensity:
    @pytest.mark.parametrize(
        ("choice", "values"),
        [
            (Intensity(), {"window": None, "channels": None, "percentiles": [0.5, 99.5], "nan": "raise"}),
            (
                Intensity("lung", 2, (1, 99), "fill"),
                {"window": "lung", "channels": 2, "percentiles": [1.0, 99.0], "nan": "fill"},
            ),
            (
                Intensity([np.float32(-10), 30], np.array([2, 1, 0])),  # type: ignore[arg-type]
                {"window": [-10.0, 30.0], "channels": [2, 1, 0], "percentiles": [0.5, 99.5], "nan": "raise"},
            ),
        ],
    )
    def test_as_plain_values_and_back(self, choice: Intensity, values: dict) -> None:
        assert choice.to_dict() == values
        assert Intensity.from_dict(json.loads(json.dumps(values))) == choice
        assert hash(Intensity.from_dict(values)) == hash(choice)

    def test_what_is_missing_is_the_default(self) -> None:
        assert Intensity.from_dict(None) == Intensity.from_dict({}) == Intensity()
        assert Intensity.from_dict({"window": "bone"}) == Intensity(window="bone")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"window": "heart"}, "window must be one of abdomen, bone, brain"),
            ({"window": [5, 5]}, "low < high"),
            ({"window": [0, None]}, "low < high"),
            ({"window": 3}, "low < high, got 3"),
            ({"channels": [0, 1]}, r"channels must be one index or three, got \[0, 1\]"),
            ({"channels": -1}, "channels must be one index or three, got -1"),
            ({"channels": "none"}, "channels must be one index or three, got 'none'"),
            ({"percentiles": [99, 1]}, "percentiles must be two ascending numbers"),
            ({"percentiles": None}, "percentiles must be two ascending numbers"),
            ({"nan": "zero"}, "'raise' or 'fill'"),
            ({"widow": "lung"}, "intensity must be a dictionary of window, channels, percentiles, nan"),
            ("lung", "intensity must be a dictionary"),
        ],
    )
    def test_values_that_cannot_be_used(self, values: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Intensity.from_dict(values)  # type: ignore[arg-type]

    def test_what_is_given_goes_before(self) -> None:
        trained = Intensity("lung", (2, 1, 0), (1, 99))
        assert trained.given() == trained
        assert trained.given((0, 5), 1, "fill") == Intensity((0, 5), 1, (1, 99), "fill")
        assert trained.given("none") == Intensity(None, (2, 1, 0), (1, 99))
        assert trained.given(channels="none") == Intensity("lung", None, (1, 99))
        with pytest.raises(ValueError, match="window must be one of"):
            trained.given("heart")

    @pytest.mark.parametrize("dtype", [torch.uint8, np.dtype(np.uint8)])
    def test_the_own_window_does_not_hold_for_pictures(self, dtype: object) -> None:
        trained = Intensity("lung", 1)
        assert trained.given(dtype=dtype) == Intensity(None, 1)
        assert trained.given("bone", dtype=dtype) == Intensity("bone", 1)

    @pytest.mark.parametrize("dtype", [torch.int16, torch.float32, np.dtype(np.uint16), np.dtype(np.int8)])
    def test_it_holds_for_other_types(self, dtype: object) -> None:
        assert Intensity("lung").given(dtype=dtype) == Intensity("lung")

    def test_slices_by_the_range_of_their_volume(self) -> None:
        volume = np.zeros((2, 2, 2), np.int16)
        volume[..., 1] = [[0, 50], [100, 200]]
        choice = Intensity(percentiles=(0, 100))
        known = choice.volume_range(volume)
        assert known is not None and known.tolist() == [[0, 200]]
        assert choice.prepare(volume[None, ..., 1], known)[2].tolist() == [[0.0, 0.25], [0.5, 1.0]]
        assert choice.prepare(volume[None, ..., 0], known).max() == 0
        brain = Intensity("brain")
        assert brain.volume_range(volume) is None
        assert brain.prepare(volume[None, ..., 1])[0].tolist() == [[0.0, 0.625], [1.0, 1.0]]

    def test_only_the_channels_in_use_need_a_range(self) -> None:
        volume = np.full((2, 2, 3, 4), np.nan, np.float32)
        volume[..., 2] = np.arange(12).reshape(2, 2, 3)
        choice = Intensity(channels=2, percentiles=(0, 100))
        known = choice.volume_range(volume)
        assert known is not None and known.tolist() == [[0, 0], [0, 0], [0, 11], [0, 0]]
        prepared = choice.prepare(np.moveaxis(volume[:, :, 1], -1, 0), known)
        assert prepared[0].numpy() == pytest.approx(np.array([[1, 4], [7, 10]]) / 11)
        with pytest.raises(ValueError, match="image has 4 channels"):
            Intensity().volume_range(volume)
        with pytest.raises(ValueError, match="no finite value"):
            Intensity(channels=0).volume_range(volume)
        with pytest.raises(ValueError, match="from 0 to 3, got 4"):
            Intensity(channels=4).volume_range(volume)
