"""A small network that all session tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from adaptiveclick_med.networks import AdaptiveClick


@pytest.fixture(scope="package")
def network():
    torch.manual_seed(0)
    network = AdaptiveClick.from_preset("nano", image_size=64, click_decoder_layers=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network.eval()


class BrightRegions:
    """A stand-in for a network: the connected bright regions under the positive clicks, its calls counted.

    What lies nearer to a negative click on a bright place than to any positive click is left out. Without a positive
    click, the previous mask is what the negative clicks cut from. The logit is ``sharpness`` * (brightness - 0.5)
    inside, -12 outside.
    """

    def __init__(self, sharpness: float = 24.0, heeds_negative: bool = True) -> None:
        self.sharpness = sharpness
        self.heeds_negative = heeds_negative
        self.calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def __call__(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        self.calls.append((image, previous, points))
        return torch.stack([self._one(*each) for each in zip(image, previous, points, strict=True)])

    def _one(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        brightness = image.mean(0).numpy()
        height, width = brightness.shape
        regions, _ = ndimage.label(brightness > 0.5, np.ones((3, 3)))
        positive, negative = (
            [(row, column) for row, column, order in part.tolist() if order >= 0]
            for part in points.split(points.shape[0] // 2)
        )
        found = np.zeros((height, width), dtype=bool)

        def region(row: float, column: float) -> int:
            return int(regions[min(max(round(row), 0), height - 1), min(max(round(column), 0), width - 1)])

        negative = [place for place in negative if region(*place) > 0 and self.heeds_negative]
        for place in positive:
            found |= (regions == region(*place)) & (region(*place) > 0)
        if not positive:
            found = previous[0].numpy() > 0.5
        rows, columns = np.ogrid[:height, :width]
        near, off = (
            [(rows - row) ** 2 + (columns - column) ** 2 for row, column in part] for part in (positive, negative)
        )
        if off:
            found &= ~(np.min(off, axis=0) < (np.min(near, axis=0) if near else 64.0))
        logits = np.where(found, self.sharpness * (brightness - 0.5), -12.0)
        return torch.from_numpy(logits.astype(np.float32))[None]


@pytest.fixture
def bright() -> BrightRegions:
    """A stand-in whose right answer is known."""
    return BrightRegions()
