"""A small network that all session tests share."""

from __future__ import annotations

import pytest
import torch

from adaptiveclick_med.networks import AdaptiveClick


@pytest.fixture(scope="package")
def network():
    torch.manual_seed(0)
    network = AdaptiveClick.from_preset("nano", image_size=64, click_decoder_layers=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network.eval()
