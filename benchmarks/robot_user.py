"""How long the robot user takes to find the next click on masks of 1024 x 1024 pixels.

    python benchmarks/robot_user.py [--side 1024]

The object is a disk that fills most of the image. An error of 100 pixels across may cost 5 ms, one of 400 pixels 25 ms.
Not judged: the same with a mask that is also too small all around, and with many small errors beside. The floor is one
exact distance transform of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from measuring import Report, options, side_by_side, start
from numpy.typing import NDArray
from scipy import ndimage

from adaptiveclick_med.distance import squared_depth
from adaptiveclick_med.simulation import RobotUser

MOST_MS = {100: 5.0, 400: 25.0}


def main() -> None:
    """Time the next click for each kind of error."""
    parser = options(__doc__)
    parser.add_argument("--side", type=int, default=1024, help="side of the masks in pixels")
    arguments = start(parser)
    user, side = RobotUser(), arguments.side
    target = disk(side, 0.5, 0.5, 0.4).astype(np.int8)
    found = {name: (mask, most) for name, mask, most in masks(side, target > 0)}
    calls = {name: (lambda mask=mask: user.next_click(target, mask)) for name, (mask, _) in found.items()}
    whole = (target > 0) ^ next(iter(found.values()))[0]
    times = side_by_side({"floor": lambda: squared_depth(whole), **calls}, repeats=arguments.repeats)
    floor = times["floor"]
    report = Report(f"The robot user's next click, masks of {side} x {side}")
    report.seconds("floor: a distance transform of the whole image", floor)
    for name, (_, most) in found.items():
        report.seconds(name, times[name], at_most_ms=most)
        report.ratio("  as a share of the floor", times[name], floor)
    report.print(arguments.json)


def disk(side: int, row: float, column: float, radius: float) -> NDArray[np.bool_]:
    """Return a disk in a square image; numbers are shares of the side."""
    rows, columns = np.ogrid[:side, :side]
    return (rows - row * side) ** 2 + (columns - column * side) ** 2 <= (radius * side) ** 2


def masks(side: int, target: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_], float | None]]:
    """Yield what a network could have found: name, mask and the milliseconds that the next click may cost."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((side, side)), 6)
    scattered = noise > 2.5 * noise.std()
    smaller = disk(side, 0.5, 0.5, 0.398)
    for across, most in MOST_MS.items():
        hole = disk(side, 0.49, 0.47, across / 2048)
        yield f"an error of {across} pixels", target & ~hole, most
        yield f"an error of {across} pixels, the mask too small all around", smaller & ~hole, None
        yield f"an error of {across} pixels, many small ones", (target & ~hole) ^ scattered, None
    yield "nothing found yet", np.zeros_like(target), None


if __name__ == "__main__":
    main()
