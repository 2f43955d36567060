"""Objects clicked by the robot user, and the clicks counted."""

from __future__ import annotations

from adaptiveclick_med.evaluation.choice import DataSetChoice, open_source, read_choices
from adaptiveclick_med.evaluation.compare import (
    Difference,
    PaperRow,
    bootstrap_interval,
    compare_results,
    paired_bootstrap,
    read_paper,
    read_results,
)
from adaptiveclick_med.evaluation.dataset import evaluate_dataset
from adaptiveclick_med.evaluation.journal import Journal
from adaptiveclick_med.evaluation.method import METHODS, Method, best_batch_size, mean_object_area
from adaptiveclick_med.evaluation.protocol import (
    ObjectRun,
    SampleResult,
    Session,
    evaluate_objects,
    evaluate_sample,
    object_runs,
    objects_of,
    run_together,
)
from adaptiveclick_med.evaluation.report import ranked_objects, write_report, write_summary
from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult, format_table
from adaptiveclick_med.evaluation.run import evaluate_choice, evaluate_choices, evaluate_source

__all__ = [
    "METHODS",
    "DataSetChoice",
    "Difference",
    "EvaluationResult",
    "Journal",
    "Method",
    "ObjectResult",
    "ObjectRun",
    "PaperRow",
    "SampleResult",
    "Session",
    "best_batch_size",
    "bootstrap_interval",
    "compare_results",
    "evaluate_choice",
    "evaluate_choices",
    "evaluate_dataset",
    "evaluate_objects",
    "evaluate_sample",
    "evaluate_source",
    "format_table",
    "mean_object_area",
    "object_runs",
    "objects_of",
    "open_source",
    "paired_bootstrap",
    "ranked_objects",
    "read_choices",
    "read_paper",
    "read_results",
    "run_together",
    "write_report",
    "write_summary",
]
