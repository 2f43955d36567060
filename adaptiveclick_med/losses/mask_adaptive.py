"""The loss that trains the network: matching, mask losses and click loss at every prediction point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import torch
import torch.nn.functional as F
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor
from torch.nn.modules.loss import _Loss

from adaptiveclick_med.candidates import combined_mask
from adaptiveclick_med.losses.adaptive_focal import AdaptiveFocalLoss
from adaptiveclick_med.losses.base import MaskLoss, full_precision
from adaptiveclick_med.losses.matching import assign, check_shapes, downsample_target, matching_cost
from adaptiveclick_med.losses.overlap import DiceLoss

if TYPE_CHECKING:
    from adaptiveclick_med.networks.output import AdaptiveClickOutput

__all__ = ["MaskAdaptiveLoss"]

_BLOCK_ELEMENTS = 2**24
"""Elements of the mask logits that are matched at one time; bounds the memory of the matching costs."""


class MaskAdaptiveLoss(_Loss):
    """The total loss of a network with candidate masks, with mask-adaptive matching.

    Lin et al., "AdaptiveClick: Click-Aware Transformer With Adaptive Focal Loss for Interactive Image Segmentation",
    IEEE Transactions on Neural Networks and Learning Systems, 2024, Eqs. 7, 21 and 22. At each prediction point of the
    decoder (the auxiliary ones, then the last) the Q candidates are matched anew with the targets at least cost
    ``lambda_click`` (-p_click) + ``lambda_afl`` AFL + ``lambda_dice`` Dice, and the loss of that point is

    ``lambda_mask`` (``lambda_afl`` AFL + ``lambda_dice`` Dice) + ``lambda_click`` CE.

    AFL and Dice are means over all matched pairs of the batch. CE is the cross-entropy of the click logits, where
    matched candidates are "click" and all others "unclick" with the weight ``unclick_weight``: a weighted mean over
    all candidates of the batch. The total is the sum over the prediction points.

    Targets are brought to the size of the candidates by the mean over the area of each new pixel: foreground where it
    is at least 0.5. A pixel of that size is ignored when more than half of its area is. A target without foreground
    at that size is matched with nothing: all candidates of its sample are "unclick", and it adds nothing to the mask
    losses. A sample of ignored pixels only says nothing of the clicks either, and adds nothing at all.

    The paper trains the candidates and the click head, not the sum of candidates that a session shows. Until the
    unmatched ones have learned to keep out, which takes long, they spoil that sum. ``lambda_combined`` (0 in the paper)
    adds the same mask losses of the sum of the last prediction point, with the union of the targets:
    ``lambda_combined`` (``lambda_afl`` AFL + ``lambda_dice`` Dice), over the samples with foreground.

    With one target a sample the host never waits for the device; with several, the matching runs on the host.

    Args:
        lambda_mask: weight of the mask losses, at least 0.
        lambda_afl: weight of ``mask_loss`` in cost and loss, at least 0.
        lambda_dice: weight of the Dice loss in cost and loss, at least 0.
        lambda_click: weight of the click probability in the cost and of the click loss, at least 0.
        unclick_weight: weight of "unclick" beside 1 for "click" in the cross-entropy, at least 0.
        mask_loss: the mask loss beside Dice; by default the adaptive focal loss. Its own ``ignore_value`` and
            ``reduction`` play no part here.
        ignore_value: target value of the pixels that count nowhere; ``None``: all count.
        deep_supervision: whether the auxiliary prediction points take part.
        lambda_combined: weight of the mask losses of the combined mask, at least 0.

    Shapes:
        output: mask_logits [B, Q, h, w], click_logits [B, Q, 2] ("unclick", "click"), auxiliary: pairs of the same.
        target: [B, T, H, W], any type, one object a channel: 1 object, 0 background, or ``ignore_value``.
        result: scalar.

    Raises:
        ValueError: when a weight is negative; in the call, when the output has no candidates, or a shape is wrong.
        TypeError: when ``mask_loss`` is no :class:`MaskLoss`.

    Example:
        >>> import torch
        >>> from adaptiveclick_med.networks.output import AdaptiveClickOutput
        >>> output = AdaptiveClickOutput(
        ...     logits=torch.zeros(1, 1, 8, 8),
        ...     mask_logits=torch.zeros(1, 10, 2, 2, requires_grad=True),
        ...     click_logits=torch.zeros(1, 10, 2, requires_grad=True),
        ... )
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[..., 4:] = 1
        >>> loss = MaskAdaptiveLoss()
        >>> total = loss(output, target)
        >>> total.backward()
        >>> sorted(loss.components(output, target))
        ['afl', 'click', 'dice', 'total']
    """

    def __init__(
        self,
        lambda_mask: float = 1.0,
        lambda_afl: float = 5.0,
        lambda_dice: float = 5.0,
        lambda_click: float = 2.0,
        unclick_weight: float = 0.1,
        mask_loss: Optional[MaskLoss] = None,
        ignore_value: Optional[float] = -1.0,
        deep_supervision: bool = True,
        lambda_combined: float = 0.0,
    ) -> None:
        super().__init__(reduction="mean")
        weights = {
            "lambda_mask": lambda_mask,
            "lambda_afl": lambda_afl,
            "lambda_dice": lambda_dice,
            "lambda_click": lambda_click,
            "unclick_weight": unclick_weight,
            "lambda_combined": lambda_combined,
        }
        for name, value in weights.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        if mask_loss is not None and not isinstance(mask_loss, MaskLoss):
            raise TypeError(
                f"mask_loss must be a MaskLoss of adaptiveclick_med.losses, got {type(mask_loss).__name__}."
            )
        self.lambda_mask = float(lambda_mask)
        self.lambda_afl = float(lambda_afl)
        self.lambda_dice = float(lambda_dice)
        self.lambda_click = float(lambda_click)
        self.unclick_weight = float(unclick_weight)
        self.lambda_combined = float(lambda_combined)
        self.mask_loss = AdaptiveFocalLoss() if mask_loss is None else mask_loss
        self.dice_loss = DiceLoss()
        self.ignore_value = ignore_value
        self.deep_supervision = deep_supervision

    def forward(self, output: AdaptiveClickOutput, target: Tensor) -> Tensor:
        """Compute the total loss.

        Args:
            output: what the network gives in training; see the class.
            target: [B, T, H, W]; see the class.

        Returns:
            A scalar.

        Raises:
            ValueError: when the output has no candidates, or a shape is wrong.
        """
        return self.components(output, target)["total"]

    def components(self, output: AdaptiveClickOutput, target: Tensor) -> dict[str, Tensor]:
        """Compute the total loss and its parts, for logging.

        Args:
            output: what the network gives in training; see the class.
            target: [B, T, H, W]; see the class.

        Returns:
            Scalars, all with gradients: ``"afl"`` (whatever ``mask_loss`` is), ``"dice"`` and ``"click"``, each summed
            over the prediction points and unweighted, and ``"total"``, which is ``lambda_mask`` (``lambda_afl`` afl +
            ``lambda_dice`` dice) + ``lambda_click`` click. Where ``lambda_combined`` is above 0 also ``"combined"``,
            ``lambda_afl`` AFL + ``lambda_dice`` Dice of the combined mask, which is in the total times that weight.

        Raises:
            ValueError: when the output has no candidates, or a shape is wrong.
        """
        if isinstance(output, Tensor) or output.mask_logits is None or output.click_logits is None:
            raise ValueError("output must have mask_logits and click_logits; a plain head gives none.")
        points = [(output.mask_logits, output.click_logits)]
        if self.deep_supervision:
            points = [*output.auxiliary, *points]
        for mask_logits, click_logits in points:
            check_shapes(mask_logits, click_logits, target)
            if mask_logits.shape != output.mask_logits.shape:
                raise ValueError(
                    f"auxiliary mask logits must be of the shape of mask_logits {list(output.mask_logits.shape)}, "
                    f"got {list(mask_logits.shape)}."
                )
        batch, _, height, width = output.mask_logits.shape
        truth, valid = downsample_target(convert_to_tensor(target), (height, width), self.ignore_value)
        matched = self._match(points, truth, valid)

        masks = torch.cat(
            [
                full_precision(mask_logits.gather(1, index.clamp(min=0)[..., None, None].expand(-1, -1, height, width)))
                for (mask_logits, _), index in zip(points, matched.split(batch), strict=True)
            ]
        )
        truths, valids = _repeat(truth, len(points)), _repeat(valid, len(points))
        pairs = matched >= 0
        afl = self._over_pairs(self.mask_loss.per_mask(masks, truths, valids), pairs, len(points))
        dice = self._over_pairs(self.dice_loss.per_mask(masks, truths, valids), pairs, len(points))
        clicks = torch.cat([full_precision(click_logits) for _, click_logits in points])
        click = self._click_loss(clicks, matched, valids, len(points))
        total = self.lambda_mask * (self.lambda_afl * afl + self.lambda_dice * dice) + self.lambda_click * click
        parts = {"total": total, "afl": afl, "dice": dice, "click": click}
        if self.lambda_combined:
            parts["combined"] = self._combined_loss(*points[-1], truth, valid)
            parts["total"] = total + self.lambda_combined * parts["combined"]
        return parts

    def _combined_loss(self, mask_logits: Tensor, click_logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """Mask losses of the sum of candidates weighted by their click probability, with the union of the targets."""
        combined = combined_mask(full_precision(mask_logits), full_precision(click_logits))
        union, counted = truth.any(1, keepdim=True), valid.all(1, keepdim=True)
        present = (union & counted).flatten(2).any(2)
        afl = self._over_pairs(self.mask_loss.per_mask(combined, union, counted), present, 1)
        dice = self._over_pairs(self.dice_loss.per_mask(combined, union, counted), present, 1)
        return self.lambda_afl * afl + self.lambda_dice * dice

    @torch.no_grad()
    def _match(self, points: list[tuple[Tensor, Tensor]], truth: Tensor, valid: Tensor) -> Tensor:
        """Match at every prediction point, [P * B, T] with -1 for none; several points at once as memory allows."""
        together = max(1, _BLOCK_ELEMENTS // max(1, points[0][0].numel()))
        costs = []
        for start in range(0, len(points), together):
            block = points[start : start + together]
            costs.append(
                matching_cost(
                    torch.cat([full_precision(mask_logits) for mask_logits, _ in block]),
                    torch.cat([full_precision(click_logits) for _, click_logits in block]),
                    _repeat(truth, len(block)),
                    _repeat(valid, len(block)),
                    mask_loss=self.mask_loss,
                    lambda_afl=self.lambda_afl,
                    lambda_dice=self.lambda_dice,
                    lambda_click=self.lambda_click,
                )
            )
        return assign(torch.cat(costs), _repeat(truth.flatten(2).any(2), len(points)))

    @staticmethod
    def _over_pairs(values: Tensor, pairs: Tensor, points: int) -> Tensor:
        """Mean over the matched pairs of each prediction point, 0 where there are none, summed over the points."""
        total = values.masked_fill(~pairs, 0.0).reshape(points, -1).sum(1)
        return (total / pairs.reshape(points, -1).sum(1).clamp(min=1)).sum()

    def _click_loss(self, click_logits: Tensor, matched: Tensor, valid: Tensor, points: int) -> Tensor:
        """Weighted mean of the cross-entropy at each prediction point, summed over the points."""
        queries = click_logits.shape[1]
        # A place more than there are candidates takes the targets without one.
        clicked = matched.new_zeros((matched.shape[0], queries + 1))
        clicked = clicked.scatter(1, matched.masked_fill(matched < 0, queries), 1)[:, :queries]
        entropy = F.cross_entropy(click_logits.flatten(0, 1), clicked.flatten(), reduction="none")
        weight = clicked.to(entropy.dtype).masked_fill(clicked == 0, self.unclick_weight)
        weight = (weight * valid.flatten(1).any(1, keepdim=True)).reshape(points, -1)
        total = (weight * entropy.reshape(points, -1)).sum(1)
        return (total / weight.sum(1).clamp(min=torch.finfo(weight.dtype).tiny)).sum()


def _repeat(tensor: Tensor, points: int) -> Tensor:
    """Repeat [B, ...] for every prediction point, [P * B, ...] with the points outermost."""
    return tensor.repeat(points, *[1] * (tensor.ndim - 1))
