"""Sessions without a network: what clicks alone, and the classical methods that start from them, give."""

from __future__ import annotations

from adaptiveclick_med.baselines.disk import DiskSession
from adaptiveclick_med.baselines.fast_marching import FastMarchingSession
from adaptiveclick_med.baselines.random_walker import RandomWalkerSession
from adaptiveclick_med.baselines.region_growing import RegionGrowingSession
from adaptiveclick_med.baselines.seeds import SeededSession

__all__ = ["DiskSession", "FastMarchingSession", "RandomWalkerSession", "RegionGrowingSession", "SeededSession"]
