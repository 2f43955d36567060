"""Losses: the adaptive focal loss, the losses it is compared with, and the mask-adaptive loss that trains a network."""

from __future__ import annotations

from adaptiveclick_med.losses.adaptive_focal import AdaptiveFocalLoss
from adaptiveclick_med.losses.base import MaskLoss
from adaptiveclick_med.losses.distillation import DistillationLoss
from adaptiveclick_med.losses.family import (
    LOSSES,
    BalancedCrossEntropyLoss,
    BinaryCrossEntropyLoss,
    FocalLoss,
    NormalizedFocalLoss,
    PolyLoss,
    WeightedCrossEntropyLoss,
    get_loss,
)
from adaptiveclick_med.losses.mask_adaptive import MaskAdaptiveLoss
from adaptiveclick_med.losses.matching import match_candidates
from adaptiveclick_med.losses.overlap import DiceLoss, SoftIoULoss

__all__ = [
    "LOSSES",
    "AdaptiveFocalLoss",
    "BalancedCrossEntropyLoss",
    "BinaryCrossEntropyLoss",
    "DiceLoss",
    "DistillationLoss",
    "FocalLoss",
    "MaskAdaptiveLoss",
    "MaskLoss",
    "NormalizedFocalLoss",
    "PolyLoss",
    "SoftIoULoss",
    "WeightedCrossEntropyLoss",
    "get_loss",
    "match_candidates",
]
