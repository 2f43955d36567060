from __future__ import annotations

import math

import pytest
import torch

from adaptiveclick_med.networks.position import sine_positions


def test_by_hand():
    height, width, channels, temperature = 3, 5, 8, 10000.0
    result = sine_positions((height, width), channels, device=torch.device("cpu"))
    half = channels // 2
    for row in range(height):
        for column in range(width):
            for axis, (place, length) in enumerate([(row, height), (column, width)]):
                angle = 2 * math.pi * (place + 1) / (length + 1e-6)
                for i in range(half):
                    wave = temperature ** (2 * (i // 2) / half)
                    expected = math.cos(angle / wave) if i % 2 else math.sin(angle / wave)
                    assert result[axis * half + i, row, column].item() == pytest.approx(expected, abs=1e-6)


def test_row_half_first_and_each_half_depends_on_its_axis_only():
    result = sine_positions((4, 6), 32, device=torch.device("cpu"))
    assert result.shape == (32, 4, 6)
    assert result.dtype == torch.float32
    assert (result[:16] == result[:16, :, :1]).all()
    assert (result[16:] == result[16:, :1]).all()
    assert torch.equal(
        sine_positions((6, 4), 32, device=torch.device("cpu")).transpose(1, 2), torch.cat([result[16:], result[:16]])
    )


def test_temperature():
    warm, cold = (sine_positions((2, 2), 8, device=torch.device("cpu"), temperature=t) for t in (100.0, 10000.0))
    assert torch.equal(warm[:2], cold[:2])
    assert not torch.allclose(warm[2:4], cold[2:4])


@pytest.mark.parametrize("channels", [2, 6, 33])
def test_channels(channels):
    with pytest.raises(ValueError, match=f"channels must be a multiple of 4, got {channels}"):
        sine_positions((2, 2), channels, device=torch.device("cpu"))
