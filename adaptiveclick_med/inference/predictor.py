"""One call for every kind of network: crop, previous mask and points in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.inference.threads import map_on_cores
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickModel, ClickNetwork

__all__ = ["ClickPredictor", "mirrored_points"]


def mirrored_points(points: Tensor, width: int) -> Tensor:
    """Return points [B, 2N, 3] on the mirror image; a column becomes width - 1 - column, padding (order -1) stays."""
    mirrored = points.clone()
    real = points[..., 2] >= 0
    mirrored[..., 1] = torch.where(real, width - 1 - points[..., 1], points[..., 1])
    return mirrored


class ClickPredictor:
    """Calls a :class:`ClickModel`, or any callable, with crops.

    Args:
        network: a :class:`ClickModel`, or a callable (image [B, 3, h, w] in [0, 1], previous mask [B, 1, h, w], points
            [B, 2N, 3] in crop pixels) -> logits [B, 1, h', w'].
        flip: average the logits with those of the mirror image.
    """

    def __init__(self, network: ClickModel | Callable[..., Any], *, flip: bool = True) -> None:
        self.network = network
        self.flip = flip

    @property
    def patch_size(self) -> int:
        """Side of the network's patches in pixels, 1 for a callable."""
        return self.network.patch_size if isinstance(self.network, ClickModel) else 1

    @property
    def device(self) -> torch.device:
        """Where the network lives, the CPU for a callable without parameters."""
        if isinstance(self.network, ClickModel):
            return self.network.device
        if isinstance(self.network, torch.nn.Module):
            for parameter in self.network.parameters():
                return parameter.device
        return torch.device("cpu")

    @torch.no_grad()
    def __call__(self, image: Tensor, previous: Tensor, points: Tensor) -> tuple[Tensor, AdaptiveClickOutput | None]:
        """Predict.

        Args:
            image: [B, 3, h, w] in [0, 1].
            previous: [B, 1, h, w] probability of the preceding prediction, zeros at the first.
            points: [B, 2N, 3], (row, column, order) in crop pixels.

        Returns:
            Logits [B, 1, h, w] at the crop's size, averaged with the mirror image's where asked, and the candidates of
            the image as it is (``None`` for a network without), see :meth:`resized_masks`.

        Raises:
            RuntimeError: when the network is in training mode.
        """
        if isinstance(self.network, ClickModel) and self.network.training:
            raise RuntimeError("The network is in training mode; call network.eval() first.")
        if self._goes_on_cores(len(image)):
            parts = map_on_cores(
                lambda index: self._predict(image[index, None], previous[index, None], points[index, None]),
                range(len(image)),
            )
            return torch.cat([logits for logits, _ in parts]), _joined([candidates for _, candidates in parts])
        return self._predict(image, previous, points)

    def resized_masks(self, candidates: AdaptiveClickOutput, size: tuple[int, int]) -> Tensor:
        """Resize the candidates' mask logits bilinearly (align_corners), as the network does with the combined mask.

        The network sees a crop padded to whole patches; the padding is cut off after resizing.

        Args:
            candidates: what the call gave.
            size: (height, width) of the crop.

        Returns:
            [B, Q, height, width].

        Raises:
            ValueError: when there are no mask logits.
        """
        if candidates.mask_logits is None:
            raise ValueError("candidates must have mask logits, got None.")
        padded = [side + -side % self.patch_size for side in size]
        masks = F.interpolate(candidates.mask_logits, padded, mode="bilinear", align_corners=True)
        return masks[..., : size[0], : size[1]]

    def _goes_on_cores(self, batch: int) -> bool:
        """Tell whether each core answers for crops of its own: a batch gains nothing on a CPU."""
        return (
            batch >= torch.get_num_threads() > 1
            and isinstance(self.network, ClickNetwork)
            and self.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")  # other threads would not know
        )

    @torch.no_grad()
    def _predict(self, image: Tensor, previous: Tensor, points: Tensor) -> tuple[Tensor, AdaptiveClickOutput | None]:
        """Do as :meth:`__call__`, in one call of the network."""
        batch, width = image.shape[0], int(image.shape[-1])
        if self.flip:
            points = torch.cat([points, mirrored_points(points, width)])
        logits, candidates = self._run(image, previous, points)
        if logits.shape[-2:] != image.shape[-2:]:
            logits = F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=True)
        if self.flip:
            logits = 0.5 * (logits[:batch] + logits[batch:].flip(-1))
        if candidates is not None and candidates.mask_logits is not None and candidates.click_logits is not None:
            candidates = AdaptiveClickOutput(
                logits, candidates.mask_logits[:batch].float(), candidates.click_logits[:batch].float()
            )
        return logits.float(), candidates

    def _run(self, image: Tensor, previous: Tensor, points: Tensor) -> tuple[Tensor, AdaptiveClickOutput | None]:
        """Call the network, with ``flip`` for the mirror images too; points hold those of the mirror images already."""
        if not isinstance(self.network, ClickModel):
            if self.flip:
                image, previous = torch.cat([image, image.flip(-1)]), torch.cat([previous, previous.flip(-1)])
            return self.network(image, previous, points), None
        output = self.network.predict(self._input(image, previous, points), auxiliary=False)
        height, width = image.shape[-2:]
        candidates = output if output.mask_logits is not None else None
        return output.logits[..., :height, :width], candidates

    def _input(self, image: Tensor, previous: Tensor, points: Tensor) -> Tensor:
        """Return what a :class:`ClickModel` takes, padded to whole patches: [B, 6, H, W], with ``flip`` [2B, 6, H, W].

        It is made once and drawn into, instead of joined from parts, which are copied each time.
        """
        batch, _, height, width = image.shape
        down, right = -height % self.patch_size, -width % self.patch_size
        make = image.new_zeros if down or right else image.new_empty
        x = make((len(points), 6, height + down, width + right))
        inside = x[..., :height, :width]
        inside[:batch, :3], inside[:batch, 3:4] = image, previous
        if self.flip:
            inside[batch:, :4] = inside[:batch, :4].flip(-1)
        inside[:, 4:] = click_maps(points, (height, width))
        return x


def _joined(parts: list[AdaptiveClickOutput | None]) -> AdaptiveClickOutput | None:
    """Return the candidates of several batches as those of one, ``None`` where there are none."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    logits, masks, clicks = zip(*((part.logits, part.mask_logits, part.click_logits) for part in found), strict=True)
    return AdaptiveClickOutput(torch.cat(logits), torch.cat(masks), torch.cat(clicks))
