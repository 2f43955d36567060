"""AdaptiveClick: encoder, pyramid, pixel decoder and click decoder in one network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from adaptiveclick_med.candidates import combined_mask
from adaptiveclick_med.networks.click_decoder import ClickDecoder
from adaptiveclick_med.networks.click_network import IMAGENET_MEAN, IMAGENET_STD, ClickNetwork, as_size, upsample_to
from adaptiveclick_med.networks.feature_pyramid import FeaturePyramid
from adaptiveclick_med.networks.geodesic import GeodesicEmbedding, geodesic_distances, geodesic_maps
from adaptiveclick_med.networks.output import AdaptiveClickOutput
from adaptiveclick_med.networks.pixel_decoder import PixelDecoder

__all__ = ["AdaptiveClick"]


class AdaptiveClick(ClickNetwork):
    """The click-aware mask-adaptive network (AdaptiveClick, IEEE TNNLS 2024, Fig. 2).

    One tensor goes in: [B, 6, H, W] = image in [0, 1] (3 channels), previous mask probability (1), positive click map
    (1), negative click map (1). In evaluation mode ``forward`` returns logits [B, 1, H, W], in training mode an
    :class:`AdaptiveClickOutput`; :meth:`predict` returns the latter in either mode. Foreground is where the sigmoid of
    the logits exceeds 0.49.

    Args:
        image_size: side or (height, width) in pixels for which the position embedding is kept. Any other multiple of
            the patch works too, the embedding is resampled.
        patch_size: side of a patch in pixels.
        embed_dim: width of the encoder.
        depth: blocks of the encoder.
        num_heads: attention heads of the encoder.
        mlp_ratio: feed-forward width of the encoder as a multiple of ``embed_dim``.
        window_size: side of an attention window in tokens; by default 224 pixels.
        pyramid_channels: channels at strides 4, 8, 16, 32.
        decoder_dim: width d of both decoders, a multiple of 32.
        decoder_heads: attention heads of both decoders.
        pixel_decoder_layers: deformable layers; the paper has 6, the released weights 4.
        pixel_feedforward_dim: feed-forward width of the pixel decoder.
        num_queries: candidates Q.
        click_decoder_layers: layers of the click decoder.
        click_feedforward_dim: feed-forward width of the click decoder.
        image_mean: mean of each image channel.
        image_std: standard deviation of each image channel.
        geodesic: also see geodesic distances from the clicks (:mod:`adaptiveclick_med.networks.geodesic`): two maps
            go into the encoder, all into the per-pixel embedding. Not in the paper; a small network learns from far
            fewer samples with them. ``patch_size`` must be a multiple of 4.

    Raises:
        ValueError: when ``geodesic`` is asked for with another ``patch_size``, or a part refuses its arguments.

    Example:
        >>> import torch
        >>> network = AdaptiveClick.from_preset("nano").eval()
        >>> network(torch.zeros(1, 6, 128, 128)).shape
        torch.Size([1, 1, 128, 128])
    """

    has_candidates = True

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
        pyramid_channels: Sequence[int] = (256, 512, 1024, 2048),
        decoder_dim: int = 256,
        decoder_heads: int = 8,
        pixel_decoder_layers: int = 6,
        pixel_feedforward_dim: int = 1024,
        num_queries: int = 10,
        click_decoder_layers: int = 9,
        click_feedforward_dim: int = 2048,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        geodesic: bool = False,
    ) -> None:
        if geodesic and patch_size % 4:
            raise ValueError(f"geodesic needs a patch_size that is a multiple of 4, got {patch_size}.")
        encoder = {
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "window_size": window_size,
        }
        channels = {"prompt_channels": 5} if geodesic else {}
        super().__init__(image_size, encoder=encoder | channels, image_mean=image_mean, image_std=image_std)
        self.pyramid = FeaturePyramid(embed_dim, pyramid_channels)
        self.pixel_decoder = PixelDecoder(
            pyramid_channels,
            dim=decoder_dim,
            num_layers=pixel_decoder_layers,
            num_heads=decoder_heads,
            feedforward_dim=pixel_feedforward_dim,
        )
        self.click_decoder = ClickDecoder(
            dim=decoder_dim,
            num_queries=num_queries,
            num_layers=click_decoder_layers,
            num_heads=decoder_heads,
            feedforward_dim=click_feedforward_dim,
        )
        self.prompt_embed = GeodesicEmbedding(decoder_dim) if geodesic else None
        self.arguments = {
            "image_size": image_size if isinstance(image_size, int) else list(as_size(image_size)),
            **encoder,
            "pyramid_channels": list(pyramid_channels),
            "decoder_dim": decoder_dim,
            "decoder_heads": decoder_heads,
            "pixel_decoder_layers": pixel_decoder_layers,
            "pixel_feedforward_dim": pixel_feedforward_dim,
            "num_queries": num_queries,
            "click_decoder_layers": click_decoder_layers,
            "click_feedforward_dim": click_feedforward_dim,
            "image_mean": list(image_mean),
            "image_std": list(image_std),
        }
        if geodesic:
            self.arguments["geodesic"] = True

    def forward(self, x: Tensor) -> Tensor | AdaptiveClickOutput:
        """Return logits [B, 1, H, W] in evaluation mode, an :class:`AdaptiveClickOutput` in training mode.

        Args:
            x: [B, 6, H, W], see the class.

        Raises:
            ValueError: when ``x`` is not of that shape, or smaller than a patch or no multiple of it.
        """
        if self.training:
            return self._run(x, all_masks=True, return_features=False)
        return self._run(x, all_masks=False, return_features=False).logits

    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the whole answer in either mode.

        Args:
            x: [B, 6, H, W], see the class.
            return_features: also give named maps: ``encoder`` [B, C, h, w]; ``pyramid_0`` ... ``pyramid_3`` at strides
                4, 8, 16, 32; ``pixel_0``, ``pixel_1``, ``pixel_2`` (F' at strides 32, 16, 8); ``pixel_embedding``
                (F3 at stride 4); ``blocked_0`` ... (gate of each click decoder layer, [B, Q, positions] boolean).
            auxiliary: also give the masks of the earlier prediction points; without them it is faster.
        """
        return self._run(x, all_masks=auxiliary, return_features=return_features)

    def _run(self, x: Tensor, *, all_masks: bool, return_features: bool) -> AdaptiveClickOutput:
        stride, maps, coarse = self.patch_size // 4, None, None
        if self.prompt_embed is not None:
            self.require_input(x)
            maps = geodesic_maps(geodesic_distances(x[:, :3], x[:, 4:6], stride)).to(x.dtype)
            coarse = self.prompt_embed.coarse(maps, (int(x.shape[-2]), int(x.shape[-1])))
        encoded = self.encode(x, coarse)
        pyramid = self.pyramid(encoded)
        embed = all_masks or return_features
        levels, pixels = self.pixel_decoder(pyramid, embed=False)
        if self.prompt_embed is not None and maps is not None:
            pixels = pixels + self.prompt_embed(maps, self.normalised(x), x[:, 3:], stride)
        if embed:
            pixels = self.pixel_decoder.embed(pixels)
        projection = None if embed else self.pixel_decoder.pixel_embed
        decoded = self.click_decoder(levels, pixels, x[:, 4:5], all_masks=all_masks, projection=projection)
        mask_logits, click_logits = decoded.predictions[-1]
        assert mask_logits is not None
        combined = combined_mask(mask_logits, click_logits)
        auxiliary = tuple((masks, clicks) for masks, clicks in decoded.predictions[:-1] if masks is not None)
        features = None
        if return_features:
            features = {"encoder": encoded, "pixel_embedding": pixels}
            features.update({f"pyramid_{index}": level for index, level in enumerate(pyramid)})
            features.update({f"pixel_{index}": level for index, level in enumerate(levels)})
            features.update({f"blocked_{index}": gate for index, gate in enumerate(decoded.blocked)})
        return AdaptiveClickOutput(upsample_to(combined, x), mask_logits, click_logits, auxiliary, features)
