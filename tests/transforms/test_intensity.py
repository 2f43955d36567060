from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from adaptiveclick_med.transforms.intensity import CT_WINDOWS, ScaleToUnitRGBd, intensity_range, to_unit_rgb


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
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_unit_rgb(**arguments)


def test_transform_uses_the_range_of_the_volume_and_keeps_meta() -> None:
    meta = {"intensity_range": torch.tensor([[0.0, 100.0]]), "filename_or_obj": "a.nii"}
    image = MetaTensor(
        torch.tensor([[[0.0, 0.5], [1.0, 0.25]]]), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta=meta
    )
    result = ScaleToUnitRGBd("image")({"image": image, "name": "a"})
    assert result["image"].flatten().tolist()[:4] == pytest.approx([0.0, 0.005, 0.01, 0.0025])
    assert torch.equal(result["image"].affine, image.affine) and result["image"].meta["filename_or_obj"] == "a.nii"
    assert image.max() == 1
    own = ScaleToUnitRGBd("image", percentiles=(0, 100))({"image": image})["image"]
    assert own.flatten().tolist()[:4] == [0.0, 0.5, 1.0, 0.25]
    assert ScaleToUnitRGBd("image", window=(0, 0.5))({"image": image})["image"].max() == 1


def test_transform_errors_name_the_image() -> None:
    with pytest.raises(ValueError, match="image of case_7/axial_003: image has 2 channels"):
        ScaleToUnitRGBd("image")({"image": torch.zeros(2, 4, 4), "name": "case_7/axial_003"})
    with pytest.raises(ValueError, match="window"):
        ScaleToUnitRGBd("image", window="heart")
    with pytest.raises(KeyError):
        ScaleToUnitRGBd("image")({})
    assert ScaleToUnitRGBd("image", allow_missing_keys=True)({"name": "a"}) == {"name": "a"}
