"""Sine position embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sine_positions"]


def sine_positions(
    size: tuple[int, int], channels: int, *, device: torch.device, temperature: float = 10000.0
) -> Tensor:
    """Return normalised two-dimensional sine positions, the row half of the channels first.

    Positions run from 1 to h over (h + 1e-6), times 2 pi, columns likewise. Even channels are sines, odd ones cosines.

    Args:
        size: (height, width) of the map.
        channels: channels d, a multiple of 4.
        device: device of the result.
        temperature: base of the wave lengths.

    Returns:
        [d, height, width], float32.

    Raises:
        ValueError: when ``channels`` is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}.")
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    wave = temperature ** (2.0 * torch.div(index, 2, rounding_mode="floor") / half)

    def along(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device) / (length + 1e-6) * (2.0 * math.pi)
        angle = position[:, None] / wave
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1)

    rows, columns = along(size[0]), along(size[1])
    return torch.cat(
        [rows.T[:, :, None].expand(half, *size), columns.T[:, None, :].expand(half, *size)],
        dim=0,
    )
