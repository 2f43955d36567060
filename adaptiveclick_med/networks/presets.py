"""Sizes of the networks by name."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS", "preset_arguments"]

PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "image_size": 128,
        "patch_size": 8,
        "embed_dim": 96,
        "depth": 8,
        "num_heads": 3,
        "window_size": 8,
        "pyramid_channels": (32, 64, 96, 128),
        "decoder_dim": 64,
        "decoder_heads": 4,
        "pixel_decoder_layers": 2,
        "pixel_feedforward_dim": 256,
        "click_decoder_layers": 6,
        "click_feedforward_dim": 256,
        "head_dim": 64,
    },
    "tiny": {
        "patch_size": 16,
        "embed_dim": 192,
        "depth": 12,
        "num_heads": 3,
        "pyramid_channels": (64, 128, 256, 512),
        "decoder_dim": 96,
        "pixel_decoder_layers": 3,
        "pixel_feedforward_dim": 384,
        "click_feedforward_dim": 768,
        "head_dim": 96,
    },
    "small": {
        "patch_size": 16,
        "embed_dim": 384,
        "depth": 12,
        "num_heads": 6,
        "pyramid_channels": (128, 256, 512, 1024),
        "decoder_dim": 160,
        "pixel_decoder_layers": 4,
        "pixel_feedforward_dim": 640,
        "click_feedforward_dim": 1280,
        "head_dim": 160,
    },
    "base": {
        "patch_size": 16,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "pyramid_channels": (256, 512, 1024, 2048),
    },
    "large": {
        "patch_size": 16,
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "pyramid_channels": (384, 768, 1536, 3072),
    },
    "huge": {
        "patch_size": 14,
        "embed_dim": 1280,
        "depth": 32,
        "num_heads": 16,
        "pyramid_channels": (512, 1024, 2048, 4096),
    },
}

_PLAIN_HEAD_PYRAMIDS: dict[str, tuple[int, int, int, int]] = {
    "base": (128, 256, 512, 1024),
    "large": (192, 384, 768, 1536),
    "huge": (240, 480, 960, 1920),
}

_CLICK_DECODER_ONLY = (
    "decoder_dim",
    "decoder_heads",
    "pixel_decoder_layers",
    "pixel_feedforward_dim",
    "click_decoder_layers",
    "click_feedforward_dim",
)


def preset_arguments(name: str, *, plain_head: bool = False) -> dict[str, Any]:
    """Return the constructor arguments of a preset.

    Args:
        name: ``"nano"``, ``"tiny"``, ``"small"``, ``"base"``, ``"large"`` or ``"huge"``.
        plain_head: whether they are for the plain head of ``SimpleClick`` instead of ``AdaptiveClick``.

    Raises:
        ValueError: when the preset is unknown.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    arguments = dict(PRESETS[name])
    if not plain_head:
        arguments.pop("head_dim", None)
        return arguments
    for argument in _CLICK_DECODER_ONLY:
        arguments.pop(argument, None)
    arguments["pyramid_channels"] = _PLAIN_HEAD_PYRAMIDS.get(name, arguments["pyramid_channels"])
    return arguments
