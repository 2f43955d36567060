"""Meters: which part of a network took how much of something, and how many bytes of tensors are alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adaptiveclick_med.profiling.cost import REST

__all__ = ["LiveTensors", "PartMeter"]


class PartMeter:
    """Divides what a meter reads among the top-level modules of a network, by hooks around their calls.

    What comes up between the start and the end of a module's call is the module's, everything else is :data:`REST`'s.
    Use it as a context manager around the network's calls, then look at ``values``.

    Args:
        network: whose modules.
        read: gives what has come up since it was called last.
        merge: makes one value of two readings of the same part.

    Attributes:
        values: the reading of each part.
    """

    def __init__(self, network: nn.Module, read: Callable[[], float], merge: Callable[[float, float], float]) -> None:
        self._children = dict(network.named_children())
        self._read, self._merge = read, merge
        self._hooks: list[Any] = []
        self.values: dict[str, float] = dict.fromkeys([*self._children, REST], 0)

    def _close(self, name: str, *_: object) -> None:
        self.values[name] = self._merge(self.values[name], self._read())

    def __enter__(self) -> PartMeter:
        for name, child in self._children.items():
            self._hooks.append(child.register_forward_pre_hook(partial(self._close, REST)))
            self._hooks.append(child.register_forward_hook(partial(self._close, name)))
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._close(REST)


class LiveTensors(TorchDispatchMode):
    """Follows the bytes of all tensors alive, from operator to operator, each storage counted once.

    Args:
        tensors: those that are there from the start.

    Attributes:
        bytes: bytes alive now.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.bytes = self._peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}
        for tensor in tensors:
            self._add(tensor)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            del self._alive[key]
            self.bytes -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.bytes += size
        self._peak = max(self._peak, self.bytes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return result

    def read(self) -> int:
        """Return the most bytes alive at a time since the last reading."""
        peak, self._peak = self._peak, self.bytes
        return peak
