"""The two simulated users: the robot user of the evaluation and the user of the training."""

from __future__ import annotations

from adaptiveclick_med.simulation.robot import RobotUser
from adaptiveclick_med.simulation.training import (
    click_count_probabilities,
    inner_region,
    next_click_candidates,
    next_training_clicks,
    outer_border,
    sample_initial_clicks,
)

__all__ = [
    "RobotUser",
    "click_count_probabilities",
    "inner_region",
    "next_click_candidates",
    "next_training_clicks",
    "outer_border",
    "sample_initial_clicks",
]
