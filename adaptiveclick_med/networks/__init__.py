"""Click segmentation networks: tensors in, tensors out."""

from __future__ import annotations

from typing import Any

from adaptiveclick_med.networks.adaptive_click import AdaptiveClick
from adaptiveclick_med.networks.click_model import ClickModel
from adaptiveclick_med.networks.click_network import ClickNetwork
from adaptiveclick_med.networks.output import AdaptiveClickOutput
from adaptiveclick_med.networks.presets import PRESETS, preset_arguments
from adaptiveclick_med.networks.simple_click import SimpleClick

__all__ = [
    "NETWORKS",
    "PRESETS",
    "AdaptiveClick",
    "AdaptiveClickOutput",
    "ClickModel",
    "ClickNetwork",
    "SimpleClick",
    "build_network",
    "preset_arguments",
]

NETWORKS: dict[str, type[ClickNetwork]] = {"AdaptiveClick": AdaptiveClick, "SimpleClick": SimpleClick}


def build_network(name: str = "AdaptiveClick", preset: str = "base", **arguments: Any) -> ClickNetwork:
    """Build a network by the names of its class and size, for configs and the command line.

    Args:
        name: ``"AdaptiveClick"`` or ``"SimpleClick"``.
        preset: one of :data:`PRESETS`.
        arguments: constructor arguments that replace the preset's; ``None`` keeps the preset's.

    Raises:
        ValueError: when the class or the preset is unknown.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}.")
    return NETWORKS[name].from_preset(preset, **arguments)
