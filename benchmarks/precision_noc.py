"""What fewer bits cost in clicks: NoC and mIoU@k of one network in float32, bfloat16 and int8 on the same objects.

python benchmarks/precision_noc.py --weights W --dataset sstem --dataset_dir ssTEM --section validation \
    --max_samples 4 --max_clicks 10
"""

from __future__ import annotations

import json
import time

import numpy as np
from measuring import Report, options, start
from precision import MODELS

from adaptiveclick_med.evaluation import DataSetChoice, EvaluationResult, Method, evaluate_dataset

TARGET = 0.02


class First:
    """The first objects of a data set: samples as they are, until there are enough objects."""

    def __init__(self, samples, count: int | None, step: int) -> None:
        self.samples, self.count, self.step = samples, count, step

    def __iter__(self):
        seen = 0
        for index in range(0, len(self.samples), self.step):
            if self.count is not None and seen >= self.count:
                return
            sample = self.samples[index]
            seen += len(np.unique(np.asarray(sample["label"]))) - 1
            yield sample


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--dataset", default="phantoms")
    parser.add_argument("--dataset_dir")
    parser.add_argument("--section", help="training, validation or all; by default what the paper takes")
    parser.add_argument("--options", type=json.loads, default={}, help="options of the data set, as JSON")
    parser.add_argument("--val_fraction", type=float, default=0.3)
    parser.add_argument("--split_seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="of all samples, each k-th")
    parser.add_argument("--max_samples", type=int)
    parser.add_argument("--max_objects", type=int, help="no further sample once there are so many")
    parser.add_argument("--max_clicks", type=int, default=20)
    parser.add_argument("--min_area", type=int)
    parser.add_argument("--crop_size", type=int)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--device")
    arguments = start(parser)

    choice = DataSetChoice(
        arguments.dataset,
        arguments.dataset_dir,
        section=arguments.section,
        options=arguments.options,
        val_fraction=arguments.val_fraction,
        split_seed=arguments.split_seed,
        max_samples=arguments.max_samples,
        max_clicks=arguments.max_clicks,
        min_area=arguments.min_area,
        crop_size=arguments.crop_size,
    ).complete()
    results: dict[str, EvaluationResult] = {}
    for name, what in MODELS.items():
        method = Method.create(weights=arguments.weights, device=arguments.device, **what)
        begin = time.perf_counter()
        results[name] = evaluate_dataset(
            First(choice.samples(), arguments.max_objects, arguments.every),
            method.session(choice),
            max_clicks=choice.max_clicks,
            min_area=choice.min_area or 1,
            batch_size=arguments.batch_size,
            facts={**choice.as_dict(), **method.facts},
        )
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    exact = results["float32"]
    report = Report(f"Clicks by precision: {len(exact.objects)} objects of {choice.title}, {choice.max_clicks} clicks")
    for name, result in results.items():
        summary, usual = result.summary(), exact.summary()
        for key in ("NoC@85", "NoC@90"):
            report.add(f"{key}, {name}", summary[key], "clicks")
        for key in [key for key in summary if key.startswith("mIoU")]:
            report.add(f"{key}, {name}", summary[key], "")
        if name == "float32":
            continue
        for key in ("NoC@85", "NoC@90"):
            limit = TARGET if name == "bfloat16" else None
            report.add(f"{key}, {name}: |difference|", abs(summary[key] - usual[key]), "clicks", at_most=limit)
        pairs = list(zip(exact.objects, result.objects, strict=True))
        report.add(f"{name}: objects with other clicks", sum(a.clicks != b.clicks for a, b in pairs), "objects")
        first = [abs(a.ious[0] - b.ious[0]) for a, b in pairs]
        report.add(f"{name}: |IoU difference| after the first click, mean", float(np.mean(first)), "")
        report.add(f"{name}: |IoU difference| after the first click, largest", max(first), "")
        for level in (85, 90):
            changes = [noc(b, level, choice.max_clicks) - noc(a, level, choice.max_clicks) for a, b in pairs]
            error = float(np.std(changes) / np.sqrt(len(changes)))
            report.add(f"NoC@{level}, {name}: standard error of the difference", error, "clicks")
    report.print(arguments.json)


def noc(item, level: int, most: int) -> int:
    reached = [count for count, iou in enumerate(item.ious, start=1) if iou >= level / 100]
    return reached[0] if reached else most


if __name__ == "__main__":
    main()
