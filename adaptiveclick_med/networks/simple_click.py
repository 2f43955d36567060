"""SimpleClick: the same encoder with a plain head, the baseline of Tables I and X."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.networks.click_network import IMAGENET_MEAN, IMAGENET_STD, ClickNetwork, as_size, upsample_to
from adaptiveclick_med.networks.feature_pyramid import FeaturePyramid
from adaptiveclick_med.networks.output import AdaptiveClickOutput

__all__ = ["SimpleClick"]


class _PlainHead(nn.Module):
    """Projects four maps to one width, joins them at stride 4 and classifies every pixel."""

    def __init__(self, in_channels: Sequence[int], dim: int, dropout: float) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(channels, dim, 1) for channels in in_channels)
        self.fusion = nn.Conv2d(len(in_channels) * dim, dim, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(dim, 1, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        size = pyramid[0].shape[-2:]
        maps = [
            F.interpolate(F.relu(project(level)), size, mode="bilinear", align_corners=False)
            for project, level in zip(self.projections, pyramid, strict=True)
        ]
        return self.classifier(self.dropout(F.relu(self.fusion(torch.cat(maps, dim=1)))))


class SimpleClick(ClickNetwork):
    """One mask from a plain head on the encoder and pyramid of AdaptiveClick; no candidates.

    Input as for :class:`AdaptiveClick`. ``forward`` returns logits [B, 1, H, W] in either mode; train it with a loss on
    the full-size mask.

    Args:
        image_size: side or (height, width) in pixels for which the position embedding is kept.
        patch_size: side of a patch in pixels.
        embed_dim: width of the encoder.
        depth: blocks of the encoder.
        num_heads: attention heads of the encoder.
        mlp_ratio: feed-forward width of the encoder as a multiple of ``embed_dim``.
        window_size: side of an attention window in tokens; by default 224 pixels.
        pyramid_channels: channels at strides 4, 8, 16, 32.
        head_dim: width of the head.
        dropout: probability of dropping a channel before the classifier, in training.
        image_mean: mean of each image channel.
        image_std: standard deviation of each image channel.
    """

    plain_head = True

    def __init__(
        self,
        image_size: int | Sequence[int] = 448,
        *,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        window_size: int | None = None,
        pyramid_channels: Sequence[int] = (128, 256, 512, 1024),
        head_dim: int = 256,
        dropout: float = 0.1,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        encoder = {
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "window_size": window_size,
        }
        super().__init__(image_size, encoder=encoder, image_mean=image_mean, image_std=image_std)
        self.pyramid = FeaturePyramid(embed_dim, pyramid_channels)
        self.head = _PlainHead(pyramid_channels, head_dim, dropout)
        self.arguments = {
            "image_size": image_size if isinstance(image_size, int) else list(as_size(image_size)),
            **encoder,
            "pyramid_channels": list(pyramid_channels),
            "head_dim": head_dim,
            "dropout": dropout,
            "image_mean": list(image_mean),
            "image_std": list(image_std),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, 1, H, W] for x [B, 6, H, W]."""
        return upsample_to(self.head(self.pyramid(self.encode(x))), x)

    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the logits as an :class:`AdaptiveClickOutput` without candidates.

        Args:
            x: [B, 6, H, W].
            return_features: also give ``encoder``, ``pyramid_0`` ... ``pyramid_3`` and ``head`` [B, 1, H / 4, W / 4].
            auxiliary: there are no earlier prediction points, so it changes nothing.
        """
        encoded = self.encode(x)
        pyramid = self.pyramid(encoded)
        logits = self.head(pyramid)
        features = None
        if return_features:
            features = {"encoder": encoded, "head": logits}
            features.update({f"pyramid_{index}": level for index, level in enumerate(pyramid)})
        return AdaptiveClickOutput(upsample_to(logits, x), features=features)
