"""Checkpoints in the released formats of AdaptiveClick and SimpleClick, converted by name and shape."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptiveclick_med import _torchvision  # noqa: F401
from adaptiveclick_med.networks import NETWORKS, PRESETS, ClickNetwork
from adaptiveclick_med.weights.files import read_state

from timm.layers.pos_embed import resample_abs_pos_embed  # isort: skip

__all__ = ["Conversion", "convert_released", "load_released", "network_of"]

_logger = logging.getLogger(__name__)

_RENAMES: tuple[tuple[str, str], ...] = (
    (r"patch_embed_coords\.proj\.", "encoder.click_embed."),
    (r"backbone\.patch_embed\.proj\.", "encoder.patch_embed."),
    (r"backbone\.pos_embed$", "encoder.pos_embed"),
    (r"backbone\.blocks\.", "encoder.blocks."),
    (r"(?:pixel_decoder\.)?neck\.down_(4|8|16|32)\.", r"pyramid.stride\1."),
    (r"pixel_decoder\.input_proj\.", "pixel_decoder.input_proj."),
    (r"pixel_decoder\.transformer\.level_embed$", "pixel_decoder.level_embed"),
    (r"pixel_decoder\.transformer\.encoder\.layers\.", "pixel_decoder.layers."),
    (r"pixel_decoder\.(?:adapter_1|lateral_convs\.0)\.", "pixel_decoder.lateral."),
    (r"pixel_decoder\.(?:layer_1|output_convs\.0)\.", "pixel_decoder.output."),
    (r"pixel_decoder\.mask_features\.", "pixel_decoder.pixel_embed."),
    (r"click_aware_decoder\.class_embed\.", "click_decoder.click_head."),
    (r"click_aware_decoder\.decoder_norm\.", "click_decoder.norm."),
    (r"click_aware_decoder\.level_embed\.weight$", "click_decoder.level_embed"),
    (r"click_aware_decoder\.query_embed\.weight$", "click_decoder.query_positions"),
    (r"click_aware_decoder\.query_feat\.weight$", "click_decoder.query_features"),
    (r"click_aware_decoder\.mask_embed\.layers\.0\.", "click_decoder.mask_head.0."),
    (r"click_aware_decoder\.mask_embed\.layers\.1\.", "click_decoder.mask_head.2."),
    (r"click_aware_decoder\.mask_embed\.layers\.2\.", "click_decoder.mask_head.4."),
    (
        r"click_aware_decoder\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"click_decoder.layers.\1.cross_attn.",
    ),
    (
        r"click_aware_decoder\.transformer_cross_attention_layers\.(\d+)\.norm\.",
        r"click_decoder.layers.\1.cross_norm.",
    ),
    (
        r"click_aware_decoder\.transformer_self_attention_layers\.(\d+)\.self_attn\.",
        r"click_decoder.layers.\1.self_attn.",
    ),
    (r"click_aware_decoder\.transformer_self_attention_layers\.(\d+)\.norm\.", r"click_decoder.layers.\1.self_norm."),
    (r"click_aware_decoder\.transformer_ffn_layers\.(\d+)\.norm\.", r"click_decoder.layers.\1.feedforward_norm."),
    (r"click_aware_decoder\.transformer_ffn_layers\.(\d+)\.(linear[12])\.", r"click_decoder.layers.\1.\2."),
    (r"head\.convs\.(\d)\.conv\.", r"head.projections.\1."),
    (r"head\.fusion_conv\.conv\.", "head.fusion."),
    (r"head\.conv_seg\.", "head.classifier."),
)

_WITHOUT_EFFECT = re.compile(r"backbone\.(cls_token$|fc_norm\.|head\.)|criterion\.|head\.up_conv[12]\.")


@dataclass(frozen=True)
class Conversion:
    """A released checkpoint in our names.

    Attributes:
        network: ``"AdaptiveClick"`` or ``"SimpleClick"``.
        arguments: constructor arguments of the network.
        state: tensors by our names.
        used: released keys that were converted.
        unused: released keys that never influence the mask (class token, classification head, loss weights).
        left_over: released keys that are not known.
        missing: our names that the checkpoint lacks.
    """

    network: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]
    used: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Return the number of keys used, unused, left over and missing, and the names of all but the used."""
        lines = [f"{self.network}: {len(self.used)} keys used, {len(self.unused)} without effect"]
        lines += [f"  {title}: {key}" for title, keys in self._groups() for key in keys]
        return "\n".join(lines)

    def _groups(self) -> list[tuple[str, list[str]]]:
        return [("without effect", self.unused), ("left over", self.left_over), ("missing", self.missing)]


def convert_released(
    source: str | Path | Mapping[str, Any], image_size: int | tuple[int, int] = 448, **arguments: Any
) -> Conversion:
    """Convert the names of a released checkpoint and infer the network's constructor arguments from its shapes.

    Args:
        source: path, or a dictionary already read: either with ``state_dict`` (its ``config`` is ignored, never run)
            or a plain state dict.
        image_size: side or (height, width) in pixels; the position embedding is resampled bicubically to it.
        arguments: constructor arguments that replace the inferred ones; ``num_heads`` cannot be told from shapes and
            comes from the preset of the same width unless given.

    Returns:
        The conversion; nothing is loaded yet.

    Raises:
        FileNotFoundError: when ``source`` is a path and there is no such file.
        ValueError: when the file cannot be read, is of another architecture, has contradicting aliases, or
            ``num_heads`` is needed.
    """
    content = source if isinstance(source, Mapping) else read_state(source)
    content = content.get("state_dict", content)
    if not isinstance(content, Mapping):
        raise ValueError(f"The checkpoint's state_dict must be a dictionary, it is a {type(content).__name__}.")
    state = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if any(key.startswith("click_aware_decoder.") for key in state):
        network = "AdaptiveClick"
    elif "head.conv_seg.weight" in state and any(key.startswith("neck.") for key in state):
        network = "SimpleClick"
    else:
        raise ValueError(
            "The checkpoint is neither a released AdaptiveClick (keys click_aware_decoder.*) nor SimpleClick "
            f"(keys neck.* and head.conv_seg.*); its first keys are {list(state)[:5]}."
        )
    converted: dict[str, Tensor] = {}
    conversion = Conversion(network, {}, converted)
    for key, tensor in state.items():
        name = _renamed(key)
        if name is None:
            (conversion.unused if _WITHOUT_EFFECT.match(key) else conversion.left_over).append(key)
            continue
        if name in converted and not torch.equal(converted[name], tensor):
            raise ValueError(f"The checkpoint holds two different tensors for {name}; the second is {key}.")
        converted[name] = tensor
        conversion.used.append(key)
    conversion.arguments.update(_infer_arguments(network, converted), image_size=image_size)
    conversion.arguments.update(arguments)
    if "num_heads" not in conversion.arguments:
        known = {preset["embed_dim"]: preset["num_heads"] for preset in PRESETS.values()}
        width = conversion.arguments["embed_dim"]
        if width not in known:
            raise ValueError(f"num_heads must be given: no preset has the encoder width {width} ({sorted(known)}).")
        conversion.arguments["num_heads"] = known[width]
    return conversion


def load_released(
    source: str | Path | Mapping[str, Any], image_size: int | tuple[int, int] = 448, **arguments: Any
) -> ClickNetwork:
    """Build the network of a released checkpoint and fill it; the network class is told from the keys.

    Keys without effect and unknown ones are logged, see :func:`network_of`.

    Args:
        source: path, or a dictionary already read.
        image_size: side or (height, width) in pixels.
        arguments: constructor arguments that replace the inferred ones, see :func:`convert_released`.

    Returns:
        An ``AdaptiveClick`` or ``SimpleClick`` in evaluation mode.

    Raises:
        FileNotFoundError: when ``source`` is a path and there is no such file.
        ValueError: when the checkpoint cannot be read or converted, or lacks tensors.
    """
    return network_of(convert_released(source, image_size, **arguments))


def network_of(conversion: Conversion) -> ClickNetwork:
    """Build the network of a conversion and fill it; missing and left-over names are added to the conversion.

    Every key without effect is logged at level INFO, every unknown one at level WARNING.

    Args:
        conversion: what :func:`convert_released` gave.

    Returns:
        An ``AdaptiveClick`` or ``SimpleClick`` in evaluation mode.

    Raises:
        ValueError: when the checkpoint lacks tensors, or its shapes do not fit the arguments.
    """
    network = NETWORKS[conversion.network](**conversion.arguments)
    expected = network.state_dict()
    conversion.missing.extend(name for name in expected if name not in conversion.state)
    if conversion.missing:
        raise ValueError(f"The checkpoint lacks tensors.\n{conversion.report()}")
    conversion.state["encoder.pos_embed"] = _resampled_position(
        conversion.state["encoder.pos_embed"], network.encoder.grid_size
    )
    try:
        network.load_state_dict({name: tensor for name, tensor in conversion.state.items() if name in expected})
    except RuntimeError as error:
        raise ValueError(f"The checkpoint's shapes do not fit the arguments {conversion.arguments}: {error}") from error
    conversion.left_over.extend(name for name in conversion.state if name not in expected)
    _logger.log(logging.WARNING if conversion.left_over else logging.INFO, conversion.report())
    return network.eval()


def _renamed(key: str) -> str | None:
    for pattern, replacement in _RENAMES:
        name, count = re.subn(f"^{pattern}", replacement, key)
        if count:
            return name
    return None


def _resampled_position(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """[1, 1 + n * n, C] with the slot of the class token -> [1, rows * columns, C]."""
    position = position[:, 1:]
    side = math.isqrt(position.shape[1])
    if side * side != position.shape[1]:
        raise ValueError(f"The position embedding must be of a square grid, it has {position.shape[1]} places.")
    return resample_abs_pos_embed(position, list(grid), [side, side], num_prefix_tokens=0, antialias=False)


def _infer_arguments(network: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor arguments off the shapes.

    Raises:
        ValueError: when a tensor that tells one is missing.
    """

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise ValueError(f"The checkpoint lacks {name}; it is truncated or of another architecture.")
        return state[name].shape

    def count(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})

    embedding = shape("encoder.patch_embed.weight")
    found: dict[str, Any] = {
        "patch_size": embedding[2],
        "embed_dim": embedding[0],
        "depth": count("encoder.blocks."),
        "mlp_ratio": shape("encoder.blocks.0.mlp.fc1.weight")[0] / embedding[0],
        "pyramid_channels": [
            shape(name)[0]
            for name in (
                "pyramid.stride4.5.weight",
                "pyramid.stride8.2.weight",
                "pyramid.stride16.0.weight",
                "pyramid.stride32.2.weight",
            )
        ],
    }
    if network == "SimpleClick":
        return {**found, "head_dim": shape("head.classifier.weight")[1]}
    return {
        **found,
        "decoder_dim": shape("pixel_decoder.pixel_embed.weight")[0],
        # (x, y) of 4 points on 3 levels for every head
        "decoder_heads": shape("pixel_decoder.layers.0.self_attn.sampling_offsets.weight")[0] // 24,
        "pixel_decoder_layers": count("pixel_decoder.layers."),
        "pixel_feedforward_dim": shape("pixel_decoder.layers.0.linear1.weight")[0],
        "num_queries": shape("click_decoder.query_features")[0],
        "click_decoder_layers": count("click_decoder.layers."),
        "click_feedforward_dim": shape("click_decoder.layers.0.linear1.weight")[0],
    }
