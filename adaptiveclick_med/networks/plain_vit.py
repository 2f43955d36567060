"""The encoder: a plain vision transformer with windowed attention, on timm's blocks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adaptiveclick_med import _torchvision  # noqa: F401

from timm.layers.pos_embed import resample_abs_pos_embed_nhwc  # isort: skip
from timm.models.vision_transformer import Block  # isort: skip

__all__ = ["PlainViT", "global_block_indices"]


def global_block_indices(depth: int) -> tuple[int, ...]:
    """Return the indices of the blocks that attend over all tokens.

    Every sixth block when the depth is 12, otherwise every (depth / 4)-th.
    """
    period = 6 if depth == 12 else max(1, depth // 4)
    return tuple(index for index in range(depth) if (index + 1) % period == 0)


class _LayerNorm(nn.LayerNorm):
    """Layer normalisation with the epsilon of a ViT."""

    def __init__(self, dim: int, **options: Any) -> None:
        super().__init__(dim, eps=1e-6, **options)


class PlainViT(nn.Module):
    """A plain ViT that encodes image, previous mask and click maps together (the paper, Sec. III).

    The image and the other channels have a patch embedding each; the two are added, then the position embedding.
    Most blocks attend inside equal windows of the token grid, a few over all tokens. There is no final normalisation.

    Args:
        image_size: (height, width) in pixels for which the position embedding is kept; other sizes are resampled.
        patch_size: side of a patch in pixels.
        embed_dim: width C of a token.
        depth: number of blocks.
        num_heads: attention heads of a block.
        mlp_ratio: width of the feed-forward layer as a multiple of ``embed_dim``.
        window_size: side of a window in tokens; by default 224 pixels.
        prompt_channels: channels beside the image's: previous mask, two click maps, and what else there is.

    Attributes:
        activation_checkpointing: whether a training step keeps the input of each block only and computes the rest again
            for the gradient: less memory for about a third more time. Off by default; it may be set at any time and
            changes neither results nor weights.

    Raises:
        ValueError: when ``embed_dim`` is no multiple of ``num_heads``, or ``image_size`` none of ``patch_size``.
    """

    def __init__(
        self,
        image_size: tuple[int, int] = (448, 448),
        *,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        window_size: int | None = None,
        prompt_channels: int = 3,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = False
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}.")
        self.patch_size = patch_size
        self.grid_size = self.grid_of(*image_size)
        self.window_size = window_size or max(1, 224 // patch_size)
        self.global_blocks = global_block_indices(depth)
        self.patch_embed = nn.Conv2d(3, embed_dim, patch_size, patch_size)
        self.click_embed = nn.Conv2d(prompt_channels, embed_dim, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid_size[0] * self.grid_size[1], embed_dim))
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=_LayerNorm) for _ in range(depth)
        )
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embedding in (self.patch_embed, self.click_embed):
            nn.init.xavier_uniform_(embedding.weight.view(embedding.weight.shape[0], -1))
            if embedding.bias is not None:
                nn.init.zeros_(embedding.bias)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Return the (rows, columns) of tokens of an image of height x width pixels.

        Raises:
            ValueError: when a side is smaller than a patch or no multiple of it.
        """
        patch = self.patch_size
        if height < patch or width < patch or height % patch or width % patch:
            raise ValueError(
                f"The image must be at least one patch and a multiple of it on both sides: patch_size is {patch}, "
                f"the image is {height} x {width} pixels."
            )
        return height // patch, width // patch

    def set_image_size(self, height: int, width: int) -> None:
        """Keep the position embedding for another image size: it is resampled as :meth:`forward` would do.

        Raises:
            ValueError: when a side is smaller than a patch or no multiple of it; nothing is changed then.
        """
        grid = self.grid_of(height, width)
        position = self.pos_embed.detach().unflatten(1, self.grid_size)
        position = resample_abs_pos_embed_nhwc(position, list(grid), antialias=False)
        self.pos_embed = nn.Parameter(position.flatten(1, 2).clone(), requires_grad=self.pos_embed.requires_grad)
        self.grid_size = grid

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Encode a batch.

        Args:
            image: [B, 3, H, W], normalised.
            prompts: [B, P, H, W]: previous mask, positive click map, negative click map, further maps where there are.

        Returns:
            [B, C, H / patch_size, W / patch_size].
        """
        grid = self.grid_of(int(image.shape[-2]), int(image.shape[-1]))
        position = self.pos_embed.unflatten(1, self.grid_size)
        position = resample_abs_pos_embed_nhwc(position, list(grid), antialias=False)
        tokens = (self.patch_embed(image) + self.click_embed(prompts)).permute(0, 2, 3, 1)
        tokens = tokens + position.to(tokens.dtype)

        windows, mask = _Windows(grid, self.window_size), None
        if windows.padded:
            mask = windows.key_mask(tokens.device, tokens.shape[0])
        sequence, windowed = windows.split(tokens), True
        for index, block in enumerate(self.blocks):
            everywhere = index in self.global_blocks or windows.count == 1
            if everywhere and windowed:
                sequence, windowed = windows.join(sequence).flatten(1, 2), False
            elif not everywhere and not windowed:
                sequence, windowed = windows.split(sequence.unflatten(1, grid)), True
            if self.activation_checkpointing and self.training and torch.is_grad_enabled():
                # The blocks draw no random numbers, so there is no random state to keep.
                sequence = checkpoint(
                    block, sequence, mask if windowed else None, use_reentrant=False, preserve_rng_state=False
                )
            else:
                sequence = block(sequence, attn_mask=mask if windowed else None)
        tokens = windows.join(sequence) if windowed else sequence.unflatten(1, grid)
        return tokens.permute(0, 3, 1, 2)


class _Windows:
    """Cuts a token grid into equal windows, floor(grid / window) a side and at least one, padded where needed."""

    def __init__(self, grid: tuple[int, int], window: int) -> None:
        self.grid = grid
        self.per_side = (max(1, grid[0] // window), max(1, grid[1] // window))
        self.size = (-(-grid[0] // self.per_side[0]), -(-grid[1] // self.per_side[1]))
        self.full = (self.per_side[0] * self.size[0], self.per_side[1] * self.size[1])
        self.padded = self.full != grid
        self.count = self.per_side[0] * self.per_side[1]

    def split(self, tokens: Tensor) -> Tensor:
        """[B, h, w, C] -> [B * windows, tokens of a window, C]."""
        if self.padded:
            tokens = F.pad(tokens, (0, 0, 0, self.full[1] - self.grid[1], 0, self.full[0] - self.grid[0]))
        tokens = tokens.unflatten(1, (self.per_side[0], self.size[0])).unflatten(3, (self.per_side[1], self.size[1]))
        return tokens.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def join(self, sequence: Tensor) -> Tensor:
        """[B * windows, tokens of a window, C] -> [B, h, w, C]."""
        tokens = sequence.unflatten(0, (-1, *self.per_side)).unflatten(3, self.size)
        tokens = tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return tokens[:, : self.grid[0], : self.grid[1]]

    def key_mask(self, device: torch.device, batch: int) -> Tensor:
        """[B * windows, 1, 1, tokens of a window], ``True`` where a token is real and may be attended to.

        A window of padding only is open, since attention to nothing is not defined; its tokens are cut off later.
        """
        real = self.split(torch.ones((1, *self.grid, 1), dtype=torch.float32, device=device))[..., 0] > 0
        real = real | ~real.any(-1, keepdim=True)
        return real[:, None, None].repeat(batch, 1, 1, 1)
