"""How long the percentiles of a whole volume take, at the first click in a volume without a window.

    python benchmarks/percentiles.py [--size 512 512 300]

The floor is ``np.percentile``, of which the numbers must be the same to the last digit. Half of the volume is air.
"""

from __future__ import annotations

import numpy as np
from measuring import Report, options, side_by_side, start

from adaptiveclick_med.transforms.intensity import PERCENTILES, intensity_range


def main() -> None:
    """Time both for integers and for floats."""
    parser = options(__doc__, repeats=5)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300))
    arguments = start(parser)
    report = Report(f"Percentiles {PERCENTILES} of a volume of {' x '.join(map(str, arguments.size))}")
    random = np.random.default_rng(0)
    volume = random.normal(40, 80, arguments.size).astype(np.float32)
    volume[: arguments.size[0] // 2] = -1000
    for kind in (np.int16, np.float32):
        values = volume.astype(kind)
        if intensity_range(values) != tuple(np.percentile(values, PERCENTILES).tolist()):
            raise SystemExit(f"The percentiles of {values.dtype} are not those of NumPy.")
        times = side_by_side(
            {
                "numpy": lambda values=values: np.percentile(values, PERCENTILES),
                "ours": lambda values=values: intensity_range(values),
            },
            repeats=arguments.repeats,
            warmup=0,
        )
        report.speedup(f"{values.dtype}: range against np.percentile", times["ours"], times["numpy"], at_least=2.0)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
