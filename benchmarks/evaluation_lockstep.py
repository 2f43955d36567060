"""How much faster an evaluation is when objects advance together: wall times in one run, as ratios.

python benchmarks/evaluation_lockstep.py --weights W --dataset GrabCut --dataset_dir D --batch_sizes 1 4 8 auto

Batch size 1, one object after the other, is the reference. The batch sizes take turns over chunks of the data set, so
that a machine whose speed drifts treats them alike. The clicks of all must be the same, and are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from adaptiveclick_med.evaluation import DataSetChoice, EvaluationResult, Method, best_batch_size, evaluate_dataset


class Part:
    """Some samples of a data set."""

    def __init__(self, samples, indices) -> None:
        self.samples, self.indices = samples, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self):
        return (self.samples[index] for index in self.indices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="weights; or --preset")
    parser.add_argument("--preset", help="an untrained network of this size")
    parser.add_argument("--dataset", default="phantoms")
    parser.add_argument("--dataset_dir")
    parser.add_argument("--max_samples", type=int)
    parser.add_argument("--max_clicks", type=int, default=20)
    parser.add_argument("--batch_sizes", nargs="+", default=["1", "4", "8"])
    parser.add_argument("--chunks", type=int, default=5, help="parts of the data set over which batch sizes take turns")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()

    method = Method.create(weights=arguments.weights, preset=arguments.preset, device=arguments.device)
    choice = DataSetChoice(
        arguments.dataset,
        arguments.dataset_dir,
        max_samples=arguments.max_samples,
        max_clicks=arguments.max_clicks,
    ).complete()
    session = method.session(choice)
    best = best_batch_size(session)  # also warms up
    sizes = [best if size == "auto" else int(size) for size in arguments.batch_sizes]
    names = dict(zip(arguments.batch_sizes, sizes, strict=True))
    samples = choice.samples()
    chunks = np.array_split(np.arange(len(samples)), min(arguments.chunks, len(samples)))
    seconds = dict.fromkeys(names, 0.0)
    results: dict[str, list[EvaluationResult]] = {name: [] for name in names}
    for turn, chunk in enumerate(chunks):
        order = list(names)[turn % len(names) :] + list(names)[: turn % len(names)]
        for name in order:
            start = time.perf_counter()
            results[name].append(
                evaluate_dataset(
                    Part(samples, chunk),
                    session,
                    max_clicks=choice.max_clicks,
                    min_area=choice.min_area or 1,
                    batch_size=names[name],
                )
            )
            seconds[name] += time.perf_counter() - start
        done = ", ".join(f"{name}: {spent:.1f} s" for name, spent in seconds.items())
        print(f"chunk {turn + 1} of {len(chunks)}: {done}", flush=True)

    reference = arguments.batch_sizes[0]
    objects = {name: [item for part in parts for item in part.objects] for name, parts in results.items()}
    print(
        f"\n{len(objects[reference])} objects of {choice.title}, {torch.get_num_threads()} thread(s), "
        f"{method.network.__class__.__name__} on {next(method.network.parameters()).device}"
    )
    table = {}
    for name, size in names.items():
        same = sum(a.clicks == b.clicks for a, b in zip(objects[reference], objects[name], strict=True))
        ious = [
            abs(a.ious[-1] - b.ious[-1])
            for a, b in zip(objects[reference], objects[name], strict=True)
            if a.clicks == b.clicks
        ]
        table[name] = {
            "batch_size": size,
            "seconds": seconds[name],
            "speedup": seconds[reference] / seconds[name],
            "objects_with_the_same_clicks": same,
            "largest_iou_difference": max(ious, default=float("nan")),
        }
        ratio = seconds[reference] / seconds[name]
        print(
            f"batch size {name:>4} ({size:2}): {seconds[name]:7.1f} s, {ratio:.2f} times as fast, "
            f"same clicks on {same} of {len(objects[name])}, IoUs within {table[name]['largest_iou_difference']:.1e}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
