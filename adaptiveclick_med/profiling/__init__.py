"""What a network costs: parameters, FLOPs, memory, seconds a click (the paper, Table V), and memory of its training."""

from __future__ import annotations

from adaptiveclick_med.profiling.cost import REST, NetworkCost, PartCost
from adaptiveclick_med.profiling.measure import (
    count_flops,
    count_parameters,
    peak_memory,
    profile_network,
    seconds_per_click,
)
from adaptiveclick_med.profiling.training import (
    PRECISIONS,
    TrainingMemory,
    TrainingProfile,
    profile_training,
    training_memory,
)

__all__ = [
    "PRECISIONS",
    "REST",
    "NetworkCost",
    "PartCost",
    "TrainingMemory",
    "TrainingProfile",
    "count_flops",
    "count_parameters",
    "peak_memory",
    "profile_network",
    "profile_training",
    "seconds_per_click",
    "training_memory",
]
