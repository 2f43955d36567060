"""How many clicks a mask needs: NoC, NoF and mean IoU after k clicks (the paper, Sec. IV-A)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["NumberOfClicks", "click_curve", "intersection_over_union"]


def intersection_over_union(prediction: ArrayLike, target: ArrayLike) -> float:
    """Return the intersection over union of two masks.

    Args:
        prediction: [H, W] boolean.
        target: [H, W]; 1 object, 0 background, -1 ignore. Ignored pixels count in neither intersection nor union.

    Returns:
        The ratio, 1 when both masks are empty.

    Raises:
        ValueError: when the shapes differ.
    """
    predicted, truth = np.asarray(prediction, dtype=bool), np.asarray(target)
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction and target differ in shape: {predicted.shape} and {truth.shape}.")
    valid, truth = truth >= 0, truth > 0
    union = np.count_nonzero((predicted | truth) & valid)
    return float(np.count_nonzero(predicted & truth & valid) / union) if union else 1.0


def click_curve(ious: Sequence[float], max_clicks: int) -> Tensor:
    """Return the IoU after 1 ... ``max_clicks`` clicks, [max_clicks]; after the last click it stays what it was.

    Raises:
        ValueError: when there is no IoU or there are more than ``max_clicks``.
    """
    if not 1 <= len(ious) <= max_clicks:
        raise ValueError(f"There must be 1 to {max_clicks} IoUs for an object, got {len(ious)}.")
    values = [float(value) for value in ious]
    return torch.tensor(values + values[-1:] * (max_clicks - len(values)), dtype=torch.float64)


class NumberOfClicks(CumulativeIterationMetric):
    """NoC, NoF and mean IoU over objects, as a MONAI cumulative metric.

    Call it with the IoUs of a batch of objects after each click, [B, max_clicks], or with a list of sequences of any
    length up to that. A row of NaN is no object and counts nowhere: with several ranks, one without any object adds
    it, because all must take part in gathering. :meth:`aggregate` gives, for every threshold t in percent:

    - ``NoC@t``: mean number of clicks until the IoU reaches t, ``max_clicks`` for an object that never does;
    - ``NoF@t``: how many objects never reach it;
    - ``>=K@t``: how many objects need ``max_clicks`` = K clicks or never reach it;
    - ``mIoU@k``: mean IoU after k clicks.

    Args:
        thresholds: IoUs to reach.
        max_clicks: clicks after which the user gives up.
        mean_iou_at: numbers of clicks for ``mIoU@k``; those above ``max_clicks`` are left out.

    Raises:
        ValueError: when a threshold lies outside (0, 1], or a number of clicks is below 1.

    Example:
        >>> metric = NumberOfClicks(thresholds=(0.9,), max_clicks=3, mean_iou_at=(1,))
        >>> _ = metric([[0.5, 0.95], [0.1, 0.2, 0.3]])
        >>> {name: round(value, 3) for name, value in metric.aggregate().items()}
        {'NoC@90': 2.5, 'NoF@90': 1.0, '>=3@90': 1.0, 'mIoU@1': 0.3}
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (0.85, 0.90),
        max_clicks: int = 20,
        mean_iou_at: Sequence[int] = (1, 3, 5, 10),
    ) -> None:
        super().__init__()
        if any(not 0 < threshold <= 1 for threshold in thresholds):
            raise ValueError(f"thresholds must lie in (0, 1], got {list(thresholds)}.")
        if min([max_clicks, *mean_iou_at]) < 1:
            raise ValueError(
                f"max_clicks and mean_iou_at must be at least 1, got {max_clicks} and {list(mean_iou_at)}."
            )
        self.thresholds = tuple(thresholds)
        self.max_clicks = max_clicks
        self.mean_iou_at = tuple(k for k in mean_iou_at if k <= max_clicks)

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        """Add a batch of objects.

        Args:
            y_pred: IoUs after each click, [B, max_clicks] or a list of sequences.
            y: unused, for MONAI.
            kwargs: unused, for MONAI.

        Returns:
            [B, max_clicks], the IoUs held after the last click.

        Raises:
            ValueError: when an object has no IoU or more than ``max_clicks``.
        """
        curves = torch.stack([click_curve([float(v) for v in ious], self.max_clicks) for ious in y_pred])
        return super().__call__(curves, y)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return y_pred

    def aggregate(self) -> dict[str, float]:
        """Return the numbers over all objects so far.

        Raises:
            ValueError: when there is none.
        """
        curves = self.get_buffer()
        curves = None if curves is None else curves[~curves.isnan().all(1)].double()
        if curves is None or len(curves) == 0:
            raise ValueError("No object was evaluated.")
        results: dict[str, float] = {}
        for threshold in self.thresholds:
            reached = curves >= threshold
            never = ~reached.any(1)
            clicks = torch.where(never, self.max_clicks, reached.int().argmax(1) + 1)
            name = f"{100 * threshold:g}"
            results[f"NoC@{name}"] = float(clicks.double().mean())
            results[f"NoF@{name}"] = float(never.sum())
            results[f">={self.max_clicks}@{name}"] = float((clicks == self.max_clicks).sum())
        for k in self.mean_iou_at:
            results[f"mIoU@{k}"] = float(curves[:, k - 1].mean())
        return results
