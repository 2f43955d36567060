"""Read and write weight files without ever running what is in them."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from adaptiveclick_med._files import replacing
from adaptiveclick_med.networks import NETWORKS, ClickNetwork
from adaptiveclick_med.transforms.intensity import Intensity

__all__ = ["has_header", "load_weights", "read_header", "read_intensity", "read_state", "save_weights"]

_HEADER_KEY = "adaptiveclick_med"
_STORAGE = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16)}


def read_state(path: str | Path) -> dict[str, Any]:
    """Read a file of tensors: safetensors, or a PyTorch checkpoint with tensors and plain containers only.

    Args:
        path: the file; ``.safetensors`` is read as such, anything else with ``torch.load(weights_only=True)``.

    Returns:
        What the file holds, tensors on the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is truncated or damaged, or holds objects that would run code when read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weight file {path}.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise ValueError(
                f"{path} holds more than tensors and plain values, so it was not read and nothing in it was run "
                f"(it names {foreign[1]})."
            ) from error
        raise ValueError(f"{path} is damaged or no checkpoint of tensors; nothing in it was run.") from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise ValueError(f"{path} is truncated, damaged or no checkpoint: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary of tensors, it holds a {type(content).__name__}.")
    return content


def save_weights(
    path: str | Path,
    network: ClickNetwork,
    *,
    training: Mapping[str, Any] | None = None,
    licence: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a network's weights as safetensors with a JSON header. The file appears whole or not at all.

    Args:
        path: file to write, ending in ``.safetensors``.
        network: an ``AdaptiveClick`` or ``SimpleClick``; its constructor arguments and its ``intensity`` go into the
            header.
        training: facts about the training, plain JSON values.
        licence: licence of the weights.
        dtype: how floating-point tensors are stored: float32, or float16 or bfloat16 for half the size. They are
            float32 again once they are loaded.

    Returns:
        The path.

    Raises:
        ValueError: when the suffix or the ``dtype`` is another, a weight is too large for it, ``training`` is not
            plain JSON, or the network's ``intensity`` is nothing that
            :class:`~adaptiveclick_med.transforms.Intensity` takes.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path.name!r}.")
    stored_as = next((name for name, known in _STORAGE.items() if known is dtype), None)
    if stored_as is None:
        raise ValueError(f"dtype must be one of {', '.join(f'torch.{name}' for name in _STORAGE)}, got {dtype!r}.")
    header = {
        "format": 1,
        "network": type(network).__name__,
        "arguments": network.arguments,
        "intensity": None if network.intensity is None else Intensity.from_dict(network.intensity).to_dict(),
        "training": dict(training or {}),
        "licence": licence,
        "dtype": stored_as,
    }
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(f"training must hold plain JSON values: {error}.") from error
    state = {name: _stored(name, tensor, dtype) for name, tensor in network.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, metadata={_HEADER_KEY: text}))
    return path


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as it is written: on the CPU, floating-point numbers in the given type."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    stored = tensor.to(dtype)
    if not torch.equal(stored.isfinite(), tensor.isfinite()):
        raise ValueError(f"dtype {dtype} cannot hold the largest values of {name}: {tensor.abs().max():.3g}.")
    return stored


def has_header(path: str | Path) -> bool:
    """Tell whether a file is a safetensors file with our header. A damaged or missing file has none."""
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return _HEADER_KEY in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the JSON header of a file of :func:`save_weights`.

    Returns:
        ``network`` and ``arguments``, ``intensity``, ``training``, ``licence``, and the storage ``dtype``, which older
        files do not tell.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged or was not written by this software.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weight file {path}.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is truncated, damaged or no safetensors file: {error}") from error
    try:
        header = json.loads(metadata[_HEADER_KEY])
        name, _ = header["network"], dict(header["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has no header of adaptiveclick_med; use load_released for released checkpoints."
        ) from error
    if name not in list(NETWORKS):
        raise ValueError(f"{path} holds a network {name!r}; known ones are {', '.join(NETWORKS)}.")
    return header


def read_intensity(path: str | Path | None) -> dict[str, Any] | None:
    """Return how the images of a file's training became [0, 1], without reading its tensors.

    Args:
        path: a file for :func:`adaptiveclick_med.weights.load_network`.

    Returns:
        Plain values for :meth:`adaptiveclick_med.transforms.Intensity.from_dict`; ``None`` where there is no file, or
        it does not tell.

    Raises:
        ValueError: when what it tells cannot be used.
    """
    return _intensity(path, read_header(path)) if path and has_header(path) else None


def _intensity(path: str | Path, header: Mapping[str, Any]) -> dict[str, Any] | None:
    found = header.get("intensity")
    try:
        return None if found is None else Intensity.from_dict(found).to_dict()
    except ValueError as error:
        raise ValueError(f"The intensity in {path} cannot be used: {error}") from error


def load_weights(path: str | Path, *, device: torch.device | str = "cpu") -> ClickNetwork:
    """Build the network that a file of :func:`save_weights` describes and fill it.

    Args:
        path: the safetensors file.
        device: where the network shall live.

    Returns:
        The network in evaluation mode, in float32 whatever the file stores, with its ``intensity``; ``None`` where the
        file does not tell it.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, of another origin, or its tensors do not fit its header.
    """
    header = read_header(path)
    try:
        network = NETWORKS[header["network"]](**header["arguments"])
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"The arguments in {path} do not build a {header['network']}: {error}") from error
    network.intensity = _intensity(path, header)
    state: dict[str, Tensor] = read_state(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The tensors of {path} do not fit its header: {error}") from error
    return network.to(device).eval()
