"""Four maps of different strides from the single map of a plain ViT."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.networks.channels_last import group_norm, pointwise

__all__ = ["FeaturePyramid"]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, channels)


class FeaturePyramid(nn.Module):
    """A simple feature pyramid (ViTDet) with group normalisation.

    Args:
        in_channels: channels C of the encoder's map.
        out_channels: channels (c0, c1, c2, c3) of the four maps.

    Raises:
        ValueError: when ``out_channels`` are not four.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int]) -> None:
        super().__init__()
        if len(out_channels) != 4:
            raise ValueError(f"out_channels must be four numbers, got {list(out_channels)}.")
        c, (c0, c1, c2, c3) = in_channels, out_channels
        wide0, wide1, wide3 = max(2 * c0, c // 2), max(c1, c // 2), max(c3, 2 * c)
        self.stride4 = nn.Sequential(
            nn.ConvTranspose2d(c, wide0, 2, 2),
            _norm(wide0),
            nn.GELU(),
            nn.ConvTranspose2d(wide0, wide0 // 2, 2, 2),
            _norm(wide0 // 2),
            nn.Conv2d(wide0 // 2, c0, 1),
            _norm(c0),
            nn.GELU(),
        )
        self.stride8 = nn.Sequential(
            nn.ConvTranspose2d(c, wide1, 2, 2), _norm(wide1), nn.Conv2d(wide1, c1, 1), _norm(c1), nn.GELU()
        )
        self.stride16 = nn.Sequential(nn.Conv2d(c, c2, 1), _norm(c2), nn.GELU())
        self.stride32 = nn.Sequential(
            nn.Conv2d(c, wide3, 2, 2), _norm(wide3), nn.Conv2d(wide3, c3, 1), _norm(c3), nn.GELU()
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps at 4, 2, 1 and 1/2 times the token grid.

        An odd grid is extended by its last row or column before it is halved.

        Args:
            features: [B, C, h, w].

        Returns:
            [B, c0, 4h, 4w], [B, c1, 2h, 2w], [B, c2, h, w], [B, c3, ceil(h / 2), ceil(w / 2)].
        """
        height, width = int(features.shape[-2]), int(features.shape[-1])
        even = features
        if height % 2 or width % 2:
            even = F.pad(features, (0, width % 2, 0, height % 2), mode="replicate")
        x = features.permute(0, 2, 3, 1).contiguous()
        maps = (
            _raster(_run(self.stride4, x[:, :, :, None])),
            _raster(_run(self.stride8, x[:, :, :, None])),
            _run(self.stride16, x),
            _run(self.stride32, _pairs(even.permute(0, 2, 3, 1))),
        )
        return tuple(level.permute(0, 3, 1, 2) for level in maps)  # type: ignore[return-value]


def _run(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Apply the layers of one map to tokens with the channels last.

    All layers but the transposed convolutions work on each position alone, and those make four positions of one. So
    everything is a product of tokens and a matrix, and the positions are put in order at the end, by :func:`_raster`.

    Args:
        layers: convolutions without overlap, normalisation with one group, activations.
        x: [B, h, w, C], or [B, h, w, 1, C] where positions are to be split.

    Returns:
        [B, h, w, C'], or [B, h, w, 4 ** n, C'] after n transposed convolutions.
    """
    for layer in layers:
        if isinstance(layer, nn.ConvTranspose2d):
            weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
            bias = None if layer.bias is None else layer.bias.repeat(4)
            x = F.linear(x, weight, bias).unflatten(-1, (4, -1)).flatten(3, 4)
        elif isinstance(layer, nn.Conv2d):
            x = pointwise(layer, x)
        elif isinstance(layer, nn.GroupNorm):
            x = group_norm(layer, x)
        else:
            x = layer(x)
    return x


def _raster(x: Tensor) -> Tensor:
    """[B, h, w, 4 ** n, C], where each split made 2 x 2 positions of one -> [B, h 2 ** n, w 2 ** n, C]."""
    batch, height, width, parts, channels = x.shape
    if parts == 4:
        x = x.reshape(batch, height, width, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, 2 * height, 2 * width, channels)
    x = x.reshape(batch, height, width, 2, 2, 2, 2, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, 4 * height, 4 * width, channels)


def _pairs(x: Tensor) -> Tensor:
    """[B, 2h, 2w, C] -> [B, h, w, 4C], channels first, as a convolution with kernel and stride 2 sees them."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)
