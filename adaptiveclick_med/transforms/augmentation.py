"""Random views of a training sample: the paper's two recipes, one for medical images, one for images of any kind."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

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

from adaptiveclick_med.magnification import smallest_crop

__all__ = ["RECIPES", "RandWindowd", "augmentation"]

_KEYS = ("image", "label")
_MODES = ("bilinear", "nearest")
_RESIZE_MODES = ("bilinear", "nearest-exact")
RECIPES = ("medical", "any_modality", "sbd", "coco_lvis", "none")


class RandWindowd(RandomizableTransform, MapTransform):
    """Cuts a random window and resizes it: what a session shows to the network, from the whole image to zoom-in.

    The first click of a session sees the whole image resized to the network's input, later ones a crop around what was
    found so far. So a sample is the whole image with ``whole_probability``, else a window around a random object. Its
    height and width are those of the object's box, as zoom-in takes them (a long object is shown compressed), times one
    factor, drawn log-uniformly from ``context``: at most the image's, and at least half the smallest crop of a session
    (:func:`~adaptiveclick_med.magnification.smallest_crop`) or, in a small image, ``smallest`` times its longer side.
    The aspect ratio changes a little. The window holds the object's box, anywhere in it, where it is large enough for
    it, else a random pixel of the object. Without an object, or else than with ``object_probability``, the window is
    nearly square, and size and place do not depend on one. The number of the object is written to ``focus_key``, 0
    where there is none, for :class:`RandSelectTargetd`.

    Args:
        keys: keys of the image [C, H, W] and of the label map [L, H, W].
        size: (height, width) of the result in pixels.
        label_key: key of the label map; object ids > 0.
        context: (lowest, highest) size of a window as a multiple of the object's box. Zoom-in takes 1.4 times the box
            of a prediction, which may be smaller or larger than the object.
        smallest: smallest window as a fraction of a small image.
        max_aspect: largest change of the aspect ratio.
        object_probability: probability that the window is placed on an object.
        whole_probability: probability that the window is the whole image, as at every first click.
        mode: interpolation of each key.
        focus_key: key of the object's number.

    Raises:
        ValueError: when ``context`` is not two rising positive numbers.
    """

    def __init__(
        self,
        keys: KeysCollection = _KEYS,
        size: Sequence[int] = (448, 448),
        *,
        label_key: str = "label",
        context: tuple[float, float] = (0.7, 3.0),
        smallest: float = 0.6,
        max_aspect: float = 1.25,
        object_probability: float = 0.9,
        whole_probability: float = 0.25,
        mode: Sequence[str] = _RESIZE_MODES,
        focus_key: str = "focus",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        if len(context) != 2 or not 0 < context[0] <= context[1]:
            raise ValueError(f"context must be two rising numbers above 0, got {context!r}.")
        self.size = (int(size[0]), int(size[1]))
        self.label_key = label_key
        self.context = (float(context[0]), float(context[1]))
        self.smallest = smallest
        self.max_aspect = max_aspect
        self.object_probability = object_probability
        self.whole_probability = whole_probability
        self.focus_key = focus_key
        self.resize = Resized(self.keys, self.size, mode=tuple(mode))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample's window."""
        result = {**data, self.focus_key: 0}
        label = torch.as_tensor(result[self.label_key])
        shape = (int(label.shape[-2]), int(label.shape[-1]))
        if self.R.random_sample() < self.whole_probability:
            return self.resize(result)
        number, shown = self._shown_object(label)
        result[self.focus_key] = number
        longer = max(shape)
        least = min(0.5 * smallest_crop(self.size), self.smallest * longer)
        if shown is None:
            sides = [longer * math.exp(-self.R.uniform(0.0, math.log(max(1.0, longer / least))))] * 2
        else:
            low, high = self.context
            factor = math.exp(self.R.uniform(math.log(low), math.log(high)))
            sides = [max(factor * (span.last - span.first + 1), least) for span in shown]
        aspect = math.exp(self.R.uniform(-1.0, 1.0) * 0.5 * math.log(self.max_aspect))
        window = [
            max(1, min(length, round(side * change)))
            for length, side, change in zip(shape, sides, (aspect, 1 / aspect), strict=True)
        ]
        first = [
            self._start(length, inside, None if shown is None else shown[axis])
            for axis, (length, inside) in enumerate(zip(shape, window, strict=True))
        ]
        rows, columns = (slice(start, start + length) for start, length in zip(first, window, strict=True))
        for key in self.keys:
            result[key] = result[key][:, rows, columns]
        return self.resize(result)

    def _shown_object(self, label: Tensor) -> tuple[int, tuple[_Span, _Span] | None]:
        """Draw an object and one of its pixels: its number, and what it spans of rows and of columns; or nothing."""
        chosen = self.R.random_sample() < self.object_probability
        identifiers = label[label > 0].unique()
        if not chosen or not len(identifiers):
            return 0, None
        identifier = int(identifiers[self.R.randint(len(identifiers))])
        places = (label == identifier).any(0).nonzero()
        pixel = places[self.R.randint(len(places))].tolist()
        first, last = places.amin(0).tolist(), places.amax(0).tolist()
        return identifier, (_Span(first[0], last[0], pixel[0]), _Span(first[1], last[1], pixel[1]))

    def _start(self, length: int, inside: int, span: _Span | None) -> int:
        """Draw where a window of ``inside`` of ``length`` pixels starts: around a span, or at least on its pixel."""
        low, high = 0, length - inside
        if span is not None:
            first, last = (span.first, span.last) if span.last - span.first < inside else (span.pixel, span.pixel)
            low, high = max(low, last - inside + 1), min(high, first)
        return int(self.R.randint(low, high + 1))


class _Span(NamedTuple):
    """First and last row or column of an object, and that of a pixel of it."""

    first: int
    last: int
    pixel: int


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
