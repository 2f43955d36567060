"""Multi-scale deformable attention in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MultiScaleDeformableAttention", "reference_points"]


def reference_points(sizes: Sequence[tuple[int, int]], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the centres of the positions of all levels in normalised coordinates.

    Args:
        sizes: (height, width) of every level.
        device: device of the result.
        dtype: floating type of the result.

    Returns:
        [S, 2] with (x, y) = ((column + 0.5) / width, (row + 0.5) / height), level after level in raster order.
    """
    levels = []
    for height, width in sizes:
        rows = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
        columns = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
        grid = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
        levels.append(grid.flatten(0, 1))
    return torch.cat(levels)


class MultiScaleDeformableAttention(nn.Module):
    """Every query looks at a few learned places of every level (Deformable DETR, Eq. 3).

    Args:
        embed_dim: width d of queries and values.
        num_heads: attention heads.
        num_levels: feature levels.
        num_points: sampling points for each head and level.
    """

    def __init__(self, embed_dim: int = 256, num_heads: int = 8, num_levels: int = 3, num_points: int = 4) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}.")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(embed_dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self._initialise()

    def _initialise(self) -> None:
        """Start with points on rays, one direction a head, and equal weights."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2.0 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = directions[:, None, None] * steps[None, None, :, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Attend.

        Args:
            query: [B, S, d], yields offsets and weights.
            reference: [S, 2] normalised (x, y) of every query.
            values: [B, sum of h * w, d], the levels one after the other in raster order.
            sizes: (height, width) of every level.

        Returns:
            [B, S, d].
        """
        batch, length, width = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.sampling_offsets(query).reshape(batch, length, heads, levels, points, 2)
        weights = self.attention_weights(query).reshape(batch, length, heads, levels * points).softmax(-1)
        weights = weights.permute(0, 2, 1, 3).reshape(batch * heads, 1, length, levels, points)
        values = self.value_proj(values).reshape(batch, -1, heads, width // heads).permute(0, 2, 3, 1)
        values = values.reshape(batch * heads, width // heads, -1)
        result, start = query.new_zeros(()), 0
        for level, (height, columns) in enumerate(sizes):
            scale = offsets.new_tensor([columns, height])
            places = reference[:, None, None] + offsets[:, :, :, level] / scale
            grid = (2.0 * places - 1.0).transpose(1, 2).flatten(0, 1)
            plane = values[..., start : start + height * columns].unflatten(-1, (height, columns))
            sampled = F.grid_sample(
                plane.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False
            )
            result = result + (sampled * weights[:, :, :, level].to(sampled.dtype)).sum(-1)
            start += height * columns
        result = result.reshape(batch, width, length).transpose(1, 2)
        return self.output_proj(result.to(query.dtype))
