"""Random views of a training sample: the paper's two recipes, one for medical images, one for images of any kind."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    Identityd,
    Lambdad,
    MapTransform,
    OneOf,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandLambdad,
    RandomizableTransform,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    RandSpatialCropd,
    RandZoomd,
    Resized,
    ScaleIntensityRanged,
    SpatialPadd,
)
from monai.transforms import Flipd as _Flipd
from torch import Tensor

__all__ = ["RECIPES", "RandWindowd", "augmentation"]

_KEYS = ("image", "label")
_MODES = ("bilinear", "nearest")
_RESIZE_MODES = ("bilinear", "nearest-exact")
RECIPES = ("medical", "any_modality", "sbd", "coco_lvis", "none")


class RandWindowd(RandomizableTransform, MapTransform):
    """Cuts a random window and resizes it: every scale from the whole image down to what zoom-in shows.

    The first click of a session sees the whole image resized to the network's input, later ones a crop around the
    object. So the window's side is drawn log-uniformly between the whole image and the smaller of ``size / max_zoom``
    and ``smallest`` times the image's longer side, with a small change of the aspect ratio. It holds a random pixel of
    a random object with probability ``object_probability``.

    Args:
        keys: keys of the image [C, H, W] and of the label map [L, H, W].
        size: (height, width) of the result in pixels.
        label_key: key of the label map; object ids > 0.
        max_zoom: largest magnification of an image that is larger than ``size``.
        smallest: smallest window as a fraction of a small image.
        max_aspect: largest change of the aspect ratio.
        object_probability: probability that the window is placed on an object.
        whole_probability: probability that the window is the whole image, as at every first click.
        mode: interpolation of each key.
    """

    def __init__(
        self,
        keys: KeysCollection = _KEYS,
        size: Sequence[int] = (448, 448),
        *,
        label_key: str = "label",
        max_zoom: float = 1.6,
        smallest: float = 0.6,
        max_aspect: float = 1.25,
        object_probability: float = 0.9,
        whole_probability: float = 0.25,
        mode: Sequence[str] = _RESIZE_MODES,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.size = (int(size[0]), int(size[1]))
        self.label_key = label_key
        self.max_zoom = max_zoom
        self.smallest = smallest
        self.max_aspect = max_aspect
        self.object_probability = object_probability
        self.whole_probability = whole_probability
        self.resize = Resized(self.keys, self.size, mode=tuple(mode))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample's window."""
        result = dict(data)
        label = result[self.label_key]
        shape = (int(label.shape[-2]), int(label.shape[-1]))
        if self.R.random_sample() < self.whole_probability:
            return self.resize(result)
        longer = max(shape)
        side = longer * math.exp(-self.R.uniform(0.0, math.log(longer / self._smallest_side(longer))))
        aspect = math.exp(self.R.uniform(-1.0, 1.0) * 0.5 * math.log(self.max_aspect))
        window = [max(1, min(shape[0], round(side * aspect))), max(1, min(shape[1], round(side / aspect)))]
        first = [self.R.randint(shape[axis] - window[axis] + 1) for axis in (0, 1)]
        place = self._object_pixel(torch.as_tensor(label))
        if place is not None:
            for axis in (0, 1):
                low = max(0, place[axis] - window[axis] + 1)
                high = min(place[axis], shape[axis] - window[axis])
                first[axis] = self.R.randint(low, high + 1)
        rows, columns = (slice(start, start + length) for start, length in zip(first, window, strict=True))
        for key in self.keys:
            result[key] = result[key][:, rows, columns]
        return self.resize(result)

    def _smallest_side(self, longer: int) -> float:
        return max(1.0, min(max(self.size) / self.max_zoom, self.smallest * longer))

    def _object_pixel(self, label: Tensor) -> tuple[int, int] | None:
        """Draw a pixel of a random object, or nothing."""
        chosen = self.R.random_sample() < self.object_probability
        identifiers = label[label > 0].unique()
        if not chosen or not len(identifiers):
            return None
        identifier = identifiers[self.R.randint(len(identifiers))]
        places = (label == identifier).any(0).nonzero()
        row, column = places[self.R.randint(len(places))].tolist()
        return row, column


def augmentation(recipe: str = "medical", crop_size: int | Sequence[int] = 448) -> Compose:
    """Return the random transforms of a recipe, for ``image`` [3, H, W] in [0, 1] and ``label`` [L, H, W].

    ``"sbd"`` and ``"coco_lvis"`` are the paper's (Sec. IV-A): random resizing, flips, for SBD also quarter turns, small
    shifts and rotations; padding and a random crop; brightness, contrast and colour. ``"medical"`` cuts windows of all
    scales (:class:`RandWindowd`), turns freely, and changes contrast, gamma and noise instead of colour.
    ``"any_modality"`` does the same and hides the modality as well: one of four images is inverted, one of five becomes
    grey, colours change places, the order of grey values is bent (histogram shift), a smooth bias field is laid over,
    sharpness and resolution are lost. ``"none"`` only cuts windows.

    Object ids stay what they are, unless one is 2**24 or above. MONAI resamples in float32, which cannot hold such an
    id, so all objects of that label are numbered anew.

    Args:
        recipe: one of :data:`RECIPES`.
        crop_size: side or (height, width) of the crop in pixels.

    Raises:
        ValueError: when the recipe is unknown.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}.")
    size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
    numbers = Lambdad("label", _exact_numbers)
    if recipe == "none":
        return Compose([numbers, RandWindowd(size=size)])
    if recipe in ("medical", "any_modality"):
        return Compose(
            [
                numbers,
                RandWindowd(size=size),
                _any_flip(),
                RandRotate90d(_KEYS, prob=0.5 if size[0] == size[1] else 0.0, max_k=3),
                RandAffined(
                    _KEYS,
                    prob=0.5,
                    rotate_range=math.radians(20),
                    shear_range=0.1,
                    mode=_MODES,
                    padding_mode="zeros",
                ),
                *(_any_appearance() if recipe == "any_modality" else []),
                *_brightness_and_contrast(),
                RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
                RandGaussianNoised("image", prob=0.3, std=0.05),
                _clip(),
                *([RandLambdad("image", _inverted, prob=0.25, track_meta=False)] if recipe == "any_modality" else []),
            ]
        )
    crop = [
        SpatialPadd(_KEYS, size, mode="constant", method="end"),
        RandSpatialCropd(_KEYS, size, random_size=False),
    ]
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
    return Compose([numbers, *geometry, *crop, *_brightness_and_contrast(), rgb_shift, _clip()])


def _exact_numbers(label: Tensor) -> Tensor:
    """Renumber the objects of a label where float32 cannot hold a number."""
    if int(label.max()) < 2**24:
        return label
    values, places = torch.as_tensor(label).unique(return_inverse=True)
    return torch.where(label > 0, places - int((values <= 0).sum()) + 1, label)


def _zoom(low: float, high: float) -> RandZoomd:
    return RandZoomd(_KEYS, prob=1.0, min_zoom=low, max_zoom=high, mode=_RESIZE_MODES, keep_size=False)


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


def _any_appearance() -> list[Any]:
    """Change what tells one modality from another; values stay near [0, 1]."""
    return [
        RandLambdad("image", _grey, prob=0.2, track_meta=False),
        RandLambdad("image", _colours_reversed, prob=0.2, track_meta=False),
        RandHistogramShiftd("image", num_control_points=(4, 8), prob=0.2),
        RandBiasFieldd("image", degree=2, coeff_range=(-0.3, 0.3), prob=0.2),
        RandSimulateLowResolutiond(
            "image", prob=0.2, downsample_mode="nearest", upsample_mode="bilinear", zoom_range=(0.4, 0.9)
        ),
        RandGaussianSmoothd("image", sigma_x=(0.3, 1.2), sigma_y=(0.3, 1.2), prob=0.2),
    ]


def _inverted(image: Tensor) -> Tensor:
    """Make bright what was dark."""
    return 1.0 - image


def _grey(image: Tensor) -> Tensor:
    """Give all channels their mean."""
    return image.mean(0, keepdim=True).expand(image.shape).contiguous()


def _colours_reversed(image: Tensor) -> Tensor:
    """Let red and blue change places."""
    return image.flip(0)


def _clip() -> ScaleIntensityRanged:
    return ScaleIntensityRanged("image", a_min=0.0, a_max=1.0, b_min=0.0, b_max=1.0, clip=True)
