from __future__ import annotations

import math

import pytest
import torch

from adaptiveclick_med.candidates import combined_mask


def test_the_sum_by_hand() -> None:
    masks = torch.tensor([[[[1.0, -2.0]], [[3.0, 4.0]]]])
    clicks = torch.tensor([[[9.0, 0.0], [-9.0, math.log(3.0)]]])
    combined = combined_mask(masks, clicks)
    assert combined.shape == (1, 1, 1, 2)
    assert combined.flatten().tolist() == pytest.approx([0.5 * 1 + 0.75 * 3, 0.5 * -2 + 0.75 * 4])
