"""Random views of a training sample: the paper's two recipes and one for medical images."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    Identityd,
    MapTransform,
    OneOf,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSpatialCropd,
    RandZoomd,
    Resized,
    ScaleIntensityRanged,
    SpatialPadd,
)
from monai.transforms import Flipd as _Flipd
from torch import Tensor

__all__ = ["RECIPES", "EnlargeSmalld", "augmentation"]

_KEYS = ("image", "label")
_MODES = ("bilinear", "nearest")
RECIPES = ("medical", "sbd", "coco_lvis", "none")


class EnlargeSmalld(MapTransform):
    """Enlarges images whose shorter side is below a size, with the aspect ratio kept.

    A session enlarges a small image to the network's input too, so training must see the same scale.

    Args:
        keys: keys of [C, H, W] images and label maps.
        size: smallest side in pixels after the transform.
        mode: interpolation of each key.
    """

    def __init__(self, keys: KeysCollection = _KEYS, size: int = 448, mode: Sequence[str] = _MODES) -> None:
        super().__init__(keys)
        self.size = size
        self.mode = tuple(mode)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample, enlarged where needed."""
        result = dict(data)
        height, width = (int(side) for side in result[self.keys[0]].shape[-2:])
        scale = self.size / min(height, width)
        if scale <= 1:
            return result
        size = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        return Resized(self.keys, size, mode=self.mode)(result)


def augmentation(recipe: str = "medical", crop_size: int | Sequence[int] = 448) -> Compose:
    """Return the random transforms of a recipe, for ``image`` [3, H, W] in [0, 1] and ``label`` [L, H, W].

    ``"sbd"`` and ``"coco_lvis"`` are the paper's (Sec. IV-A): random resizing, flips, for SBD also quarter turns, small
    shifts and rotations; padding and a random crop; brightness, contrast and colour. ``"medical"`` enlarges small
    images to the crop, zooms wider, rotates freely, and changes contrast, gamma and noise instead of colour.
    ``"none"`` enlarges, pads and crops only.

    Args:
        recipe: one of :data:`RECIPES`.
        crop_size: side or (height, width) of the crop in pixels.

    Raises:
        ValueError: when the recipe is unknown.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}.")
    size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
    crop = [
        SpatialPadd(_KEYS, size, mode="constant", method="end"),
        RandSpatialCropd(_KEYS, size, random_size=False),
    ]
    if recipe == "none":
        return Compose([EnlargeSmalld(size=min(size)), *crop])
    if recipe == "medical":
        return Compose(
            [
                EnlargeSmalld(size=min(size)),
                _zoom(0.75, 1.6),
                _any_flip(),
                RandRotate90d(_KEYS, prob=0.5, max_k=3),
                *crop,
                RandAffined(
                    _KEYS,
                    prob=0.5,
                    rotate_range=math.radians(20),
                    shear_range=0.1,
                    mode=_MODES,
                    padding_mode="zeros",
                ),
                *_brightness_and_contrast(),
                RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
                RandGaussianNoised("image", prob=0.3, std=0.05),
                _clip(),
            ]
        )
    geometry: list[Any] = [_zoom(0.75, 1.25), _any_flip(), RandRotate90d(_KEYS, prob=0.5, max_k=3)]
    if recipe == "sbd":
        geometry.append(
            RandAffined(
                _KEYS,
                prob=0.75,
                rotate_range=math.radians(3),
                translate_range=[round(0.03 * side) for side in size],
                mode=_MODES,
                padding_mode="zeros",
            )
        )
    else:
        geometry = [_zoom(0.75, 1.40), RandFlipd(_KEYS, prob=0.5, spatial_axis=1)]
    rgb_shift = RandShiftIntensityd("image", offsets=10 / 255, prob=0.75, channel_wise=True)
    return Compose([*geometry, *crop, *_brightness_and_contrast(), rgb_shift, _clip()])


def _zoom(low: float, high: float) -> RandZoomd:
    return RandZoomd(_KEYS, prob=1.0, min_zoom=low, max_zoom=high, mode=_MODES, keep_size=False)


def _any_flip() -> OneOf:
    """Rows, columns or both, with probability 0.5 in all."""
    flips = [_Flipd(_KEYS, axis) for axis in (0, 1, (0, 1))]
    return OneOf([Identityd(_KEYS), *flips], weights=[0.5, 1 / 6, 1 / 6, 1 / 6])


def _brightness_and_contrast() -> list[Any]:
    both = Compose(
        [
            RandScaleIntensityd("image", factors=(-0.15, 0.4), prob=1.0),
            RandShiftIntensityd("image", offsets=0.25, prob=1.0),
        ]
    )
    return [OneOf([Identityd("image"), both], weights=[0.25, 0.75])]


def _clip() -> ScaleIntensityRanged:
    return ScaleIntensityRanged("image", a_min=0.0, a_max=1.0, b_min=0.0, b_max=1.0, clip=True)
