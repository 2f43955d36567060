"""Measure a network: count parameters and FLOPs, follow memory, time clicks."""

from __future__ import annotations

import operator
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.networks.click_network import as_size
from adaptiveclick_med.profiling.cost import REST, NetworkCost, PartCost
from adaptiveclick_med.profiling.meters import LiveTensors, PartMeter

__all__ = ["count_flops", "count_parameters", "peak_memory", "profile_network", "seconds_per_click"]

_SHARE_CLICKS = 5


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Return the number of parameters of each top-level module and of :data:`REST`; a shared one counts once."""
    counts: dict[str, int] = {}
    seen: set[int] = set()
    for name, module in [*network.named_children(), (REST, network)]:
        own = {id(parameter): parameter.numel() for parameter in module.parameters() if id(parameter) not in seen}
        counts[name] = sum(own.values())
        seen.update(own)
    return counts


@torch.no_grad()
def count_flops(network: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """Count the floating point operations of a forward pass, two for each multiply-add.

    The pass runs on PyTorch's meta device, so nothing is computed. Convolutions, linear layers, matrix products and
    attention count; bilinear sampling and resizing, normalisation, softmax, activations and sums do not.

    Args:
        network: a module in the mode in which it is to be counted. It stays as it is.
        shape: shape of its input.

    Returns:
        The count of each top-level module and of :data:`REST`.
    """
    state = {
        name: tensor.detach().to("meta") for name, tensor in [*network.named_parameters(), *network.named_buffers()]
    }
    counter, before = FlopCounterMode(display=False), 0

    def read() -> int:
        nonlocal before
        total = counter.get_total_flops()
        new, before = total - before, total
        return new

    # The counter knows the products of plain attention, but not every fused kernel.
    with sdpa_kernel(SDPBackend.MATH), counter, PartMeter(network, read, operator.add) as parts:
        functional_call(network, state, (torch.empty(tuple(shape), device="meta"),))
    return {name: int(value) for name, value in parts.values.items()}


@torch.no_grad()
def peak_memory(network: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """Measure the memory of a forward pass on the network's device; parameters, buffers and input included.

    On a GPU it is what ``torch.cuda.max_memory_allocated`` says. Elsewhere the bytes of all tensors alive are followed
    from operator to operator, each storage once: the same number in every run, without the operators' scratch space.

    Args:
        network: a module in the mode in which it is to be measured.
        shape: shape of its input.

    Returns:
        The most bytes while each top-level module works, and outside of them.
    """
    device = _device_of(network)
    x = torch.zeros(tuple(shape), device=device)
    with ExitStack() as stack:
        if device.type == "cuda":

            def read() -> int:
                peak = torch.cuda.max_memory_allocated(device)
                torch.cuda.reset_peak_memory_stats(device)
                return peak
        else:
            live = stack.enter_context(LiveTensors([*network.parameters(), *network.buffers(), x]))
            read = live.read
        parts = stack.enter_context(PartMeter(network, read, max))
        network(x)
    return {name: int(value) for name, value in parts.values.items()}


def seconds_per_click(
    network: ClickNetwork, image_size: int | Sequence[int], *, clicks: int = 20, seed: int = 0
) -> dict[str, float]:
    """Time the clicks of an :class:`InteractiveSession` on a random image; the first one only warms up.

    A session predicts on the image and its mirror image, a batch of two. Its own work, such as zooming in and drawing
    click maps, is part of :data:`REST`. The parts' shares come from a second run of at most five clicks, since waiting
    for the device around each part would slow the first one down.

    Args:
        network: in evaluation mode, on the device to be timed.
        image_size: side or (height, width) in pixels of the image and of the network's input.
        clicks: clicks of the session, at least 2.
        seed: of the image and of the clicks.

    Returns:
        Mean seconds of a click, divided among the top-level modules and :data:`REST`.

    Raises:
        ValueError: when there are too few clicks.
    """
    _check_clicks(clicks)
    height, width = as_size(image_size)
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    first, *others = [
        (int(random.integers(height)), int(random.integers(width)), number == 0 or bool(random.integers(2)))
        for number in range(clicks)
    ]
    session = InteractiveSession(network, (height, width), max_clicks=clicks)
    session.set_image(image)
    device, before = _device_of(network), 0.0

    def read() -> float:
        nonlocal before
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        passed, before = now - before, now
        return passed

    session.click(*first)
    read()
    for place in others:
        session.click(*place)
    mean = read() / len(others)
    session.reset()
    session.click(*first)
    with PartMeter(network, read, operator.add) as parts:
        for place in others[:_SHARE_CLICKS]:
            session.click(*place)
    scale = mean / sum(parts.values.values())
    return {name: scale * value for name, value in parts.values.items()}


def profile_network(
    network: ClickNetwork,
    image_size: int | Sequence[int] | None = None,
    *,
    clicks: int = 20,
    timed: bool = True,
    threads: int | None = None,
    seed: int = 0,
) -> NetworkCost:
    """Measure everything of Table V of the paper, on the device where the network is.

    Args:
        network: in evaluation mode.
        image_size: side or (height, width) in pixels of the network's input, a multiple of its patch; ``None``: the
            size it was built for.
        clicks: clicks of the session that is timed, at least 2.
        timed: whether to time clicks at all.
        threads: threads of PyTorch on the CPU; ``None``: as they are set.
        seed: of the session's image and clicks.

    Raises:
        ValueError: when an argument is out of range or the network is in training mode.
    """
    if network.training:
        raise ValueError("network must be in evaluation mode; call network.eval() first.")
    size = as_size(network.arguments["image_size"] if image_size is None else image_size)
    network.encoder.grid_of(*size)
    if timed:
        _check_clicks(clicks)
    device, shape = _device_of(network), (1, 6, *size)
    with _threads(threads):
        parameters, flops = count_parameters(network), count_flops(network, shape)
        memory = peak_memory(network, shape)
        seconds = seconds_per_click(network, size, clicks=clicks, seed=seed) if timed else {}
        facts: dict[str, Any] = {
            "network": type(network).__name__,
            "image_size": list(size),
            "device": _device_name(device),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "memory_method": "torch.cuda.max_memory_allocated" if device.type == "cuda" else "bytes of live tensors",
            "parameter_bytes": sum(t.nbytes for t in [*network.parameters(), *network.buffers()]),
        }
    if timed:
        facts["clicks"] = clicks
    return NetworkCost(
        {name: PartCost(parameters[name], flops[name], memory[name], seconds.get(name)) for name in parameters}, facts
    )


def _check_clicks(clicks: int) -> None:
    if clicks < 2:
        raise ValueError(f"clicks must be at least 2, since the first one is not timed, got {clicks}.")


def _device_of(network: nn.Module) -> torch.device:
    for parameter in network.parameters():
        return parameter.device
    return torch.device("cpu")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set PyTorch's threads for a while."""
    if count is not None and count < 1:
        raise ValueError(f"threads must be at least 1, got {count}.")
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
