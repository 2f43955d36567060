"""Long work that leaves the computer to those who click."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["NICENESS", "in_background"]

NICENESS = 10
"""Unix niceness of such work: it gets what others leave."""

Result = TypeVar("Result")


def in_background(work: Callable[[], Result]) -> Result:
    """Do long work in a thread of its own, with half of PyTorch's threads and, on Linux, at low priority.

    The caller waits; its own priority and threads are not touched, also when that is the server itself. On other
    systems only the threads are halved.

    Args:
        work: what is to be done.

    Returns:
        what ``work`` returns.

    Raises:
        Exception: whatever ``work`` raises.
    """
    threads = torch.get_num_threads()

    def make_way() -> None:
        torch.set_num_threads(max(1, threads // 2))
        if sys.platform == "linux":  # where each thread, and those it starts, have a priority of their own
            me = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, me, max(NICENESS, os.getpriority(os.PRIO_PROCESS, me)))

    try:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="background", initializer=make_way) as pool:
            return pool.submit(work).result()
    finally:
        torch.set_num_threads(threads)
