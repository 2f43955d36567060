"""Intensities of any image to RGB in [0, 1], the input of the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["CT_WINDOWS", "PERCENTILES", "ScaleToUnitRGBd", "intensity_range", "to_unit_rgb"]

PERCENTILES = (0.5, 99.5)
"""Default percentiles that become 0 and 1."""

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (-160.0, 240.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
    "liver": (-45.0, 105.0),
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
    "soft_tissue": (-150.0, 250.0),
}
"""(low, high) of the usual CT windows in Hounsfield units."""


def intensity_range(values: NDArray[Any], percentiles: tuple[float, float] = PERCENTILES) -> tuple[float, float]:
    """Return the values that become 0 and 1 in a picture or a whole volume.

    Args:
        values: any shape, of any real type. Values that are not finite are passed over.
        percentiles: see below, in [0, 100].

    Returns:
        (low, high): (0, 255) for uint8; (0, 1) for bool and for floats inside [0, 1]; else the percentiles, or the
        extremes where the two percentiles are equal.

    Raises:
        ValueError: when no value is finite, or ``percentiles`` are not in ascending order in [0, 100].
    """
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(f"percentiles must be two ascending numbers in [0, 100], got {tuple(percentiles)}.")
    if values.dtype == np.uint8:
        return 0.0, 255.0
    if values.dtype == np.bool_:
        return 0.0, 1.0
    floating = values.dtype.kind == "f"
    if floating:
        finite = np.isfinite(values)
        values = values if finite.all() else values[finite]
    if values.size == 0:
        raise ValueError("the image has no finite value.")
    least, most = float(values.min()), float(values.max())
    if floating and least >= 0 and most <= 1:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if low < high else (least, most)


def to_unit_rgb(
    image: Tensor | NDArray[Any],
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    nan: str = "raise",
    value_range: ArrayLike | None = None,
) -> Tensor:
    """Turn an image into three channels in [0, 1].

    uint8 is divided by 255; floats already inside [0, 1] stay as they are; anything else is scaled linearly from its
    percentiles to [0, 1] and clipped. A window or a range, where given, takes the place of this rule. A constant image
    whose range has no extent becomes 0.

    Args:
        image: [C, H, W], bool, integer or floating.
        window: name of a CT window (:data:`CT_WINDOWS`), or (low, high) in the image's units.
        channels: one index (repeated as grey) or three indices (red, green, blue). Not needed for one channel
            (repeated) or three (RGB).
        percentiles: see :func:`intensity_range`.
        nan: ``"raise"``: NaN or infinite values are an error. ``"fill"``: NaN and -Inf become 0, +Inf becomes 1.
        value_range: values that become 0 and 1, for example of the whole volume: (low, high), or [C, 2] with one pair
            for each channel of ``image``.

    Returns:
        [3, H, W] float32 in [0, 1], on the device of ``image``; a ``MetaTensor`` stays one.

    Raises:
        ValueError: when the shape, the type, a window, a channel or another argument is not usable, or the image has
            values that are not finite.
    """
    if nan not in ("raise", "fill"):
        raise ValueError(f"nan must be 'raise' or 'fill', got {nan!r}.")
    tensor = image if isinstance(image, Tensor) else torch.as_tensor(np.ascontiguousarray(image))
    tensor = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    if tensor.ndim != 3 or 0 in tensor.shape:
        raise ValueError(f"image must be of shape [C, H, W] and not empty, got {list(tensor.shape)}.")
    if tensor.is_complex():
        raise ValueError("image must be of real numbers, got complex ones.")
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch can do little with these
        tensor = tensor.to(torch.int32 if tensor.dtype == torch.uint16 else torch.int64)
    chosen = _channel_indices(channels, tensor.shape[0])
    tensor = tensor[chosen]
    finite = tensor.isfinite() if tensor.is_floating_point() else None
    complete = finite is None or bool(finite.all())
    if finite is not None and not complete and nan == "raise":
        count = int((~finite).sum())
        raise ValueError(f"image has {count} NaN or infinite value(s); pass nan='fill' to fill them.")
    if window is not None:
        limits = np.array([_window(window)])
    elif value_range is not None:
        limits = np.asarray(value_range, dtype=np.float64).reshape(-1, 2)
        if len(limits) not in (1, image.shape[0]):
            raise ValueError(f"value_range must be (low, high) or one pair for each channel, got {value_range!r}.")
        limits = limits[chosen] if len(limits) > 1 else limits
    else:
        limits = np.array([intensity_range(_numpy(tensor), percentiles)])
    ends = torch.as_tensor(limits, dtype=torch.float64).to(tensor.device)[:, :, None, None]
    low, extent = ends[:, 0].float(), (ends[:, 1] - ends[:, 0]).float()
    scaled = tensor.float().sub_(low).div_(extent.where(extent > 0, 1.0)).clamp_(0.0, 1.0)
    if not complete:
        scaled.nan_to_num_(nan=0.0)
    scaled.masked_fill_(extent <= 0, 0.0)
    scaled = scaled if len(chosen) == 3 else scaled.repeat(3, 1, 1)
    if isinstance(image, MetaTensor):
        return MetaTensor(scaled, meta=image.meta, applied_operations=image.applied_operations)
    return scaled


def _numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a real tensor as an array; bfloat16 as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _channel_indices(channels: int | Sequence[int] | None, count: int) -> list[int]:
    """Return one or three channel indices."""
    if channels is None:
        if count not in (1, 3):
            raise ValueError(
                f"image has {count} channels; say which to use with channels=: one index from 0 to {count - 1}, or "
                "three indices."
            )
        return list(range(count))
    chosen = [channels] if isinstance(channels, int) else [int(index) for index in channels]
    if len(chosen) not in (1, 3) or not all(0 <= index < count for index in chosen):
        raise ValueError(f"channels must be one index or three, from 0 to {count - 1}, got {channels!r}.")
    return chosen


def _window(window: str | Sequence[float]) -> tuple[float, float]:
    """Return (low, high) of a window."""
    if isinstance(window, str):
        if window not in CT_WINDOWS:
            raise ValueError(f"window must be one of {', '.join(CT_WINDOWS)}, or (low, high), got {window!r}.")
        return CT_WINDOWS[window]
    ends = tuple(float(value) for value in window)
    if len(ends) != 2 or not ends[0] < ends[1] or not np.isfinite(ends).all():
        raise ValueError(f"window must be (low, high) with low < high, got {window!r}.")
    return ends[0], ends[1]


class ScaleToUnitRGBd(MapTransform):
    """Dictionary form of :func:`to_unit_rgb`.

    A slice of a volume is scaled by the range of its whole volume, which ``LoadSampled`` leaves in
    ``meta["intensity_range"]``, so that a slice without structure is not stretched to noise.

    Args:
        keys: keys of images [C, H, W].
        window: see :func:`to_unit_rgb`.
        channels: see :func:`to_unit_rgb`.
        percentiles: when given, percentiles of the image at hand, which then go before the range in its meta data.
        nan: see :func:`to_unit_rgb`.
        allow_missing_keys: pass over keys that are missing.

    Raises:
        ValueError: as :func:`to_unit_rgb`; the message names the image.

    Example:
        >>> image = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
        >>> ScaleToUnitRGBd("image")({"image": image})["image"][0]
        tensor([[0.0000, 0.2000],
                [0.4000, 1.0000]])
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | None = None,
        percentiles: tuple[float, float] | None = None,
        nan: str = "raise",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if window is not None:
            _window(window)
        if nan not in ("raise", "fill"):
            raise ValueError(f"nan must be 'raise' or 'fill', got {nan!r}.")
        self.window = window
        self.channels = channels
        self.percentiles = percentiles
        self.nan = nan

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images as float32 [3, H, W] in [0, 1]."""
        result = dict(data)
        for key in self.key_iterator(cast(Any, result)):
            image = result[key]
            meta = image.meta if isinstance(image, MetaTensor) else {}
            known = meta.get("intensity_range") if self.percentiles is None else None
            try:
                result[key] = to_unit_rgb(
                    image, self.window, self.channels, self.percentiles or PERCENTILES, self.nan, known
                )
            except ValueError as error:
                name = result.get("name", meta.get("filename_or_obj", key))
                raise ValueError(f"{key} of {name}: {error}") from error
        return result
