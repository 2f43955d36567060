"""What AdaptiveClick and SimpleClick share: the one-tensor input, the encoder and the recorded arguments."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.networks.click_model import ClickModel
from adaptiveclick_med.networks.output import AdaptiveClickOutput
from adaptiveclick_med.networks.plain_vit import PlainViT
from adaptiveclick_med.networks.presets import preset_arguments

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ClickNetwork", "as_size", "upsample_to"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Network = TypeVar("Network", bound="ClickNetwork")


def as_size(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """Return an image size as (height, width).

    Args:
        image_size: one number for both sides, or (height, width).
        name: what the argument is called in the error.

    Raises:
        ValueError: when it is neither one positive whole number nor two.
    """
    sides = image_size if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and side > 0 for side in sides):
        raise ValueError(f"{name} must be one positive whole number or (height, width), got {image_size!r}.")
    return int(sides[0]), int(sides[1])


def upsample_to(logits: Tensor, like: Tensor) -> Tensor:
    """Resize [B, 1, h, w] bilinearly (align_corners) to the height and width of ``like``."""
    return F.interpolate(logits, like.shape[-2:], mode="bilinear", align_corners=True)


class ClickNetwork(nn.Module, ClickModel):
    """Base class: takes [B, 6, H, W], normalises the image and encodes it together with the prompts.

    Args:
        image_size: side or (height, width) in pixels for which the position embedding is kept.
        encoder: arguments of :class:`PlainViT`.
        image_mean: mean of each image channel, subtracted inside the network.
        image_std: standard deviation of each image channel, divided by inside the network.

    Attributes:
        arguments: constructor arguments, plain values.
        intensity: how the images of its training became [0, 1], as plain JSON values (see
            :class:`adaptiveclick_med.transforms.Intensity`); ``None``: not known. It travels with the weights.
    """

    has_candidates: bool = False
    plain_head: bool = False

    def __init__(
        self,
        image_size: int | Sequence[int],
        *,
        encoder: dict[str, Any],
        image_mean: Sequence[float],
        image_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}
        self.intensity: dict[str, Any] | None = None
        self.encoder = PlainViT(as_size(image_size), **encoder)
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(tuple(image_mean)).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(tuple(image_std)).reshape(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_preset(cls: type[Network], preset: str, **arguments: Any) -> Network:
        """Build a network of a named size.

        Args:
            preset: ``"nano"``, ``"tiny"``, ``"small"``, ``"base"``, ``"large"`` or ``"huge"``.
            arguments: constructor arguments that replace the preset's; ``None`` keeps the preset's.

        Raises:
            ValueError: when the preset is unknown.
        """
        chosen = {name: value for name, value in arguments.items() if value is not None}
        return cls(**{**preset_arguments(preset, plain_head=cls.plain_head), **chosen})

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.encoder.patch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the input that the network was built for."""
        return as_size(self.arguments["image_size"])

    def set_image_size(self, image_size: int | Sequence[int]) -> None:
        """Make the network one that was built for another image size; answers stay as they are, up to rounding.

        The position embedding is resampled. Sessions and trainings that ask for no size take this one.

        Args:
            image_size: side or (height, width) in pixels.

        Raises:
            ValueError: when it is no size, or a side is no multiple of the patch; nothing is changed then.
        """
        height, width = as_size(image_size)
        if (height, width) == self.image_size:
            return
        self.encoder.set_image_size(height, width)
        self.arguments["image_size"] = height if height == width else [height, width]

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.encoder.pos_embed.device

    def encode(self, x: Tensor, further: Tensor | None = None) -> Tensor:
        """Normalise and encode.

        Args:
            x: [B, 6, H, W]: image in [0, 1] (3), previous mask (1), positive and negative click maps (2).
            further: [B, P - 3, H, W], further maps of an encoder with more than three prompt channels.

        Returns:
            [B, C, H / patch, W / patch].

        Raises:
            ValueError: when ``x`` is not of that shape, or smaller than a patch or no multiple of it.
        """
        self.require_input(x)
        prompts = x[:, 3:] if further is None else torch.cat([x[:, 3:], further.to(x.dtype)], dim=1)
        return self.encoder(self.normalised(x), prompts)

    @staticmethod
    def require_input(x: Tensor) -> None:
        """Refuse what is no input.

        Raises:
            ValueError: when ``x`` is not of shape [B, 6, H, W].
        """
        if x.ndim != 4 or x.shape[1] != 6:
            raise ValueError(f"The input must be of shape [B, 6, H, W], got {list(x.shape)}.")

    def normalised(self, x: Tensor) -> Tensor:
        """Return the image of an input, without mean and standard deviation, [B, 3, H, W]."""
        return (x[:, :3] - self.image_mean) / self.image_std

    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the whole answer in either mode.

        Args:
            x: [B, 6, H, W].
            return_features: also give named intermediate maps.
            auxiliary: also give the masks of earlier prediction points, where there are any.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict.")
