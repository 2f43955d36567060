"""The trained network that comes with the software."""

from __future__ import annotations

from pathlib import Path

import torch

from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.weights.files import load_weights

__all__ = ["default", "default_path"]

_INSTALLED = Path(__file__).with_name("shipped") / "default.safetensors"  # setup.py puts it there
_CHECKOUT = Path(__file__).resolve().parents[2] / "bundles" / "adaptiveclick" / "models" / "default.safetensors"


def default_path() -> Path:
    """Return the file of the default weights: that in the installed package, or that in the bundle of a checkout.

    It is not to be written to. Its header tells how it was trained, see :func:`adaptiveclick_med.weights.read_header`.

    Raises:
        FileNotFoundError: when it is in neither place.
    """
    for path in (_INSTALLED, _CHECKOUT):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"The default weights are missing: there is neither {_INSTALLED} nor {_CHECKOUT}. Install the software anew, "
        "or name a weight file of your own."
    )


def default(*, device: torch.device | str = "cpu") -> ClickNetwork:
    """Load the trained network that comes with the software.

    Args:
        device: where the network shall live.

    Returns:
        The network in evaluation mode, for :class:`~adaptiveclick_med.inference.InteractiveSession` and
        :class:`~adaptiveclick_med.inference.VolumeSession`.

    Raises:
        FileNotFoundError: when its file is missing.
        ValueError: when its file is damaged.

    Example:
        >>> from adaptiveclick_med import weights
        >>> weights.default().training
        False
    """
    return load_weights(default_path(), device=device)
