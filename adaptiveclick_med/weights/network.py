"""A network from whatever there is to start from: nothing, a pre-trained encoder, or a file."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adaptiveclick_med.networks import NETWORKS, PRESETS, ClickNetwork, build_network, preset_arguments
from adaptiveclick_med.transforms.intensity import Intensity
from adaptiveclick_med.weights.files import has_header, load_weights, read_header
from adaptiveclick_med.weights.pretrained import initialise_encoder
from adaptiveclick_med.weights.released import load_released

__all__ = ["load_network", "network_for", "start_image_size", "start_network"]

_logger = logging.getLogger(__name__)
_LARGE_WIDTH = PRESETS["large"]["embed_dim"]
_IMAGE_SIZE = 448


def load_network(path: str | Path, *, device: torch.device | str = "cpu") -> ClickNetwork:
    """Load our own weights or a released checkpoint, told apart by what the file holds.

    Args:
        path: a file of ``save_weights``, or a checkpoint in a released format.
        device: where the network shall live.

    Returns:
        The network in evaluation mode.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is neither, or damaged.
    """
    return load_weights(path, device=device) if has_header(path) else load_released(path).to(device)


def network_for(weights: str | Path, preset: str = "base", name: str = "AdaptiveClick") -> ClickNetwork:
    """Return the network of a weight file, or a fresh one where there is no such file, for export and verification.

    Args:
        weights: a file for :func:`load_network`.
        preset: size of the fresh network.
        name: class of the fresh network.

    Returns:
        A network in evaluation mode.

    Raises:
        ValueError: when the file is damaged, or a name is unknown.
    """
    if Path(weights).is_file():
        return load_network(weights)
    _logger.warning("There is no weight file %s: the network is untrained.", weights)
    return build_network(name, preset).eval()


def start_network(
    name: str = "AdaptiveClick",
    preset: str = "base",
    *,
    image_size: int | tuple[int, int] | None = None,
    pretrained_encoder: str | Path | None = None,
    initial_weights: str | Path | None = None,
    network_arguments: Mapping[str, Any] | None = None,
    intensity_window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | str | None = None,
    seed: int = 0,
    activation_checkpointing: bool | str | None = False,
) -> ClickNetwork:
    """Build the network that a training starts from; its ``intensity`` tells how to scale the training's images.

    Args:
        name: ``"AdaptiveClick"`` or ``"SimpleClick"``.
        preset: one of ``adaptiveclick_med.networks.PRESETS``.
        image_size: side or (height, width) in pixels; ``None``: that of ``initial_weights``, else the preset's.
        pretrained_encoder: see :func:`initialise_encoder`.
        initial_weights: a file for :func:`load_network` to continue from; it tells class and sizes, so ``name``,
            ``preset``, ``pretrained_encoder`` and ``network_arguments`` are not used then.
        network_arguments: constructor arguments that replace the preset's, for example ``{"num_queries": 20}``;
            ``None``: none. ``image_size`` is not among them, it has an argument of its own.
        intensity_window: window of the training's images, see :func:`adaptiveclick_med.transforms.to_unit_rgb`;
            ``None``: as ``initial_weights`` were trained; ``"none"``: no window even so.
        channels: their channels, likewise.
        seed: of the fresh weights. PyTorch's own random state stays as it was.
        activation_checkpointing: whether training steps keep less and compute more, see
            :class:`adaptiveclick_med.networks.plain_vit.PlainViT`; ``None``: for encoders of the width of the preset
            ``large`` and above. It is no part of the weights. ``"true"`` and ``"false"`` are understood as well.

    Raises:
        FileNotFoundError: when a file does not exist.
        ValueError: when a name, a constructor argument or a window is unknown, or a file cannot be used.

    Example:
        >>> network = start_network("AdaptiveClick", "nano", network_arguments={"num_queries": 5})
        >>> network.arguments["num_queries"]
        5
    """
    if initial_weights:
        network = load_network(initial_weights).train()
        if image_size is not None:
            network.set_image_size(image_size)
        intensity = Intensity.from_dict(network.intensity).given(intensity_window, channels)
        network.intensity = intensity.to_dict()
        return _with_checkpointing(network, activation_checkpointing)
    intensity = Intensity().given(intensity_window, channels)
    arguments = _checked_arguments(name, network_arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(name, preset, image_size=image_size, **arguments)
    network.intensity = intensity.to_dict()
    return _with_checkpointing(initialise_encoder(network, pretrained_encoder), activation_checkpointing)


def start_image_size(preset: str, initial_weights: str | Path | None = None) -> int | list[int]:
    """Return the image size that a training starts with where none is asked for.

    Args:
        preset: one of ``adaptiveclick_med.networks.PRESETS``.
        initial_weights: a file for :func:`load_network`; its image size goes before the preset's.

    Returns:
        Side or [height, width] in pixels; 448 for a released checkpoint and for presets that have no other.

    Raises:
        ValueError: when the preset is unknown, or the file is damaged.
    """
    if initial_weights and has_header(initial_weights):
        size: int | list[int] = read_header(initial_weights)["arguments"].get("image_size", _IMAGE_SIZE)
        return size
    return _IMAGE_SIZE if initial_weights else preset_arguments(preset).get("image_size", _IMAGE_SIZE)


def _with_checkpointing(network: ClickNetwork, choice: bool | str | None) -> ClickNetwork:
    """Turn activation checkpointing of the encoder on or off."""
    named = {"true": True, "false": False, "none": None}
    chosen = named.get(choice.lower(), choice) if isinstance(choice, str) else choice
    if chosen is not None and not isinstance(chosen, bool):
        raise ValueError(f"activation_checkpointing must be true, false or none, got {choice!r}.")
    large = network.encoder.pos_embed.shape[-1] >= _LARGE_WIDTH
    network.encoder.activation_checkpointing = large if chosen is None else chosen
    return network


def _checked_arguments(name: str, network_arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ``network_arguments`` as a dictionary, after a check that the network has them.

    Raises:
        ValueError: when they are no dictionary, or one of them is unknown.
    """
    if network_arguments is None:
        return {}
    if not isinstance(network_arguments, Mapping):
        raise ValueError(f"network_arguments must be a dictionary, got {network_arguments!r}.")
    if name in NETWORKS:  # otherwise build_network says what is wrong
        valid = [argument for argument in inspect.signature(NETWORKS[name]).parameters if argument != "image_size"]
        unknown = [argument for argument in network_arguments if argument not in valid]
        if unknown:
            raise ValueError(
                f"network_arguments of {name} may be {', '.join(valid)}, got {', '.join(map(repr, unknown))}."
            )
    return dict(network_arguments)
