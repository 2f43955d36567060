"""What a network costs: parameters, FLOPs, memory and seconds a click (the paper, Table V)."""

from __future__ import annotations

from adaptiveclick_med.profiling.cost import REST, NetworkCost, PartCost
from adaptiveclick_med.profiling.measure import (
    count_flops,
    count_parameters,
    peak_memory,
    profile_network,
    seconds_per_click,
)

__all__ = [
    "REST",
    "NetworkCost",
    "PartCost",
    "count_flops",
    "count_parameters",
    "peak_memory",
    "profile_network",
    "seconds_per_click",
]
