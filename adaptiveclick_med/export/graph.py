"""What is exported of a network: one tensor in, a plain tuple of tensors out; and inputs to try it with."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptiveclick_med.clicks import Click, click_maps, points_tensor
from adaptiveclick_med.networks import ClickNetwork

__all__ = ["ExportableNetwork", "example_input", "quiet"]


class ExportableNetwork(nn.Module):
    """A network's ``predict`` with a tuple in the place of its output type, on a copy of the network on the CPU.

    Args:
        network: in evaluation mode; it is not changed.
    """

    def __init__(self, network: ClickNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval().requires_grad_(False)

    def forward(self, image_mask_clicks: Tensor) -> tuple[Tensor, ...]:
        """Return (logits,) or (logits, mask_logits, click_logits) for [B, 6, H, W]."""
        output = self.network.predict(image_mask_clicks, auxiliary=False)
        if output.mask_logits is None or output.click_logits is None:
            return (output.logits,)
        return output.logits, output.mask_logits, output.click_logits


def example_input(image_size: tuple[int, int], batch: int = 2, *, seed: int = 0) -> Tensor:
    """Return an input such as a session makes: smooth random images, clicks of both signs, previous masks.

    Every second sample is that of a first click: it has no previous mask and no negative click.

    Args:
        image_size: (height, width) in pixels.
        batch: number of samples B.
        seed: of the random numbers.

    Returns:
        [B, 6, H, W] float32.
    """
    height, width = image_size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch, 4, 6, 6), generator=generator)
    smooth = F.interpolate(coarse, image_size, mode="bicubic", align_corners=False)
    image = smooth[:, :3] + 0.05 * torch.randn((batch, 3, height, width), generator=generator)
    previous = (12.0 * (smooth[:, 3:] - 0.5)).sigmoid()
    previous[::2] = 0.0
    places = torch.rand((batch, 3, 2), generator=generator) * torch.tensor([height - 1.0, width - 1.0])
    clicks = [
        [Click(row, column, positive) for (row, column), positive in zip(each, (True, False, True), strict=True)]
        for each in places.tolist()
    ]
    clicks = [each if index % 2 else each[:1] for index, each in enumerate(clicks)]
    return torch.cat([image.clamp(0, 1), previous, click_maps(points_tensor(clicks), image_size)], dim=1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the converters' warnings about a fixed size, which is meant, and their reports of progress away."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
