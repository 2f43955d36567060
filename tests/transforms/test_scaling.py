from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from adaptiveclick_med.transforms import Intensity, ScaleToUnitRGBd


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


LUNG = Intensity("lung", 1).to_dict()


def test_what_a_network_was_trained_with_holds_unless_something_is_given() -> None:
    image = torch.zeros(2, 1, 2, dtype=torch.int16)
    image[1] = torch.tensor([[-600, 150]])
    image[0] = torch.tensor([[0, 80]])
    assert ScaleToUnitRGBd(intensity=LUNG)({"image": image})["image"].tolist() == [[[0.5, 1.0]]] * 3
    given = ScaleToUnitRGBd(window=(150, 300), channels=0, intensity=LUNG)
    assert given({"image": image + 150})["image"].tolist() == [[[0.0, pytest.approx(80 / 150)]]] * 3
    none = ScaleToUnitRGBd(window="none", percentiles=(0, 100), intensity=LUNG)
    assert none({"image": image})["image"].tolist() == [[[0.0, 1.0]]] * 3
    with pytest.raises(ValueError, match="image of image: image has 2 channels"):
        ScaleToUnitRGBd(channels="none", intensity=LUNG)({"image": image})


def test_a_window_of_the_training_does_not_hold_for_pictures() -> None:
    picture = torch.tensor([[[7, 7]], [[51, 255]]], dtype=torch.uint8)
    scaled = ScaleToUnitRGBd(intensity=LUNG)({"image": picture})["image"]
    assert scaled.tolist() == [[[pytest.approx(0.2), 1.0]]] * 3
    given = ScaleToUnitRGBd(window=(51, 102), intensity=LUNG)({"image": picture})["image"]
    assert given.tolist() == [[[0.0, 1.0]]] * 3


def test_an_unusable_choice_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="window must be one of"):
        ScaleToUnitRGBd(intensity={"window": "heart"})
    with pytest.raises(ValueError, match="channels must be one index or three"):
        ScaleToUnitRGBd(channels=(0, 1))
