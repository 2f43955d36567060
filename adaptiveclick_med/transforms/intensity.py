"""Intensities of any image to RGB in [0, 1], the input of the network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from adaptiveclick_med.transforms.percentiles import percentile_pair

__all__ = ["CT_WINDOWS", "PERCENTILES", "Intensity", "intensity_range", "to_unit_rgb"]

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
    percentiles = _percentiles(percentiles)
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
    low, high = percentile_pair(values, percentiles)
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
    _check_nan(nan)
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
    """Return one or three channel indices of an image."""
    if channels is None:
        if count not in (1, 3):
            raise ValueError(
                f"image has {count} channels; say which to use with channels=: one index from 0 to {count - 1}, or "
                "three indices."
            )
        return list(range(count))
    return _indices(channels, f", from 0 to {count - 1}", count)


def _indices(channels: Any, allowed: str = "", count: float = math.inf) -> list[int]:
    """Return one or three indices below ``count``."""
    chosen: list[Any] = list(channels) if isinstance(channels, Iterable) else [channels]
    usable = all(isinstance(index, (int, np.integer)) and 0 <= index < count for index in chosen)
    if len(chosen) not in (1, 3) or not usable:
        raise ValueError(f"channels must be one index or three{allowed}, got {channels!r}.")
    return [int(index) for index in chosen]


def _window(window: str | Sequence[float]) -> tuple[float, float]:
    """Return (low, high) of a window."""
    if isinstance(window, str):
        if window not in CT_WINDOWS:
            raise ValueError(f"window must be one of {', '.join(CT_WINDOWS)}, or (low, high), got {window!r}.")
        return CT_WINDOWS[window]
    ends = _numbers(window)
    if len(ends) != 2 or not ends[0] < ends[1] or not np.isfinite(ends).all():
        raise ValueError(f"window must be (low, high) with low < high, got {window!r}.")
    return ends[0], ends[1]


def _percentiles(percentiles: Sequence[float]) -> tuple[float, float]:
    ends = _numbers(percentiles)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 100:
        raise ValueError(f"percentiles must be two ascending numbers in [0, 100], got {percentiles!r}.")
    return ends[0], ends[1]


def _numbers(values: Any) -> list[float]:
    """Return a sequence of numbers as floats; nothing where it is none."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def _is_none(value: Any) -> bool:
    return isinstance(value, str) and value == "none"


def _check_nan(nan: str) -> None:
    if nan not in ("raise", "fill"):
        raise ValueError(f"nan must be 'raise' or 'fill', got {nan!r}.")


@dataclass(frozen=True)
class Intensity:
    """How images become the input of a network: the arguments of :func:`to_unit_rgb` as one value.

    Weights carry what they were trained with, so that it need not be said again. Sequences become tuples.

    Attributes:
        window: name of a CT window, (low, high) in the images' units, or ``None``: by type and percentiles.
        channels: one index or three; ``None``: all of one or three.
        percentiles: that become 0 and 1 where there is no window.
        nan: ``"raise"`` or ``"fill"``.

    Raises:
        ValueError: as :func:`to_unit_rgb`.

    Example:
        >>> trained = Intensity(window="lung")
        >>> trained.given(channels=2).to_dict()
        {'window': 'lung', 'channels': 2, 'percentiles': [0.5, 99.5], 'nan': 'raise'}
        >>> trained.given(dtype=np.dtype("uint8")) == Intensity()
        True
    """

    window: str | tuple[float, float] | None = None
    channels: int | tuple[int, ...] | None = None
    percentiles: tuple[float, float] = PERCENTILES
    nan: str = "raise"

    def __post_init__(self) -> None:
        if self.window is not None:
            limits = _window(self.window)
            object.__setattr__(self, "window", self.window if isinstance(self.window, str) else limits)
        if self.channels is not None:
            chosen = _indices(self.channels)
            object.__setattr__(self, "channels", tuple(chosen) if len(chosen) == 3 else chosen[0])
        object.__setattr__(self, "percentiles", _percentiles(self.percentiles))
        _check_nan(self.nan)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Intensity:
        """Return the choice of a dictionary of :meth:`to_dict`; what it lacks, or ``None``, is the default.

        Raises:
            ValueError: when it is no dictionary, has other keys, or a value cannot be used.
        """
        if values is None:
            return cls()
        names = [each.name for each in fields(cls)]
        if not isinstance(values, Mapping) or not set(values) <= set(names):
            raise ValueError(f"intensity must be a dictionary of {', '.join(names)}, got {values!r}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def given(
        self,
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | str | None = None,
        nan: str | None = None,
        *,
        dtype: Any = None,
    ) -> Intensity:
        """Return the choice for some images: what is given, else this one's.

        Args:
            window: in place of this one's; ``"none"``: no window.
            channels: in place of this one's; ``"none"``: all channels.
            nan: in place of this one's.
            dtype: type of the images. uint8 is a picture's brightness and no measured value, so this choice's own
                window does not hold for it; one that is given does.
        """
        values: dict[str, Any] = {"window": window, "channels": channels, "nan": nan}
        changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        if dtype is not None and str(dtype).endswith("uint8"):  # of NumPy or of PyTorch
            changes = {"window": None, **changes}
        changes = {name: None if _is_none(value) else value for name, value in changes.items()}
        return replace(self, **changes)

    def volume_range(self, volume: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the values of a whole volume that become 0 and 1, for :meth:`prepare` of its slices.

        Args:
            volume: [I, J, K] or [I, J, K, C], any real type.

        Returns:
            [1, 2] or [C, 2], (low, high) of each channel in use, zeros for the others; ``None`` with a window, which
            needs no range.

        Raises:
            ValueError: when a channel in use has no finite value, or there is no such channel.
        """
        if self.window is not None:
            return None
        parts = np.moveaxis(volume, -1, 0) if volume.ndim == 4 else volume[None]
        ranges = np.zeros((len(parts), 2))
        for index in set(_channel_indices(self.channels, len(parts))):
            ranges[index] = intensity_range(parts[index], self.percentiles)
        return ranges

    def prepare(self, image: Tensor | NDArray[Any], value_range: ArrayLike | None = None) -> Tensor:
        """Return [3, H, W] float32 in [0, 1] of an image [C, H, W], see :func:`to_unit_rgb`.

        Args:
            image: a picture, or a slice of a volume.
            value_range: of the whole volume, see :meth:`volume_range`; ``None``: the image's own.
        """
        return to_unit_rgb(image, self.window, self.channels, self.percentiles, self.nan, value_range)
