"""Training a small network with a larger one as its teacher."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines import SupervisedTrainer
from torch import Tensor
from torch.nn.modules.loss import _Loss

from adaptiveclick_med.engines.interactive import InteractiveUpdate, network_input
from adaptiveclick_med.losses.distillation import DistillationLoss
from adaptiveclick_med.networks import AdaptiveClickOutput
from adaptiveclick_med.weights import load_network

__all__ = ["DistilledLoss", "DistilledUpdate", "Teacher"]


class Teacher:
    """A trained network that answers to what a student sees; it never learns.

    It sees the student's pixels. Where their number is no multiple of its patch, they are padded below and to the
    right as in a session, and its answer is cut. With ``image_size`` they are resized instead, and clicks are drawn
    anew at that size, as a session does with a crop.

    Args:
        weights: a file for :func:`adaptiveclick_med.weights.load_network`.
        image_size: side in pixels of what it sees; ``None``: as the student.
        device: where it shall live.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when ``weights`` is ``None`` or cannot be read, or ``image_size`` is no multiple of its patch.
    """

    def __init__(
        self,
        weights: str | Path | None,
        *,
        image_size: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not weights:
            raise ValueError("A distillation needs a teacher: the file of a trained network, got none.")
        self.path = Path(weights)
        self.network = load_network(self.path, device=device).eval().requires_grad_(False)
        patch = self.network.patch_size
        if image_size is not None and (image_size < patch or image_size % patch):
            raise ValueError(f"image_size of the teacher must be a multiple of its patch of {patch}, got {image_size}.")
        self.image_size = image_size

    @property
    def facts(self) -> dict[str, Any]:
        """Who taught, as plain JSON values: ``weights`` (path), ``sha256`` of the file, ``network``, ``image_size``."""
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            for block in iter(lambda: file.read(2**20), b""):
                found.update(block)
        name = type(self.network).__name__
        return {
            "weights": str(self.path),
            "sha256": found.hexdigest(),
            "network": name,
            "image_size": self.image_size,
        }

    @torch.no_grad()
    def answer(self, image: Tensor, previous: Tensor, points: Tensor, *, radius: float = 5.0) -> AdaptiveClickOutput:
        """Answer to an image, a previous mask and clicks.

        Args:
            image: [B, 3, H, W] in [0, 1].
            previous: [B, 1, H, W], probabilities of the student's preceding prediction.
            points: [B, 2N, 3] of (row, column, order), the first N positive, padding -1.
            radius: radius of the click disks in pixels.

        Returns:
            Logits and candidates of the area of ``image``; logits [B, 1, H, W], or of ``image_size``.
        """
        height, width = int(image.shape[-2]), int(image.shape[-1])
        if self.image_size is not None and (height, width) != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            image, previous = (
                F.interpolate(tensor, size, mode="bilinear", align_corners=True) for tensor in (image, previous)
            )
            scale = points.new_tensor([size[0] / height, size[1] / width, 1.0])
            points = torch.where((points[..., :2] >= 0).any(-1, keepdim=True), points * scale, points)
            height, width = size
        x = network_input(image, previous, points, radius=radius)
        patch = self.network.patch_size
        x = F.pad(x, (0, -width % patch, 0, -height % patch))
        output = self.network.predict(x, auxiliary=False)
        if x.shape[-2:] == (height, width):
            return output
        masks = output.mask_logits
        if masks is not None:
            masks = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=False)[..., :height, :width]
        return AdaptiveClickOutput(output.logits[..., :height, :width], masks, output.click_logits)


class DistilledLoss(_Loss):
    """The loss of a training and, beside it, the distance from a teacher's answer: for ``loss_function`` of a trainer.

    :class:`DistilledUpdate` tells it what the teacher answered to the batch.

    Attributes:
        lesson: what the teacher answered last.

    Args:
        supervised: the loss of a network's answer and its target.
        distillation: the distance of two answers; by default :class:`DistillationLoss`.
        weight: of ``distillation``, at least 0.
        ignore_value: target value of the pixels that count nowhere; ``None``: all count.

    Raises:
        ValueError: when ``weight`` is negative.
    """

    def __init__(
        self,
        supervised: torch.nn.Module,
        distillation: DistillationLoss | None = None,
        weight: float = 1.0,
        ignore_value: float | None = -1.0,
    ) -> None:
        super().__init__(reduction="mean")
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, got {weight}.")
        self.supervised = supervised
        self.distillation = DistillationLoss() if distillation is None else distillation
        self.weight = float(weight)
        self.ignore_value = ignore_value
        self.lesson: AdaptiveClickOutput | None = None

    def teach(self, answer: AdaptiveClickOutput) -> None:
        """Keep what the teacher answered to the batch whose loss is asked for next."""
        self.lesson = answer

    def forward(self, output: AdaptiveClickOutput | Tensor, target: Tensor) -> Tensor:
        """Compute ``supervised`` + ``weight`` x ``distillation``.

        Args:
            output: what the student answered; logits [B, 1, H, W] of a network without candidates also do.
            target: [B, T, H, W]; see ``supervised``. A pixel that one of its channels ignores counts in no part of
                the distillation.

        Returns:
            A scalar.

        Raises:
            RuntimeError: when no teacher's answer was given.
            ValueError: when it is of another batch, or a shape is wrong.
        """
        return self.supervised(output, target) + self.weight * self._distances(output, target)["total"]

    def components(self, output: AdaptiveClickOutput | Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the parts of the distillation, for logging beside those of ``supervised``.

        Args:
            output: see :meth:`forward`.
            target: see :meth:`forward`.

        Returns:
            Scalars ``distillation``, ``distillation_mask``, ``distillation_candidates``, ``distillation_click``.
        """
        parts = self._distances(output, target)
        return {"distillation" if name == "total" else f"distillation_{name}": part for name, part in parts.items()}

    def _distances(self, output: AdaptiveClickOutput | Tensor, target: Tensor) -> dict[str, Tensor]:
        if self.lesson is None:
            raise RuntimeError(
                "No teacher has answered to this batch; train with iteration_update=DistilledUpdate(teacher)."
            )
        student = AdaptiveClickOutput(output) if isinstance(output, Tensor) else output
        valid = None if self.ignore_value is None else (target != self.ignore_value).all(1, keepdim=True)
        return self.distillation.components(student, self.lesson, valid)


class DistilledUpdate(InteractiveUpdate):
    """One training step with simulated clicks in which a teacher answers to what the student sees.

    The teacher sees image, clicks and the student's own previous mask of the last prediction, in the mixed precision of
    the trainer, once a step. Clicks and samples are those of :class:`InteractiveUpdate`. The ``loss_function`` of the
    trainer is a :class:`DistilledLoss`. The teacher is no part of the student, its optimiser or its checkpoints; with
    several processes each has its own.

    Args:
        teacher: who teaches.
        max_rounds: most rounds of further clicks.
        threshold: probability above which a pixel belongs to the prediction.
        seed: of the clicks.
        radius: radius of the click disks in pixels.
    """

    def __init__(
        self,
        teacher: Teacher,
        max_rounds: int = 3,
        *,
        threshold: float = 0.49,
        seed: int = 0,
        radius: float = 5.0,
    ) -> None:
        super().__init__(max_rounds, threshold=threshold, seed=seed, radius=radius)
        self.teacher = teacher

    def before_step(self, engine: SupervisedTrainer, image: Tensor, previous: Tensor, points: Tensor) -> None:
        """Let the teacher answer and tell the loss.

        Raises:
            TypeError: when the trainer's loss is no :class:`DistilledLoss`.
        """
        loss = engine.loss_function
        if not isinstance(loss, DistilledLoss):
            raise TypeError(f"The loss_function of a distillation must be a DistilledLoss, got {type(loss).__name__}.")
        with torch.autocast(image.device.type, enabled=engine.amp, **engine.amp_kwargs):
            loss.teach(self.teacher.answer(image, previous, points, radius=self.radius))
