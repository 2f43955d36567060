"""Mask-adaptive matching: which candidate mask of a network stands for which target (Eq. 7 of the paper)."""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from monai.utils.type_conversion import convert_to_tensor
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from adaptiveclick_med.losses.adaptive_focal import AdaptiveFocalLoss
from adaptiveclick_med.losses.base import MaskLoss, full_precision
from adaptiveclick_med.losses.overlap import DiceLoss

__all__ = ["downsample_target", "match_candidates"]


def downsample_target(
    target: Tensor, size: tuple[int, int], ignore_value: Optional[float] = -1.0
) -> tuple[Tensor, Tensor]:
    """Bring targets to the size of the candidate masks, as binary masks.

    Each new pixel is the mean over its area, of the pixels that count: foreground where that is at least 0.5. A new
    pixel counts when at least half of its area does.

    Args:
        target: [B, T, H, W], any type: 1 object, 0 background, or ``ignore_value``.
        size: (height, width) of the result.
        ignore_value: value of the pixels that do not count; ``None``: all count.

    Returns:
        The targets, [B, T, h, w], boolean, ``False`` where a pixel does not count; and which pixels count, likewise.
    """
    valid = torch.ones_like(target, dtype=torch.bool) if ignore_value is None else target != ignore_value
    objects = target.float().masked_fill(~valid, 0.0)
    if tuple(target.shape[2:]) == tuple(size):
        return objects >= 0.5, valid
    share = F.interpolate(valid.float(), size, mode="area")
    small_valid = share >= 0.5
    return (2.0 * F.interpolate(objects, size, mode="area") >= share) & small_valid, small_valid


def matching_cost(
    mask_logits: Tensor,
    click_logits: Tensor,
    target: Tensor,
    valid: Tensor,
    mask_loss: MaskLoss,
    lambda_afl: float,
    lambda_dice: float,
    lambda_click: float,
) -> Tensor:
    """Compute the cost of every pair of a candidate and a target (Eq. 7), without gradient.

    Args:
        mask_logits: [B, Q, h, w], floating.
        click_logits: [B, Q, 2], floating; index 1 is "click".
        target: [B, T, h, w], boolean.
        valid: [B, T, h, w], boolean: the pixels that count.
        mask_loss: the mask loss beside Dice.
        lambda_afl: weight of ``mask_loss``.
        lambda_dice: weight of the Dice loss.
        lambda_click: weight of the probability of "click".

    Returns:
        [B, Q, T], floating.
    """
    dice = DiceLoss()
    masks = full_precision(mask_logits.detach())
    click = -lambda_click * full_precision(click_logits.detach()).softmax(-1)[..., 1]
    objects = target.to(masks.dtype)
    costs = []
    for index in range(target.shape[1]):
        truth, counts = objects[:, index : index + 1], valid[:, index : index + 1]
        costs.append(
            click
            + lambda_afl * mask_loss.per_mask(masks, truth, counts)
            + lambda_dice * dice.per_mask(masks, truth, counts)
        )
    return torch.stack(costs, -1)


def assign(cost: Tensor, present: Tensor) -> Tensor:
    """Match candidates and targets one to one at the least total cost.

    With one target the optimum is the cheapest candidate, found on the device and without waiting for it.

    Args:
        cost: [B, Q, T], floating.
        present: [B, T], boolean: the targets to match.

    Returns:
        [B, T], int64: the candidate of each target, -1 for a target that has none.
    """
    if cost.shape[2] == 1:
        return cost.argmin(1).masked_fill(~present, -1)
    costs = cost.double().nan_to_num(1e30, 1e30, -1e30).cpu().numpy()
    keep = present.cpu().numpy()
    matched = torch.full(present.shape, -1, dtype=torch.int64)
    for index in range(costs.shape[0]):
        targets = keep[index].nonzero()[0]
        candidates, columns = linear_sum_assignment(costs[index][:, targets])
        matched[index, targets[columns]] = torch.from_numpy(candidates)
    return matched.to(cost.device)


@torch.no_grad()
def match_candidates(
    mask_logits: Tensor,
    click_logits: Tensor,
    target: Tensor,
    *,
    mask_loss: Optional[MaskLoss] = None,
    lambda_afl: float = 5.0,
    lambda_dice: float = 5.0,
    lambda_click: float = 2.0,
    ignore_value: Optional[float] = -1.0,
) -> Tensor:
    """Match the candidate masks of one prediction point with the targets.

    AdaptiveClick (IEEE TNNLS 2024), Eq. 7. The cost of a pair is ``lambda_click`` (-p_click) + ``lambda_afl`` AFL +
    ``lambda_dice`` Dice, with p_click by softmax. Targets are first brought to the size of the candidates; one that
    has no foreground there is not matched.

    Args:
        mask_logits: [B, Q, h, w], floating, before the sigmoid.
        click_logits: [B, Q, 2], floating; index 0 is "unclick", index 1 "click".
        target: [B, T, H, W], any type, one object a channel: 1 object, 0 background, or ``ignore_value``.
        mask_loss: the mask loss beside Dice; by default the adaptive focal loss.
        lambda_afl: weight of ``mask_loss``.
        lambda_dice: weight of the Dice loss.
        lambda_click: weight of the probability of "click".
        ignore_value: value of the pixels that count nowhere; ``None``: all count.

    Returns:
        [B, T], int64: the candidate of each target, -1 for a target that has none (an empty one, or one of more
        targets than there are candidates).

    Raises:
        ValueError: when a tensor has another shape.

    Example:
        >>> import torch
        >>> masks = torch.tensor([[[[-9.0, -9.0]], [[9.0, -9.0]], [[9.0, 9.0]]]])  # three candidates of 1 x 2
        >>> match_candidates(masks, torch.zeros(1, 3, 2), torch.tensor([[[[1, 0]]]]))
        tensor([[1]])
    """
    check_shapes(mask_logits, click_logits, target)
    size = (mask_logits.shape[2], mask_logits.shape[3])
    target, valid = downsample_target(convert_to_tensor(target), size, ignore_value)
    cost = matching_cost(
        mask_logits,
        click_logits,
        target,
        valid,
        mask_loss=AdaptiveFocalLoss() if mask_loss is None else mask_loss,
        lambda_afl=lambda_afl,
        lambda_dice=lambda_dice,
        lambda_click=lambda_click,
    )
    return assign(cost, target.flatten(2).any(2))


def check_shapes(mask_logits: Tensor, click_logits: Tensor, target: Tensor) -> None:
    """Check that candidates and targets go together.

    Args:
        mask_logits: to be [B, Q, h, w].
        click_logits: to be [B, Q, 2].
        target: to be [B, T, H, W].

    Raises:
        ValueError: when a tensor has another shape.
    """
    if mask_logits.ndim != 4 or mask_logits.shape[1] < 1:
        raise ValueError(f"mask_logits must be of shape [B, Q, h, w], got {list(mask_logits.shape)}.")
    batch, queries = mask_logits.shape[:2]
    if tuple(click_logits.shape) != (batch, queries, 2):
        raise ValueError(f"click_logits must be of shape {[batch, queries, 2]}, got {list(click_logits.shape)}.")
    if target.ndim != 4 or target.shape[0] != batch or target.shape[1] < 1:
        raise ValueError(f"target must be of shape [{batch}, T, H, W], got {list(target.shape)}.")
