"""MONAI transforms: reading slices, intensities, augmentation and simulated clicks."""

from __future__ import annotations

from adaptiveclick_med.transforms.augmentation import RandWindowd, augmentation
from adaptiveclick_med.transforms.clicks import RandSelectTargetd, RandSimulateClicksd, SelectTargetd
from adaptiveclick_med.transforms.intensity import Intensity, to_unit_rgb
from adaptiveclick_med.transforms.loading import LoadSampled
from adaptiveclick_med.transforms.saving import SaveMaskd
from adaptiveclick_med.transforms.scaling import ScaleToUnitRGBd

__all__ = [
    "Intensity",
    "LoadSampled",
    "RandSelectTargetd",
    "RandSimulateClicksd",
    "RandWindowd",
    "SaveMaskd",
    "ScaleToUnitRGBd",
    "SelectTargetd",
    "augmentation",
    "to_unit_rgb",
]
