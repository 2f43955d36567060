"""The loss that lets a small network learn from a larger one: its mask, its candidates, its clicks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.modules.loss import _Loss

from adaptiveclick_med.losses.base import full_precision, masked_mean

if TYPE_CHECKING:
    from adaptiveclick_med.networks.output import AdaptiveClickOutput

__all__ = ["DistillationLoss"]


class DistillationLoss(_Loss):
    """How far a student's answer is from a teacher's, 0 where both are the same.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015: the Kullback-Leibler divergence between the
    probabilities of the teacher and of the student, both softened by a temperature T, times T². Three parts:

    - *mask*: of the combined mask, pixel by pixel. Mean over the pixels of a sample, then over the samples.
    - *candidates*: of the candidate masks, likewise. Candidates have no common order and their numbers may differ, so
      those of both are paired one to one, where that gives the largest sum of p_click (overlap + ``click_match``
      q_click): p_click and q_click are the click probabilities of teacher and student, the overlap of two masks is
      (2 sum p q + 1) / (sum p² + sum q² + 1). Each pair counts by p_click: the sum over all pairs is divided by the
      sum of these weights, and at least by the number of samples, so that a teacher that believes in none of its
      candidates teaches little.
    - *click*: of ("unclick", "click") of the same pairs. A weighted mean: a pair counts by p_click +
      ``unclick_weight`` (1 - p_click).

    The total is ``lambda_mask`` mask + ``lambda_candidates`` candidates + ``lambda_click`` click. Where one of the two
    has no candidates, only the mask takes part. Pixels that do not count do so in no part, and a sample of such pixels
    only adds nothing. The teacher gets no gradient. The pairing runs on the host, once for the batch.

    Args:
        temperature: T, above 0.
        lambda_mask: weight of the mask part, at least 0.
        lambda_candidates: weight of the candidate part, at least 0.
        lambda_click: weight of the click part, at least 0.
        unclick_weight: weight of "unclick" beside 1 for "click" in the click part, at least 0.
        click_match: weight of the student's click probability beside the overlap in the pairing, at least 0.
        match_size: candidates are averaged down to this side in pixels for the pairing, at least 1.

    Shapes:
        student, teacher: logits [B, 1, H, W], mask_logits [B, Q, h, w], click_logits [B, Q, 2]. All but B may differ
        between the two: the teacher's masks are resized bilinearly to the student's.
        valid: [B, 1, H, W] of any size, boolean. A pixel of another size counts when at least half of its area does.
        result: scalar.

    Raises:
        ValueError: when an argument is out of range; in the call, when a shape is wrong.
        TypeError: in the call, when ``valid`` is not boolean.

    Example:
        >>> import torch
        >>> from adaptiveclick_med.networks.output import AdaptiveClickOutput
        >>> student = AdaptiveClickOutput(torch.zeros(1, 1, 4, 4, requires_grad=True))
        >>> teacher = AdaptiveClickOutput(torch.full((1, 1, 4, 4), 2.0))
        >>> loss = DistillationLoss(lambda_mask=1.0)
        >>> round(loss(student, teacher).item(), 4)
        0.3278
        >>> loss(teacher, teacher).item()
        0.0
    """

    def __init__(
        self,
        temperature: float = 1.0,
        lambda_mask: float = 5.0,
        lambda_candidates: float = 5.0,
        lambda_click: float = 2.0,
        unclick_weight: float = 0.1,
        click_match: float = 0.4,
        match_size: int = 32,
    ) -> None:
        super().__init__(reduction="mean")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite, got {temperature}.")
        weights = {
            "lambda_mask": lambda_mask,
            "lambda_candidates": lambda_candidates,
            "lambda_click": lambda_click,
            "unclick_weight": unclick_weight,
            "click_match": click_match,
        }
        for name, value in weights.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        if match_size < 1:
            raise ValueError(f"match_size must be at least 1, got {match_size}.")
        self.temperature = float(temperature)
        self.lambda_mask = float(lambda_mask)
        self.lambda_candidates = float(lambda_candidates)
        self.lambda_click = float(lambda_click)
        self.unclick_weight = float(unclick_weight)
        self.click_match = float(click_match)
        self.match_size = int(match_size)

    def forward(
        self, student: AdaptiveClickOutput, teacher: AdaptiveClickOutput, valid: Optional[Tensor] = None
    ) -> Tensor:
        """Compute the loss; see :meth:`components`."""
        return self.components(student, teacher, valid)["total"]

    def components(
        self, student: AdaptiveClickOutput, teacher: AdaptiveClickOutput, valid: Optional[Tensor] = None
    ) -> dict[str, Tensor]:
        """Compute the loss and its parts.

        Args:
            student: what the student answered; see the class.
            teacher: what the teacher answered to the same input.
            valid: the pixels that count, see the class; ``None``: all.

        Returns:
            Scalars ``total``, and ``mask``, ``candidates`` and ``click`` before their weights.

        Raises:
            ValueError: when a shape is wrong.
            TypeError: when ``valid`` is not boolean.
        """
        _check(student, teacher, valid)
        mask = self._mask(student.logits, teacher.logits.detach(), valid)
        candidates, click = mask.new_zeros(()), mask.new_zeros(())
        if (
            student.mask_logits is not None
            and student.click_logits is not None
            and teacher.mask_logits is not None
            and teacher.click_logits is not None
        ):
            candidates, click = self._candidates(
                (full_precision(student.mask_logits), full_precision(student.click_logits)),
                (full_precision(teacher.mask_logits.detach()), full_precision(teacher.click_logits.detach())),
                valid,
            )
        total = self.lambda_mask * mask + self.lambda_candidates * candidates + self.lambda_click * click
        return {"total": total, "mask": mask, "candidates": candidates, "click": click}

    def _mask(self, student: Tensor, teacher: Tensor, valid: Optional[Tensor]) -> Tensor:
        student, teacher = full_precision(student), full_precision(teacher)
        if teacher.shape[2:] != student.shape[2:]:
            # As the networks and the sessions resize combined masks.
            teacher = F.interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=True)
        counts = _resized_valid(valid, student)
        present = counts.flatten(1).any(1)
        divergence = masked_mean(self._pixels(student, teacher).flatten(2), counts.flatten(2))
        return divergence.sum() / present.sum().clamp(min=1)

    def _candidates(
        self, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], valid: Optional[Tensor]
    ) -> tuple[Tensor, Tensor]:
        (masks, clicks), (teacher_masks, teacher_clicks) = student, teacher
        if teacher_masks.shape[2:] != masks.shape[2:]:
            teacher_masks = F.interpolate(teacher_masks, masks.shape[2:], mode="bilinear", align_corners=False)
        counts = _resized_valid(valid, masks)
        present = counts.flatten(1).any(1).to(masks.dtype)
        own, theirs = self._pairs(masks, clicks, teacher_masks, teacher_clicks, counts)
        masks, clicks = _taken(masks, own), _taken(clicks, own)
        teacher_masks, teacher_clicks = _taken(teacher_masks, theirs), _taken(teacher_clicks, theirs)

        confidence = teacher_clicks.softmax(-1)[..., 1]
        divergence = masked_mean(self._pixels(masks, teacher_masks).flatten(2), counts.flatten(2))
        weight = confidence * present[:, None]
        candidates = (weight * divergence).sum() / torch.maximum(weight.sum(), present.sum().clamp(min=1.0))

        weight = (confidence + self.unclick_weight * (1.0 - confidence)) * present[:, None]
        scaled, target = (x.div(self.temperature).log_softmax(-1) for x in (clicks, teacher_clicks))
        divergence = F.kl_div(scaled, target, reduction="none", log_target=True).sum(-1) * self.temperature**2
        click = (weight * divergence).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        return candidates, click

    def _pixels(self, student: Tensor, teacher: Tensor) -> Tensor:
        """T² KL(teacher || student) of each pixel, from logits of one shape."""
        scaled, target = student / self.temperature, teacher / self.temperature
        probability = target.sigmoid()
        cross = F.binary_cross_entropy_with_logits(scaled, probability, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(target, probability, reduction="none")
        return (cross - entropy) * self.temperature**2

    @torch.no_grad()
    def _pairs(
        self, masks: Tensor, clicks: Tensor, teacher_masks: Tensor, teacher_clicks: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pair candidates: those of the student and those of the teacher, [B, min(Q, Q')] each, int64."""
        size = (min(self.match_size, masks.shape[2]), min(self.match_size, masks.shape[3]))
        own, theirs = (
            F.adaptive_avg_pool2d(logits.sigmoid() * valid, size).flatten(2) for logits in (masks, teacher_masks)
        )
        squares = own.square().sum(2)[:, :, None] + theirs.square().sum(2)[:, None]
        with torch.autocast(own.device.type, enabled=False):
            overlap = (2.0 * own @ theirs.transpose(1, 2) + 1.0) / (squares + 1.0)
        q_click, p_click = (logits.softmax(-1)[..., 1] for logits in (clicks, teacher_clicks))
        gain = p_click[:, None] * (overlap + self.click_match * q_click[:, :, None])
        gains = gain.double().nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
        pairs = [linear_sum_assignment(each, maximize=True) for each in gains]
        rows, columns = (torch.tensor([pair[side].tolist() for pair in pairs]) for side in (0, 1))
        return rows.to(gain.device), columns.to(gain.device)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """[B, Q, ...] and [B, K] -> [B, K, ...]."""
    places = index.reshape(*index.shape, *[1] * (values.ndim - 2))
    return values.gather(1, places.expand(*index.shape, *values.shape[2:]))


def _resized_valid(valid: Optional[Tensor], like: Tensor) -> Tensor:
    """Bring the pixels that count to the size of [B, C, h, w], as [B, 1, h, w], boolean."""
    if valid is None:
        return like.new_ones((like.shape[0], 1, *like.shape[2:]), dtype=torch.bool)
    if valid.shape[2:] == like.shape[2:]:
        return valid
    return F.interpolate(valid.float(), like.shape[2:], mode="area") >= 0.5


def _check(student: AdaptiveClickOutput, teacher: AdaptiveClickOutput, valid: Optional[Tensor]) -> None:
    batch = student.logits.shape[0]
    for name, output in (("student", student), ("teacher", teacher)):
        logits, masks, clicks = output.logits, output.mask_logits, output.click_logits
        if logits.ndim != 4 or logits.shape[:2] != (batch, 1):
            raise ValueError(f"{name}.logits must be of shape [{batch}, 1, H, W], got {list(logits.shape)}.")
        if masks is None or clicks is None:
            continue
        if masks.ndim != 4 or masks.shape[0] != batch or masks.shape[1] < 1:
            raise ValueError(f"{name}.mask_logits must be of shape [{batch}, Q, h, w], got {list(masks.shape)}.")
        if clicks.shape != (batch, masks.shape[1], 2):
            raise ValueError(
                f"{name}.click_logits must be of shape {[batch, masks.shape[1], 2]}, got {list(clicks.shape)}."
            )
    if valid is None:
        return
    if valid.dtype != torch.bool:
        raise TypeError(f"valid must be boolean, got {valid.dtype}.")
    if valid.ndim != 4 or valid.shape[:2] != (batch, 1):
        raise ValueError(f"valid must be of shape [{batch}, 1, H, W], got {list(valid.shape)}.")
