"""CUDA graphs: the kernels of a call recorded once and started together, for each shape of the input."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["GraphedCalls", "Recording"]

_WARM_UP = 3

Outputs = tuple[Tensor, ...]


class Recording:
    """One call as a CUDA graph, with the memory of its input and outputs.

    Args:
        function: [B, ...] -> tensors, which neither waits for the GPU nor copies from the CPU.
        x: an input of the shape to record, on a GPU.
    """

    def __init__(self, function: Callable[[Tensor], Outputs], x: Tensor) -> None:
        with torch.cuda.device(x.device), torch.no_grad():
            self._input = x.clone()
            side, current = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    function(self._input)
            current.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile, so only this one is watched for what cannot be recorded.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outputs = function(self._input)
            self._done = torch.cuda.Event()
            self._done.record()

    def __call__(self, x: Tensor) -> Outputs:
        """Return the outputs for an input of the recorded shape, on memory of their own."""
        with torch.cuda.device(x.device), torch.no_grad():
            torch.cuda.current_stream().wait_event(self._done)
            self._input.copy_(x)
            self._graph.replay()
            outputs = tuple(output.clone() for output in self._outputs)
            self._done.record()
            return outputs


class GraphedCalls:
    """Records a function at the first input of each shape and replays it from then on; threads take turns.

    Args:
        function: what is recorded.
        limit: most recordings that are kept; each holds the memory of a whole call. The one unused for longest goes.
        record: makes a recording of a function and an input.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Outputs],
        *,
        limit: int = 8,
        record: Callable[[Callable[[Tensor], Outputs], Tensor], Callable[[Tensor], Outputs]] = Recording,
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}.")
        self._function, self._limit, self._record = function, limit, record
        self._recordings: OrderedDict[tuple[int, ...], Callable[[Tensor], Outputs]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes with a recording, the one used last at the end."""
        return list(self._recordings)

    def __call__(self, x: Tensor) -> Outputs:
        """Return the function's outputs for ``x``, on memory of their own."""
        shape = tuple(x.shape)
        with self._lock:
            if shape not in self._recordings:
                while len(self._recordings) >= self._limit:
                    self._recordings.popitem(last=False)
                self._recordings[shape] = self._record(self._function, x)
            self._recordings.move_to_end(shape)
            return self._recordings[shape](x)
