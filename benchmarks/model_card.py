"""The tables and the picture of a model card, from evaluations that were made before.

python benchmarks/model_card.py OUT/default OUT/fast_marching ... --config configs/default_weights_evaluation.yaml \\
    --figure failures.png

Each OUT is the folder of one `adaptiveclick-med evaluate --config`; the first one is the network's. Two tables in
Markdown are printed: the network's numbers with 95 % bootstrap intervals over objects, and the clicks of all methods on
the same objects, with how many clicks fewer the network needs than the best other method. The picture shows, of each
data set, the object with the median and the one with the lowest IoU after five clicks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med.clicks import Clicks
from adaptiveclick_med.evaluation import (
    DataSetChoice,
    EvaluationResult,
    bootstrap_interval,
    evaluate_sample,
    read_choices,
)
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.visualize import draw_sessions, save_figure
from adaptiveclick_med.weights import default

STEPS = (1, 3, 5, 10)


def with_interval(result: EvaluationResult, metric: str, digits: int) -> str:
    low, high = bootstrap_interval(result, metric)
    mean = result.summary()[metric]
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table_of_the_network(results: dict[str, EvaluationResult]) -> list[str]:
    header = ["data set", "objects", "NoC@85", "NoC@90", "never 85", "never 90", *(f"mIoU@{k}" for k in STEPS)]
    lines = [header, ["---"] * len(header)]
    for name, result in results.items():
        summary = result.summary()
        lines.append(
            [
                *(name, str(len(result.objects))),
                *(with_interval(result, f"NoC@{t}", 2) for t in (85, 90)),
                *(str(int(summary[f"NoF@{t}"])) for t in (85, 90)),
                *(with_interval(result, f"mIoU@{k}", 3) for k in STEPS),
            ]
        )
    return [f"| {' | '.join(line)} |" for line in lines]


def table_of_all(found: dict[str, dict[str, EvaluationResult]]) -> list[str]:
    network, *others = found
    header = ["data set", *found, "fewer clicks than the best other"]
    lines = [header, ["---"] * len(header)]
    for name in found[network]:
        clicks = {method: float(results[name].clicks_to(0.85).mean()) for method, results in found.items()}
        objects = {tuple(item.name for item in results[name].objects) for results in found.values()}
        assert len(objects) == 1, f"{name}: the methods were not evaluated on the same objects"
        best = min(clicks[method] for method in others)
        lines.append([name, *(f"{value:.2f}" for value in clicks.values()), f"{1 - clicks[network] / best:+.0%}"])
    return [f"| {' | '.join(line)} |" for line in lines]


def row_of(choice: DataSetChoice, name: str, session: InteractiveSession) -> Any:
    sample_name, _, number = name.rpartition("#")
    sample = next(sample for sample in choice.samples() if str(sample["name"]) == sample_name)
    image, label = np.moveaxis(np.asarray(sample["image"]), 0, -1), np.asarray(sample["label"])
    layer = next(part for part in label if (part == int(number)).any())
    target = np.where(layer == int(number), 1, np.where(layer < 0, -1, 0))
    predictions: list[Any] = []
    clicks, ious = evaluate_sample(
        image, target, session, 5, on_click=lambda _click, prediction, _iou: predictions.append(prediction)
    )
    return image, target, Clicks(clicks), predictions, ious


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    choices = {choice.name or choice.dataset: choice for choice in read_choices(options.config)}
    found = {
        folder.name: {name: EvaluationResult.load(folder / name) for name in choices} for folder in options.folders
    }
    network = found[options.folders[0].name]
    print("\n".join([*table_of_the_network(network), "", *(table_of_all(found) if len(found) > 1 else [])]))
    if options.figure is not None:
        session = InteractiveSession(default(), second_look=True)
        rows = []
        for name, result in network.items():
            order = np.argsort(result.ious_at(5), kind="stable")
            for place in (order[len(order) // 2], order[0]):
                rows.append(row_of(choices[name], result.objects[place].name, session))
        print(save_figure(draw_sessions(rows, steps=(1, 3, 5), candidates=1), options.figure, dpi=60))


if __name__ == "__main__":
    main()
