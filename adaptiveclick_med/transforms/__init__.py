"""MONAI transforms: reading slices, intensities, augmentation and simulated clicks."""

from __future__ import annotations

from adaptiveclick_med.transforms.clicks import RandSelectTargetd, RandSimulateClicksd, SelectTargetd
from adaptiveclick_med.transforms.intensity import ScaleToUnitRGBd, to_unit_rgb
from adaptiveclick_med.transforms.loading import LoadSampled

__all__ = [
    "LoadSampled",
    "RandSelectTargetd",
    "RandSimulateClicksd",
    "ScaleToUnitRGBd",
    "SelectTargetd",
    "to_unit_rgb",
]
