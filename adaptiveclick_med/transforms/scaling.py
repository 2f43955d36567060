"""Intensities as a MONAI dictionary transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from adaptiveclick_med.transforms.intensity import PERCENTILES, Intensity, to_unit_rgb

__all__ = ["ScaleToUnitRGBd"]


class ScaleToUnitRGBd(MapTransform):
    """Dictionary form of :func:`~adaptiveclick_med.transforms.intensity.to_unit_rgb`.

    A slice of a volume is scaled by the range of its whole volume, which ``LoadSampled`` leaves in
    ``meta["intensity_range"]``, so that a slice without structure is not stretched to noise.

    Args:
        keys: keys of images [C, H, W].
        window: see :func:`to_unit_rgb`.
        channels: see :func:`to_unit_rgb`.
        percentiles: when given, percentiles of the image at hand, which then go before the range in its meta data.
        nan: see :func:`to_unit_rgb`.
        allow_missing_keys: pass over keys that are missing.
        intensity: what a network was trained with (``network.intensity`` or
            :func:`adaptiveclick_med.weights.read_intensity`). It holds where ``window`` or ``channels`` is ``None``,
            see :meth:`Intensity.given`; ``"none"`` may be given for either then.

    Raises:
        ValueError: as :func:`to_unit_rgb`; the message names the image.

    Example:
        >>> import torch
        >>> image = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
        >>> ScaleToUnitRGBd("image")({"image": image})["image"][0]
        tensor([[0.0000, 0.2000],
                [0.4000, 1.0000]])
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | str | None = None,
        percentiles: tuple[float, float] | None = None,
        nan: str = "raise",
        allow_missing_keys: bool = False,
        *,
        intensity: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.window = window
        self.channels = channels
        self.percentiles = percentiles
        self.nan = nan
        self.intensity = Intensity.from_dict(intensity)
        self.intensity.given(window, channels, nan)  # refuses what cannot be used

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images as float32 [3, H, W] in [0, 1]."""
        result = dict(data)
        for key in self.key_iterator(cast(Any, result)):
            image = result[key]
            meta = image.meta if isinstance(image, MetaTensor) else {}
            known = meta.get("intensity_range") if self.percentiles is None else None
            chosen = self.intensity.given(self.window, self.channels, self.nan, dtype=getattr(image, "dtype", None))
            percentiles = self.percentiles or PERCENTILES
            try:
                result[key] = to_unit_rgb(image, chosen.window, chosen.channels, percentiles, chosen.nan, known)
            except ValueError as error:
                name = result.get("name", meta.get("filename_or_obj", key))
                raise ValueError(f"{key} of {name}: {error}") from error
        return result
