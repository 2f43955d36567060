"""Training and validation on MONAI's engines."""

from __future__ import annotations

from adaptiveclick_med.engines.distillation import DistilledLoss, DistilledUpdate, Teacher
from adaptiveclick_med.engines.evaluator import ClickEvaluator, NumberOfClicksHandler, ResultsWriter, RobotUserUpdate
from adaptiveclick_med.engines.handlers import (
    BestWeights,
    EpochSetter,
    GradientClipper,
    ImagePanels,
    LossLogger,
    ResumableCheckpoints,
    StopOnNan,
    TrainingProgress,
)
from adaptiveclick_med.engines.interactive import InteractiveUpdate, is_step, network_input, unwrapped
from adaptiveclick_med.engines.segmenter import ClicksUpdate

__all__ = [
    "BestWeights",
    "ClickEvaluator",
    "ClicksUpdate",
    "DistilledLoss",
    "DistilledUpdate",
    "EpochSetter",
    "GradientClipper",
    "ImagePanels",
    "InteractiveUpdate",
    "LossLogger",
    "NumberOfClicksHandler",
    "ResultsWriter",
    "ResumableCheckpoints",
    "RobotUserUpdate",
    "StopOnNan",
    "Teacher",
    "TrainingProgress",
    "is_step",
    "network_input",
    "unwrapped",
]
