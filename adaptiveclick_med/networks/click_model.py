"""What a session asks of a model, whoever computes it: a network, an accelerated or an exported one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from adaptiveclick_med.networks.output import AdaptiveClickOutput

__all__ = ["ClickModel"]


class ClickModel(ABC):
    """Takes [B, 6, H, W] and answers with an :class:`AdaptiveClickOutput`.

    :class:`ClickNetwork` is one; sessions, lockstep and evaluation take any.

    Attributes:
        training: whether the model is in training mode, in which no session uses it.
        intensity: how the images of its training became [0, 1], as plain JSON values; ``None``: not known.
    """

    training: bool = False
    intensity: dict[str, Any] | None = None

    @property
    @abstractmethod
    def patch_size(self) -> int:
        """Side of a patch in pixels; both sides of the input are multiples of it."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the input that the model was made for."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the input is expected and the output appears."""

    @abstractmethod
    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the whole answer.

        Args:
            x: [B, 6, H, W]: image in [0, 1] (3), previous mask (1), positive and negative click maps (2), float32.
            return_features: also give named intermediate maps; a model that has none raises ``ValueError``.
            auxiliary: also give the masks of earlier prediction points, where the model has any.
        """
