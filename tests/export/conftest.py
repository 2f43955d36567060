"""Three small networks, and each of them exported once in each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adaptiveclick_med.export import FORMATS, ExportedModel, export_network, load_exported
from adaptiveclick_med.networks import AdaptiveClick, ClickNetwork, SimpleClick


@pytest.fixture(scope="package")
def networks() -> dict[str, ClickNetwork]:
    torch.manual_seed(0)
    made: dict[str, ClickNetwork] = {
        "AdaptiveClick": AdaptiveClick.from_preset(
            "nano", image_size=64, depth=2, click_decoder_layers=3, pixel_decoder_layers=1
        ),
        "geodesic": AdaptiveClick.from_preset(
            "nano", image_size=64, depth=2, click_decoder_layers=2, pixel_decoder_layers=1, geodesic=True
        ),
        "SimpleClick": SimpleClick.from_preset("nano", image_size=64, depth=8, window_size=4),
    }
    for network in made.values():
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
        network.intensity = {"window": "soft_tissue"}
    return {name: network.eval() for name, network in made.items()}


@pytest.fixture(scope="package")
def exported(networks: dict[str, ClickNetwork], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("exported")

    def path(name: str, kind: str) -> Path:
        target = folder / f"{name}{FORMATS[kind]}"
        if not target.is_file():
            export_network(networks[name], target)
        return target

    return path


@pytest.fixture(params=list(FORMATS))
def model(request: pytest.FixtureRequest, exported: Callable[..., Path]) -> ExportedModel:
    """AdaptiveClick in each format."""
    return load_exported(exported("AdaptiveClick", request.param), device="cpu")


@pytest.fixture
def network(networks: dict[str, ClickNetwork]) -> ClickNetwork:
    """What ``model`` was exported from."""
    return networks["AdaptiveClick"]
