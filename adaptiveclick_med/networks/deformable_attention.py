"""Multi-scale deformable attention in plain PyTorch: with `grid_sample`, and a faster way for a CPU."""

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
        projected = self.value_proj(values)
        if _can_gather(query):
            found = self._gathered(query, reference, projected, sizes)
        else:
            found = self._sampled(query, reference, projected, sizes)
        return self.output_proj(found.to(query.dtype))

    def _sampled(self, query: Tensor, reference: Tensor, values: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Attend with ``grid_sample``: everywhere, with gradients, and in exported graphs."""
        batch, length, width = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.sampling_offsets(query).reshape(batch, length, heads, levels, points, 2)
        weights = self.attention_weights(query).reshape(batch, length, heads, levels * points).softmax(-1)
        weights = weights.permute(0, 2, 1, 3).reshape(batch * heads, 1, length, levels, points)
        values = values.reshape(batch, -1, heads, width // heads).permute(0, 2, 3, 1)
        values = values.reshape(batch * heads, width // heads, -1)
        result, start = query.new_zeros(()), 0
        for level, (height, columns) in enumerate(sizes):
            scale = torch.stack([offsets.new_full((), columns), offsets.new_full((), height)])
            places = reference[:, None, None] + offsets[:, :, :, level] / scale
            grid = (2.0 * places - 1.0).transpose(1, 2).flatten(0, 1)
            plane = values[..., start : start + height * columns].unflatten(-1, (height, columns))
            sampled = F.grid_sample(
                plane.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False
            )
            result = result + (sampled * weights[:, :, :, level].to(sampled.dtype)).sum(-1)
            start += height * columns
        return result.reshape(batch, width, length).transpose(1, 2)

    def _gathered(self, query: Tensor, reference: Tensor, values: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Attend with one ``embedding_bag``: a weighted sum of rows, the four neighbours of each sampling point.

        Values stay [B, positions, heads, d / heads], so a row is one head of one position. Each level has a border of
        zeros, one position before and two behind, and points further out are moved to it. The order of columns below
        is [head, level, point].
        """
        batch, length, width = query.shape
        heads, places = self.num_heads, self.num_levels * self.num_points
        columns, device = heads * places, query.device
        size = torch.tensor([(w, h) for h, w in sizes], dtype=torch.float32, device=device)
        size = size.repeat_interleave(self.num_points, 0).repeat(heads, 1).T.contiguous()
        offsets = F.linear(query, *_reordered(self.sampling_offsets, (heads * places, 2))).float()
        place = offsets.reshape(batch * length, 2, columns)
        base = (reference[:, :, None] * size - 0.5).expand(batch, -1, -1, -1).reshape(batch * length, 2, columns)
        place = torch.minimum((place + base).clamp_(min=-1.0), size)
        corner = place.floor()
        fraction = place.sub_(corner)

        logits = F.linear(query, *_reordered(self.attention_weights, (heads, places))).float()
        weights = logits.reshape(-1, places, heads).softmax(1).transpose(1, 2).contiguous().reshape(-1, columns)
        right, lower = fraction[:, 0], fraction[:, 1]
        below = weights * lower
        above = weights - below
        share = query.new_empty((batch * length * heads, 4, places), dtype=torch.float32)
        for index, row in ((0, above), (2, below)):
            outer = row * right
            share[:, index] = (row - outer).reshape(-1, places)
            share[:, index + 1] = outer.reshape(-1, places)

        rows, starts, total = [], [], 0
        for height, level_width in sizes:
            rows.append(level_width + 3)
            starts.append(total)
            total += (height + 3) * (level_width + 3)
        table = values.new_zeros((batch, total, width), dtype=torch.float32)
        for part, start, (height, level_width) in zip(
            values.split([h * w for h, w in sizes], dim=1), starts, sizes, strict=True
        ):
            framed = table[:, start : start + (height + 3) * (level_width + 3)].unflatten(1, (height + 3, -1))
            framed[:, 1 : height + 1, 1 : level_width + 1] = part.unflatten(1, (height, level_width))

        def each(numbers: Sequence[int], dtype: torch.dtype) -> Tensor:
            return torch.tensor(numbers, dtype=dtype, device=device).repeat_interleave(self.num_points)

        line = each(rows, torch.float32).repeat(heads)
        origin = each([start + row + 1 for start, row in zip(starts, rows, strict=True)], torch.float32).repeat(heads)
        first = torch.addcmul(corner[:, 0] + origin, corner[:, 1], line).to(torch.int32)
        head = torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(places)
        first = torch.add(head, first, alpha=heads).reshape(batch, -1)
        first += (torch.arange(batch, dtype=torch.int32, device=device) * (total * heads))[:, None]
        step = each(rows, torch.int32) * heads
        neighbours = torch.stack([torch.zeros_like(step), torch.full_like(step, heads), step, step + heads])
        index_rows = first.reshape(-1, 1, places) + neighbours
        return F.embedding_bag(
            index_rows.flatten(1), table.reshape(-1, width // heads), mode="sum", per_sample_weights=share.flatten(1)
        ).reshape(batch, length, width)


def _can_gather(query: Tensor) -> bool:
    """Tell whether ``embedding_bag`` serves: on a CPU in up to float32, without gradients, outside compiled graphs."""
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return query.device.type == "cpu" and query.dtype != torch.float64 and not torch.is_grad_enabled()


def _reordered(layer: nn.Linear, order: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return weight and bias with the outputs [first, second] of a layer as [second, first]."""
    weight = layer.weight.unflatten(0, order).transpose(0, 1).flatten(0, 1)
    return weight, layer.bias.unflatten(0, order).T.flatten()
