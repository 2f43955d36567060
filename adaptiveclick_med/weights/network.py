"""A network from whatever there is to start from: nothing, a pre-trained encoder, or a file."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from adaptiveclick_med.networks import ClickNetwork, build_network
from adaptiveclick_med.weights.files import has_header, load_weights
from adaptiveclick_med.weights.pretrained import initialise_encoder
from adaptiveclick_med.weights.released import load_released

__all__ = ["load_network", "network_for", "start_network"]

_logger = logging.getLogger(__name__)


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
    seed: int = 0,
) -> ClickNetwork:
    """Build the network that a training starts from.

    Args:
        name: ``"AdaptiveClick"`` or ``"SimpleClick"``.
        preset: one of ``adaptiveclick_med.networks.PRESETS``.
        image_size: side or (height, width) in pixels; ``None``: the preset's.
        pretrained_encoder: see :func:`initialise_encoder`.
        initial_weights: a file for :func:`load_network` to continue from; it tells class and sizes, so ``name``,
            ``preset`` and ``pretrained_encoder`` are not used then.
        seed: of the fresh weights. PyTorch's own random state stays as it was.

    Raises:
        FileNotFoundError: when a file does not exist.
        ValueError: when a name is unknown or a file cannot be used.
    """
    if initial_weights:
        return load_network(initial_weights).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(name, preset, image_size=image_size)
    return initialise_encoder(network, pretrained_encoder)
