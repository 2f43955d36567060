"""CAMD: the click-aware mask-adaptive transformer decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.networks.channels_last import pointwise
from adaptiveclick_med.networks.position import sine_positions

__all__ = ["ClickDecoder", "ClickDecoderOutput", "click_gate"]


class ClickDecoderOutput(NamedTuple):
    """Predictions before the first layer and after each one, and the attention gates between them.

    Attributes:
        predictions: (mask logits [B, Q, h, w], click logits [B, Q, 2]), the last layer's last. In evaluation the mask
            logits of earlier points are not needed and are ``None`` unless all were asked for.
        blocked: for each layer, [B, Q, positions] boolean, ``True`` where a query may not look, before queries with
            nothing left are opened.
    """

    predictions: list[tuple[Tensor | None, Tensor]]
    blocked: list[Tensor]


def click_gate(positive_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Say which positions of a level are near a positive click (Eqs. 4-6).

    The map is max-pooled (3 x 3, stride 2) floor(log2(width / level width)) times, then resized bilinearly.

    Args:
        positive_map: [B, 1, H, W], full-resolution positive click map.
        size: (height, width) of the level.

    Returns:
        [B, height * width] boolean.
    """
    pooled = positive_map
    for _ in range(int(math.log2(max(1, int(positive_map.shape[-1]) // size[1])))):
        pooled = F.max_pool2d(pooled, 3, 2, 1)
    if tuple(pooled.shape[-2:]) != tuple(size):
        pooled = F.interpolate(pooled, size, mode="bilinear", align_corners=False)
    return pooled.flatten(1) >= 0.5


class _DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention and feed-forward, each normalised after the addition."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, query: Tensor, query_position: Tensor, keys: Tensor, values: Tensor, blocked: Tensor) -> Tensor:
        query = self.cross_norm(query + self._look(query + query_position, keys, values, blocked))
        placed = query + query_position
        query = self.self_norm(query + self.self_attn(placed, placed, query, need_weights=False)[0])
        return self.feedforward_norm(query + self.linear2(F.relu(self.linear1(query), inplace=True)))

    def _look(self, query: Tensor, keys: Tensor, values: Tensor, blocked: Tensor) -> Tensor:
        """Attend to the memory through a gate.

        There are few queries and many positions. So the projections of keys and values are moved to the queries' side:
        q (W_k k) = (q W_k) k, and the weighted sum of W_v v is W_v times that of v. The bias of the keys adds the same
        to all positions, which the softmax takes out again.
        """
        attention = self.cross_attn
        heads, (queries, dim) = attention.num_heads, query.shape[1:]
        if heads * queries >= dim:
            mask = blocked[:, None].expand(-1, heads, -1, -1).flatten(0, 1)
            return attention(query, keys, values, attn_mask=mask, need_weights=False)[0]
        to_query, to_key, to_value = attention.in_proj_weight.chunk(3)
        query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
        asked = F.linear(query, to_query, query_bias).unflatten(-1, (heads, -1)) / math.sqrt(dim // heads)
        asked = torch.einsum("bqhc,hcd->bhqd", asked, to_key.unflatten(0, (heads, -1))).flatten(1, 2)
        scores = torch.bmm(asked, keys.transpose(1, 2).to(asked.dtype)).unflatten(1, (heads, queries))
        shares = scores.masked_fill(blocked[:, None], float("-inf")).softmax(-1).flatten(1, 2)
        seen = torch.bmm(shares.to(values.dtype), values).unflatten(1, (heads, queries))
        seen = torch.einsum("bhqd,hcd->bqhc", seen, to_value.unflatten(0, (heads, -1))).flatten(2)
        return attention.out_proj(seen + value_bias)


class ClickDecoder(nn.Module):
    """Ten learned queries look at the image through gates of their own masks and of the positive clicks.

    Three rounds over the levels of strides 32, 16 and 8 (the paper, Sec. III-C). A query may attend to a position when
    its own mask says so, or when it is predicted "click" and the position is near a positive click. A query with
    nothing allowed attends everywhere. Gates carry no gradient.

    Args:
        dim: decoder width d.
        num_queries: candidates Q.
        num_layers: layers, three for each round.
        num_heads: attention heads.
        feedforward_dim: width of the feed-forward layers.

    Raises:
        ValueError: when ``dim`` is no multiple of ``num_heads``.
    """

    def __init__(
        self,
        *,
        dim: int = 256,
        num_queries: int = 10,
        num_layers: int = 9,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim must be a multiple of num_heads, got {dim} and {num_heads}.")
        self.query_features = nn.Parameter(torch.empty(num_queries, dim))
        self.query_positions = nn.Parameter(torch.empty(num_queries, dim))
        self.level_embed = nn.Parameter(torch.empty(3, dim))
        self.layers = nn.ModuleList(_DecoderLayer(dim, num_heads, feedforward_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.click_head = nn.Linear(dim, 2)
        self.mask_head = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        for embedding in (self.query_features, self.query_positions, self.level_embed):
            nn.init.normal_(embedding)

    def forward(
        self,
        levels: Sequence[Tensor],
        pixel_embedding: Tensor,
        positive_map: Tensor,
        *,
        all_masks: bool,
        projection: nn.Conv2d | None = None,
    ) -> ClickDecoderOutput:
        """Decode candidates.

        The gates need each query's mask at the size of a level only. Resizing and the product with the mask embedding
        are both linear, so the pixel embedding is resized once a level instead of ten masks in every layer.

        Args:
            levels: F'0, F'1, F'2 at strides 32, 16, 8, [B, d, h, w] each.
            pixel_embedding: F3 at stride 4, [B, d, H / 4, W / 4].
            positive_map: [B, 1, H, W] positive click map.
            all_masks: whether the stride-4 masks of all prediction points are wanted, not only the last.
            projection: a 1 x 1 convolution that ``pixel_embedding`` still has to go through. Since it is linear, it is
                applied to the resized maps and to the ten mask embeddings in place of every pixel.
        """
        batch, dim = pixel_embedding.shape[:2]
        full = (int(pixel_embedding.shape[-2]), int(pixel_embedding.shape[-1]))
        pixels = pixel_embedding.permute(0, 2, 3, 1).flatten(1, 2)
        keys, values, small, near = [], [], [], []
        with torch.no_grad():
            for level in levels:
                size = (int(level.shape[-2]), int(level.shape[-1]))
                resized = F.interpolate(pixel_embedding.detach(), size, mode="bilinear", align_corners=False)
                resized = resized.permute(0, 2, 3, 1).flatten(1, 2)
                small.append(resized if projection is None else pointwise(projection, resized))
                near.append(click_gate(positive_map, size))
        for index, level in enumerate(levels):
            size = (int(level.shape[-2]), int(level.shape[-1]))
            memory = level.flatten(2).transpose(1, 2) + self.level_embed[index]
            position = sine_positions(size, int(dim), device=level.device).flatten(1).T
            values.append(memory)
            keys.append(memory + position.to(memory.dtype))

        query = self.query_features.expand(batch, -1, -1)
        query_position = self.query_positions.expand(batch, -1, -1)
        predictions: list[tuple[Tensor | None, Tensor]] = []
        gates: list[Tensor] = []
        for index in range(len(self.layers) + 1):
            normed = self.norm(query)
            click_logits, mask_embedding = self.click_head(normed), self.mask_head(normed)
            last = index == len(self.layers)
            mask_logits = None
            if all_masks or last:
                mask_logits = _masks(mask_embedding, pixels, projection).unflatten(-1, full)
            predictions.append((mask_logits, click_logits))
            if last:
                break
            turn = index % 3
            blocked = self._blocked(mask_embedding, click_logits, small[turn], near[turn])
            gates.append(blocked)
            opened = blocked & ~blocked.all(-1, keepdim=True)
            query = self.layers[index](query, query_position, keys[turn], values[turn], opened)
        return ClickDecoderOutput(predictions, gates)

    @staticmethod
    @torch.no_grad()
    def _blocked(mask_embedding: Tensor, click_logits: Tensor, embedding: Tensor, near: Tensor) -> Tensor:
        """Return [B, Q, positions], ``True`` where neither the query's mask nor a positive click allows a look."""
        own = torch.bmm(mask_embedding.float(), embedding.float().transpose(1, 2))
        clicked = click_logits[..., 1] > click_logits[..., 0]
        return (own < 0) & ~(clicked[..., None] & near[:, None])


def _masks(mask_embedding: Tensor, pixels: Tensor, projection: nn.Conv2d | None) -> Tensor:
    """[B, Q, d] and [B, positions, d] -> mask logits [B, Q, positions], see :meth:`ClickDecoder.forward`."""
    if projection is None or projection.bias is None:
        return torch.bmm(mask_embedding, pixels.transpose(1, 2))
    constant = (mask_embedding @ projection.bias)[..., None]
    return torch.bmm(mask_embedding @ projection.weight.flatten(1), pixels.transpose(1, 2)) + constant
