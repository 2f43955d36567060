"""Roofline: multiply-adds, bytes and time of each part, and how close it comes to what the machine can do.

Bytes are those that the operators read and write, each tensor of each operator once, as if nothing stayed in a cache.
The bound of a part is the longer of two times: its multiply-adds at the rate of one large product of matrices, and its
bytes at the rate of one large copy. Both rates are measured here.
"""

from __future__ import annotations

import operator
import time
from typing import Any

import torch
from measuring import Report, Timing, options, side_by_side, start
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.profiling import count_flops
from adaptiveclick_med.profiling.meters import PartMeter


def main() -> None:
    parser = options(__doc__, repeats=7)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--image_size", type=int, default=448)
    parser.add_argument("--batch_size", type=int, default=1)
    arguments = start(parser)
    network = AdaptiveClick.from_preset(
        arguments.preset, image_size=arguments.image_size, pixel_decoder_layers=4
    ).eval()
    x = torch.rand(arguments.batch_size, 6, arguments.image_size, arguments.image_size)
    with torch.no_grad():
        bytes_moved, flops = count(network, x)
        seconds = times(network, x, arguments.repeats)
        rate, bandwidth = peaks()
    report = Report(f"{arguments.preset}, {arguments.image_size} pixels, batch {len(x)}, float32")
    report.add("rate of a large product", rate / 1e9, "GMAC/s")
    report.add("rate of a large copy, read and written", bandwidth / 1e9, "GB/s")
    for name, timing in seconds.items():
        multiply_adds, moved = flops[name] / 2, bytes_moved[name]
        bound = max(multiply_adds / rate, moved / bandwidth)
        report.seconds(f"{name}: time", timing)
        report.add(f"{name}: multiply-adds", multiply_adds / 1e9, "G")
        report.add(f"{name}: bytes", moved / 2**20, "MiB")
        report.add(f"{name}: multiply-adds a byte", multiply_adds / max(moved, 1), "")
        report.add(f"{name}: bound / time", bound / timing.median, "x")
    report.print(arguments.json)


class BytesMoved(TorchDispatchMode):
    """Adds up the bytes of the tensors that operators read and write; views cost nothing."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns):
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
            self.total += sum(min(each.nbytes, each.untyped_storage().nbytes()) for each in tensors)
        return result


def count(network: AdaptiveClick, x: torch.Tensor) -> tuple[dict[str, float], dict[str, float]]:
    with BytesMoved() as moved, PartMeter(network, since(lambda: moved.total), operator.add) as parts:
        network(x)
    return parts.values, dict(count_flops(network, x.shape))


def times(network: AdaptiveClick, x: torch.Tensor, repeats: int) -> dict[str, Timing]:
    found: list[dict[str, float]] = []
    for _ in range(repeats + 2):
        with PartMeter(network, since(time.perf_counter), operator.add) as parts:
            network(x)
        found.append(parts.values)
    timings = {}
    for name in found[0]:
        ordered = sorted(each[name] for each in found[2:])
        timings[name] = Timing(ordered[len(ordered) // 2], ordered[0], ordered[-1], repeats)
    return timings


def since(read: Any) -> Any:
    """Return how much a count has come up since it was asked last."""
    before = read()

    def new() -> float:
        nonlocal before
        now = read()
        passed, before = now - before, now
        return passed

    return new


def peaks() -> tuple[float, float]:
    """Multiply-adds and bytes a second of a large product and a large copy."""
    size = 2048
    a, b, out = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    large = torch.rand(2**26)
    copy = torch.empty_like(large)
    found = side_by_side({"product": lambda: torch.mm(a, b, out=out), "copy": lambda: copy.copy_(large)}, repeats=9)
    return size**3 / found["product"].median, 2 * large.nbytes / found["copy"].median


if __name__ == "__main__":
    main()
