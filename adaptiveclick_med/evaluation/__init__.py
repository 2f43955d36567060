"""Objects clicked by the robot user, and the clicks counted."""

from __future__ import annotations

from adaptiveclick_med.evaluation.protocol import (
    SampleResult,
    Session,
    evaluate_dataset,
    evaluate_objects,
    evaluate_sample,
    objects_of,
)
from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult, format_table
from adaptiveclick_med.evaluation.sources import METHODS, evaluate_source, mean_object_area, open_source

__all__ = [
    "METHODS",
    "EvaluationResult",
    "ObjectResult",
    "SampleResult",
    "Session",
    "evaluate_dataset",
    "evaluate_objects",
    "evaluate_sample",
    "evaluate_source",
    "format_table",
    "mean_object_area",
    "objects_of",
    "open_source",
]
