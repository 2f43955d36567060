"""Multi-scale deformable attention in plain PyTorch: with `grid_sample`, and a faster way for a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MultiScaleDeformableAttention", "eager_on_cpu", "reference_points"]


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
        if eager_on_cpu(query):
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
        heads, places = self.num_heads, self.num_levels * self.num_points
        offset_weight, offset_bias = _reordered(self.sampling_offsets, (heads * places, 2))
        share_weight, share_bias = _reordered(self.attention_weights, (heads, places))
        # Pixel centres lie at halves of the normalised coordinates' unit.
        weight, bias = torch.cat([offset_weight, share_weight]), torch.cat([offset_bias - 0.5, share_bias])
        both = F.linear(query, weight.to(query.dtype), bias.to(query.dtype)).float()
        offsets, logits = both.split([2 * heads * places, heads * places], dim=-1)
        corner, fraction = self._corners(offsets, reference, sizes)
        share = self._shares(logits, fraction)
        rows = self._rows(corner, sizes)
        del both, offsets, logits, corner, fraction
        table = _framed(values, sizes).unflatten(-1, (heads, -1)).flatten(0, 2)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=share).reshape(query.shape)

    def _corners(self, offsets: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return the upper left neighbour of each sampling point as (x, y), [B, S, 2, columns], and the way from it."""
        size = torch.tensor([(w, h) for h, w in sizes], dtype=torch.float32, device=offsets.device)
        size = size.repeat_interleave(self.num_points, 0).repeat(self.num_heads, 1).T.contiguous()
        place = torch.addcmul(offsets.unflatten(-1, (2, -1)), reference[:, :, None], size)
        torch.minimum(place.clamp_(min=-1.0), size, out=place)
        corner = place.floor()
        fraction = place.sub_(corner)
        return corner.nan_to_num_(nan=-1.0), fraction  # NaN goes on in the fraction and makes no index

    def _shares(self, logits: Tensor, fraction: Tensor) -> Tensor:
        """Return the weights of the neighbours of a head's sampling points, [B S heads, 4 levels points]."""
        heads, places = self.num_heads, self.num_levels * self.num_points
        weights = logits.unflatten(-1, (places, heads)).softmax(-2).transpose(-1, -2).flatten(-2)
        right, lower = fraction.unbind(-2)
        below = weights * lower
        above = weights.sub_(below)
        share = logits.new_empty((*weights.shape[:2], heads, 4, places))
        for index, row in ((0, above), (2, below)):
            outer = row * right
            share[..., index, :] = row.sub_(outer).unflatten(-1, (heads, places))
            share[..., index + 1, :] = outer.unflatten(-1, (heads, places))
        return share.flatten(0, 2).flatten(1)

    def _rows(self, corner: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return which rows of the table are those neighbours, integers of the shape of the shares."""
        heads, places, device = self.num_heads, self.num_levels * self.num_points, corner.device
        lines, starts, total = _frames(sizes)

        def each(numbers: Sequence[int], dtype: torch.dtype) -> Tensor:
            return torch.tensor(numbers, dtype=dtype, device=device).repeat_interleave(self.num_points)

        # float32 holds whole numbers exactly up to 2 ** 24; at 448 pixels there are 36,000.
        dtype = torch.float32 if total * heads < 2**24 else torch.float64
        origin = each([start + line + 1 for start, line in zip(starts, lines, strict=True)], dtype) * heads
        origin = origin + torch.arange(heads, dtype=dtype, device=device)[:, None]
        first = torch.add(origin.flatten(), corner[..., 0, :], alpha=heads)
        first = first.addcmul_(corner[..., 1, :], each(lines, dtype).repeat(heads) * heads).to(torch.int32)
        if len(first) > 1:
            first += (torch.arange(len(first), dtype=torch.int32, device=device) * (total * heads))[:, None, None]
        step = each(lines, torch.int32) * heads
        neighbours = torch.stack([torch.zeros_like(step), torch.full_like(step, heads), step, step + heads])
        return (first.reshape(-1, 1, places) + neighbours).flatten(1)


def _frames(sizes: Sequence[tuple[int, int]]) -> tuple[list[int], list[int], int]:
    """Return the length of a line of each level with its border, where the level starts, and how long all are."""
    lines, starts, total = [], [], 0
    for height, width in sizes:
        lines.append(width + 3)
        starts.append(total)
        total += (height + 3) * (width + 3)
    return lines, starts, total


def _framed(values: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """[B, positions, d] -> [B, positions with borders of zeros, d] in float32."""
    _, starts, total = _frames(sizes)
    table = values.new_zeros((values.shape[0], total, values.shape[2]), dtype=torch.float32)
    parts = values.split([height * width for height, width in sizes], dim=1)
    for part, start, (height, width) in zip(parts, starts, sizes, strict=True):
        framed = table[:, start : start + (height + 3) * (width + 3)].unflatten(1, (height + 3, -1))
        framed[:, 1 : height + 1, 1 : width + 1] = part.unflatten(1, (height, width))
    return table


def eager_on_cpu(x: Tensor) -> bool:
    """Tell whether ways that are only faster on a CPU serve: up to float32, without gradients, in no traced graph."""
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and x.dtype != torch.float64 and not torch.is_grad_enabled()


def _reordered(layer: nn.Linear, order: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return weight and bias with the outputs [first, second] of a layer as [second, first]."""
    weight = layer.weight.unflatten(0, order).transpose(0, 1).flatten(0, 1)
    return weight, layer.bias.unflatten(0, order).T.flatten()
