"""Click segmentation networks: tensors in, tensors out."""

from __future__ import annotations

from adaptiveclick_med.networks.adaptive_click import AdaptiveClick
from adaptiveclick_med.networks.click_network import ClickNetwork
from adaptiveclick_med.networks.output import AdaptiveClickOutput
from adaptiveclick_med.networks.presets import PRESETS, preset_arguments
from adaptiveclick_med.networks.simple_click import SimpleClick

__all__ = ["PRESETS", "AdaptiveClick", "AdaptiveClickOutput", "ClickNetwork", "SimpleClick", "preset_arguments"]
