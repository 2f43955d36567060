"""Geodesic distances from the clicks, as further maps for a network: how far along the image, not across it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GEODESIC_CHANNELS", "GeodesicEmbedding", "geodesic_distances", "geodesic_maps"]

_MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_FAR = 100.0
_STEP = 0.001
_CENTRE = 7
_SCALES = (0.02, 0.05, 0.1, 0.2, 0.5)
_VERSUS_SCALE = 0.1
_COARSE = (4, 10)  # of the maps: nearness to positive clicks at the middle scale, and the share of the background

GEODESIC_CHANNELS = 2 * len(_SCALES) + 2


def geodesic_distances(image: Tensor, clicks: Tensor, stride: int) -> Tensor:
    """Return how far each position is from the clicks, along paths that change the image's values little.

    A step to one of eight neighbours costs the mean absolute difference of the smoothed image's channels plus 0.001,
    times the length of the step. Distances are found by relaxing all positions at once, as often as the longer side
    has positions; what is not reached by then is 100. There is no gradient.

    Args:
        image: [B, 3, H, W] in [0, 1].
        clicks: [B, 2, H, W], disks of the positive and the negative clicks; paths start near the centres of the disks.
        stride: pixels a position, a divisor of H and W.

    Returns:
        [B, 3, H / stride, W / stride] float32: distance to positive clicks, to negative clicks, and to negative clicks
        or the frame of the image, whichever is nearer.
    """
    with torch.no_grad():
        small = F.avg_pool2d(image.float(), stride)
        small = F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, 1)
        height, width = int(small.shape[-2]), int(small.shape[-1])
        centres = 1 - F.max_pool2d(1 - clicks.float(), _CENTRE, 1, _CENTRE // 2)
        positive, negative = (F.max_pool2d(centres, stride) > 0).split(1, dim=1)
        inside = F.pad(torch.ones((1, 1, max(0, height - 2), max(0, width - 2)), device=image.device), (1, 1, 1, 1))
        frame = (inside == 0) & ~positive
        starts = torch.cat([positive, negative, negative | frame], dim=1)
        distances = torch.where(starts, 0.0, _FAR)
        around = F.pad(small, (1, 1, 1, 1), mode="replicate")
        costs = [
            ((small - _shifted(around, move, height, width)).abs().mean(1, keepdim=True) + _STEP) * _length(move)
            for move in _MOVES
        ]
        relaxed = _relaxed_by_convolution if torch.compiler.is_exporting() else _relaxed
        return relaxed(distances, costs, max(height, width))


def geodesic_maps(distances: Tensor) -> Tensor:
    """Turn distances into maps between -1 and 1.

    Args:
        distances: [B, 3, h, w] of :func:`geodesic_distances`.

    Returns:
        [B, 12, h, w]: exp(-d / s) to positive and to negative clicks for s = 0.02, 0.05, 0.1, 0.2, 0.5; then the share
        d_background / (d_positive + d_background) with the frame as background; then
        tanh((d_negative - d_positive) / 0.1).
    """
    positive, negative, background = distances.split(1, dim=1)
    near = [torch.exp(-each / scale) for scale in _SCALES for each in (positive, negative)]
    share = background / (positive + background + 1e-6)
    versus = torch.tanh((negative - positive) / _VERSUS_SCALE)
    return torch.cat([*near, share, versus], dim=1)


class GeodesicEmbedding(nn.Module):
    """Embeds image, prompts and geodesic maps at the fine grid, to be added to the per-pixel features.

    Args:
        dim: width of the embedding.
        hidden: channels between.
    """

    def __init__(self, dim: int, hidden: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(GEODESIC_CHANNELS + 6, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, dim, 1),
        )

    @staticmethod
    def coarse(maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the two maps that go into the encoder beside the prompts, resized to its input: [B, 2, H, W]."""
        return F.interpolate(maps[:, _COARSE, :, :], size, mode="bilinear", align_corners=False)

    def forward(self, maps: Tensor, image: Tensor, prompts: Tensor, stride: int) -> Tensor:
        """Return the embedding [B, dim, h, w].

        Args:
            maps: [B, 12, h, w] of :func:`geodesic_maps`.
            image: [B, 3, H, W], normalised.
            prompts: [B, 3, H, W]: previous mask, positive and negative click map.
            stride: H / h.
        """
        return self.layers(torch.cat([maps, F.avg_pool2d(torch.cat([image, prompts], 1), stride)], dim=1))


def _relaxed(distances: Tensor, costs: list[Tensor], times: int) -> Tensor:
    """Let each position take the shortest way over one of its neighbours, ``times`` times."""
    height, width = int(distances.shape[-2]), int(distances.shape[-1])
    for _ in range(times):
        padded = F.pad(distances, (1, 1, 1, 1), value=_FAR)
        for move, cost in zip(_MOVES, costs, strict=True):
            distances = torch.minimum(distances, _shifted(padded, move, height, width) + cost)
    return distances


def _relaxed_by_convolution(distances: Tensor, costs: list[Tensor], times: int) -> Tensor:
    """Do the same in four operations a time instead of 33: exporters take minutes for a graph of thousands."""
    kernel = distances.new_zeros((len(_MOVES) + 1, 1, 3, 3))
    for place, (down, right) in enumerate((*_MOVES, (0, 0))):
        kernel[place, 0, 1 + down, 1 + right] = 1.0
    batch, signs = distances.shape[:2]
    steps = torch.cat([*costs, torch.zeros_like(costs[0])], dim=1).repeat_interleave(signs, dim=0)
    flat = distances.reshape(batch * signs, 1, *distances.shape[2:])
    for _ in range(times):
        around = F.conv2d(F.pad(flat, (1, 1, 1, 1), value=_FAR), kernel)
        flat = (around + steps).amin(1, keepdim=True)
    return flat.reshape(distances.shape)


def _length(move: tuple[int, int]) -> float:
    return float((move[0] ** 2 + move[1] ** 2) ** 0.5)


def _shifted(padded: Tensor, move: tuple[int, int], height: int, width: int) -> Tensor:
    """Return the neighbour in a direction, of maps with a border of one."""
    return padded[..., 1 + move[0] : 1 + move[0] + height, 1 + move[1] : 1 + move[1] + width]
