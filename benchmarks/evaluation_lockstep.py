"""How much faster an evaluation is when objects advance together: wall times in one run, as ratios.

    python benchmarks/evaluation_lockstep.py [--presets tiny nano] [--max_samples 4] [--batch_sizes 1 4 8]
    python benchmarks/evaluation_lockstep.py --weights W --dataset GrabCut --dataset_dir D --batch_sizes 1 4 8 auto

Without weights, untrained networks of two sizes click on phantoms. The first batch size, one object after the other,
is the reference; the best of the others must be at least 1.2 times as fast. Batch sizes take turns over chunks of the
data set, so that a machine whose speed drifts treats them alike. The clicks of all must be the same, and are compared.
Listed too is which share of the time is the network's.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from measuring import Report, Timing, options, start

from adaptiveclick_med.evaluation import DataSetChoice, EvaluationResult, Method, best_batch_size, evaluate_dataset
from adaptiveclick_med.inference import ClickPredictor, InteractiveSession

AT_LEAST = 1.2


class Part:
    """Some samples of a data set."""

    def __init__(self, samples, indices) -> None:
        self.samples, self.indices = samples, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self):
        return (self.samples[index] for index in self.indices)


def main() -> None:
    """Evaluate with each network and batch size."""
    parser = options(__doc__, repeats=2)
    parser.add_argument("--weights", help="weights, in the place of presets")
    parser.add_argument("--presets", "--preset", nargs="+", default=["tiny", "nano"], help="untrained networks")
    parser.add_argument("--dataset", default="phantoms")
    parser.add_argument("--dataset_dir")
    parser.add_argument("--max_samples", type=int, help="images; for phantoms 2 unless said otherwise")
    parser.add_argument("--max_clicks", type=int, help="20; for phantoms 3 unless said otherwise")
    parser.add_argument("--batch_sizes", nargs="+", default=["1", "4", "8"])
    parser.add_argument("--chunks", type=int, help="parts of the data set over which batch sizes take turns; --repeats")
    parser.add_argument("--device")
    arguments = start(parser)
    small = arguments.dataset == "phantoms"
    choice = DataSetChoice(
        arguments.dataset,
        arguments.dataset_dir,
        max_samples=arguments.max_samples or (2 if small else None),
        max_clicks=arguments.max_clicks or (3 if small else 20),
    ).complete()
    samples = choice.samples()
    report = Report(f"Evaluation in lockstep: {len(samples)} images of {choice.title}, {choice.max_clicks} clicks")
    for name in [None] if arguments.weights else arguments.presets:
        method = Method.create(weights=arguments.weights, preset=name, device=arguments.device)
        compare(report, name or "weights", method, choice, samples, arguments)
    report.print(arguments.json)


def compare(report: Report, name: str, method: Method, choice: DataSetChoice, samples: Any, arguments: Any) -> None:
    """Evaluate with each batch size; add how long it took and whether the clicks are the same."""
    session = method.session(choice)
    assert isinstance(session, InteractiveSession)
    watch = session.predictor = Watched(session.predictor.network, flip=session.predictor.flip)
    best = best_batch_size(session)  # also warms up
    sizes = {size: best if size == "auto" else int(size) for size in arguments.batch_sizes}
    chunks = np.array_split(np.arange(len(samples)), min(arguments.chunks or arguments.repeats, len(samples)))
    seconds, answering = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0.0)
    results: dict[str, list[EvaluationResult]] = {size: [] for size in sizes}
    for turn, chunk in enumerate(chunks):
        order = list(sizes)[turn % len(sizes) :] + list(sizes)[: turn % len(sizes)]
        for size in order:
            watch.seconds, begin = 0.0, time.perf_counter()
            part = Part(samples, chunk)
            options_of = {"max_clicks": choice.max_clicks, "min_area": choice.min_area or 1}
            results[size].append(evaluate_dataset(part, session, batch_size=sizes[size], **options_of))
            seconds[size] += time.perf_counter() - begin
            answering[size] += watch.seconds
        done = ", ".join(f"{size}: {spent:.1f} s" for size, spent in seconds.items())
        print(f"{name}, chunk {turn + 1} of {len(chunks)}: {done}", flush=True)
    reference, *others = sizes
    objects = {size: [item for part in parts for item in part.objects] for size, parts in results.items()}
    clicks = sum(len(item.clicks) for item in objects[reference])
    timings = {size: Timing(*[spent / clicks] * 3, len(chunks)) for size, spent in seconds.items()}
    fastest = min(others, key=seconds.__getitem__, default=None)
    for size in sizes:
        label = f"{name}, batch size {size}" + (f" ({sizes[size]})" if size == "auto" else "")
        if size == reference:
            report.seconds(f"{label}: a click", timings[size])
        else:
            least = AT_LEAST if size == fastest else None
            report.speedup(label, timings[size], timings[reference], at_least=least)
        report.add("  share of the network", answering[size] / seconds[size], "")
        pairs = list(zip(objects[reference], objects[size], strict=True))
        same = [(one, other) for one, other in pairs if one.clicks == other.clicks]
        report.add(f"  objects with other clicks, of {len(pairs)}", len(pairs) - len(same), "", at_most=0)
        distances = [abs(one.ious[-1] - other.ious[-1]) for one, other in same]
        report.add("  largest difference of an IoU", max(distances, default=float("nan")), "")


class Watched(ClickPredictor):
    """A predictor that adds up the time of its calls."""

    seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Predict."""
        begin = time.perf_counter()
        answer = super().__call__(*arguments)
        self.seconds += time.perf_counter() - begin
        return answer


if __name__ == "__main__":
    main()
