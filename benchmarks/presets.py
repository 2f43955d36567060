"""How much faster a click is with the small presets than with ``base``, and where its time goes.

    python benchmarks/presets.py [--presets tiny small base] [--size 448] [--flip true]

A click in a session: a crop of 448 x 448 and its mirror image. ``tiny`` must be at least 6 times and ``small`` at least
2.5 times as fast as ``base``. Below each preset stand the parts of the network, measured on clicks of their own.
"""

from __future__ import annotations

import operator
import time

import numpy as np
import torch
from measuring import Report, Timing, options, side_by_side, start

from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import ClickNetwork, build_network
from adaptiveclick_med.profiling.meters import PartMeter

AT_LEAST = {"tiny": 6.0, "small": 2.5}


def main() -> None:
    """Time a click with each preset, in turns, then the parts of each network."""
    parser = options(__doc__, repeats=5)
    parser.add_argument("--presets", nargs="+", default=["tiny", "small", "base"])
    parser.add_argument("--size", type=int, default=448, help="side of the crop in pixels")
    parser.add_argument("--part_clicks", type=int, default=2, help="clicks for the times of the parts")
    arguments = start(parser)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {
        name: build_network("AdaptiveClick", name, image_size=arguments.size).eval().to(device)
        for name in arguments.presets
    }
    sessions = {name: session_of(network, arguments.size) for name, network in networks.items()}
    times = side_by_side(
        {name: (lambda session=session: click(session)) for name, session in sessions.items()},
        repeats=arguments.repeats,
        warmup=1,
    )
    report = Report(f"A click at {arguments.size} x {arguments.size} with its mirror image, by preset")
    for name in arguments.presets:
        report.seconds(name, times[name])
        for part, timing in parts(networks[name], sessions[name], arguments.part_clicks).items():
            report.seconds(f"  {name}, {part}", timing)
        if name != "base" and "base" in times:
            report.speedup(f"{name} against base", times[name], times["base"], at_least=AT_LEAST.get(name))
    report.print(arguments.json)


def session_of(network: ClickNetwork, side: int) -> InteractiveSession:
    """Return a session in a random image of the crop's size."""
    session = InteractiveSession(network, side, undo_limit=0)
    session.set_image(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))
    return session


def click(session: InteractiveSession) -> None:
    """Click once on a new object."""
    session.reset()
    session.click(*(0.5 * side for side in session.size))


def parts(network: ClickNetwork, session: InteractiveSession, clicks: int) -> dict[str, Timing]:
    """Return the time of each part of a network in a click."""
    before = time.perf_counter()

    def read() -> float:
        nonlocal before
        if network.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        passed, before = now - before, now
        return passed

    found: dict[str, list[float]] = {}
    for _ in range(clicks):
        read()
        with PartMeter(network, read, operator.add) as meter:
            click(session)
        for name, seconds in meter.values.items():
            found.setdefault(name, []).append(seconds)
    return {
        name: Timing(*np.percentile(seconds, (50, 10, 90)).tolist(), len(seconds)) for name, seconds in found.items()
    }


if __name__ == "__main__":
    main()
