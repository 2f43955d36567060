"""Four maps of different strides from the single map of a plain ViT."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

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
        return self.stride4(features), self.stride8(features), self.stride16(features), self.stride32(even)
