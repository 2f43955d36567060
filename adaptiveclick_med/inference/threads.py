"""Several calls of a network at once on the CPU, each on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["map_on_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_cores(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return ``function`` of each item, computed in as many threads as PyTorch has, each of which then has one.

    Threads that share one operation wait for each other after each of its hundreds of pieces; threads with items of
    their own do not. On cores that other programs use too, that is most of the time.

    Args:
        function: mostly PyTorch's operations, which let other threads run meanwhile. It is called in other threads, so
            it sets its own gradient mode.
        items: what it is called with.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # what threads that others start later have; this one's never changed
