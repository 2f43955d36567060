"""PMMD: the pixel-level multi-scale mask transformer decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.networks.channels_last import group_norm, pointwise
from adaptiveclick_med.networks.deformable_attention import (
    MultiScaleDeformableAttention,
    eager_on_cpu,
    reference_points,
)
from adaptiveclick_med.networks.position import sine_positions

__all__ = ["PixelDecoder"]

_TOKENS_AT_ONCE = 1024


class _DeformableLayer(nn.Module):
    """Deformable self-attention and a feed-forward layer, both normalised after the addition."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        x = self.norm1(x + self.self_attn(x + position, reference, x, sizes))
        return self.norm2(x + self._feedforward(x))

    def _feedforward(self, x: Tensor) -> Tensor:
        if not eager_on_cpu(x):
            return self.linear2(F.relu(self.linear1(x), inplace=True))
        # The wide layer of a few tokens at a time stays in the cache, and no large memory comes and goes.
        parts = x.flatten(0, 1).split(_TOKENS_AT_ONCE)
        return torch.cat([self.linear2(F.relu(self.linear1(part), inplace=True)) for part in parts]).view(x.shape)


class PixelDecoder(nn.Module):
    """Refines the pyramid with deformable attention and gives a per-pixel embedding (the paper, Sec. III-B).

    Args:
        in_channels: channels (c0, c1, c2, c3) of the pyramid at strides 4, 8, 16, 32.
        dim: decoder width d, a multiple of 32.
        num_layers: deformable layers; the paper has 6, the released weights 4.
        num_heads: attention heads.
        feedforward_dim: width of the feed-forward layers.

    Raises:
        ValueError: when ``dim`` is no multiple of 32 or of ``num_heads``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        dim: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
    ) -> None:
        super().__init__()
        if dim % 32:
            raise ValueError(f"dim must be a multiple of 32, got {dim}.")
        c0, c1, c2, c3 = in_channels
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(32, dim)) for channels in (c3, c2, c1)
        )
        self.level_embed = nn.Parameter(torch.empty(3, dim))
        self.layers = nn.ModuleList(_DeformableLayer(dim, num_heads, feedforward_dim) for _ in range(num_layers))
        self.lateral = nn.Sequential(nn.Conv2d(c0, dim, 1), nn.GroupNorm(32, dim), nn.ReLU())
        self.output = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.GroupNorm(32, dim), nn.ReLU(inplace=True))
        self.pixel_embed = nn.Conv2d(dim, dim, 1)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.level_embed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pyramid: Sequence[Tensor], *, embed: bool = True) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Decode a pyramid.

        Args:
            pyramid: maps at strides 4, 8, 16, 32.
            embed: apply the last layer; ``False``: the second result is that of :meth:`features`.

        Returns:
            The refined maps F'0, F'1, F'2 at strides 32, 16, 8, [B, d, h, w] each, and the per-pixel embedding F3 at
            stride 4, [B, d, H / 4, W / 4].
        """
        levels, features = self.features(pyramid)
        return levels, self.embed(features) if embed else features

    def embed(self, features: Tensor) -> Tensor:
        """Turn the stride-4 features of :meth:`features` [B, d, h, w] into the per-pixel embedding, of their shape."""
        return pointwise(self.pixel_embed, features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def features(self, pyramid: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Decode a pyramid up to the last layer :meth:`embed`, which is linear in each pixel.

        Args:
            pyramid: maps at strides 4, 8, 16, 32.

        Returns:
            The refined maps as :meth:`forward`, and the stride-4 features that :meth:`embed` takes. The channels of all
            lie last in memory.
        """
        fine, maps = pyramid[0], (pyramid[3], pyramid[2], pyramid[1])
        sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in maps]
        tokens = torch.cat(
            [_project(layers, level).flatten(1, 2) for layers, level in zip(self.input_proj, maps, strict=True)], dim=1
        )
        channels = int(tokens.shape[-1])
        position = torch.cat(
            [
                sine_positions(size, int(channels), device=tokens.device).flatten(1).T + self.level_embed[level]
                for level, size in enumerate(sizes)
            ]
        ).to(tokens.dtype)
        reference = reference_points(sizes, device=tokens.device, dtype=torch.float32)
        for layer in self.layers:
            tokens = layer(tokens, position, reference, sizes)
        parts = tokens.split([height * width for height, width in sizes], dim=1)
        refined = [part.unflatten(1, size).permute(0, 3, 1, 2) for part, size in zip(parts, sizes, strict=True)]
        return (refined[0], refined[1], refined[2]), self._fine(fine, refined[2])

    def _fine(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Add the stride-8 map, upsampled, to the lateral map at stride 4, and smooth the sum; [B, d, H / 4, W / 4].

        No name outlives its use: these are the largest maps of the network.
        """
        x = F.relu(_project(self.lateral, fine), inplace=True).permute(0, 3, 1, 2)
        x = F.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False).add_(x)
        for layer in self.output:
            x = layer(x)
        return x


def _project(layers: nn.Module, level: Tensor) -> Tensor:
    """Apply a 1 x 1 convolution and the normalisation after it: [B, C, h, w] -> [B, h, w, d]."""
    conv, norm = layers[0], layers[1]  # type: ignore[index]
    return group_norm(norm, pointwise(conv, level.permute(0, 2, 3, 1)))
