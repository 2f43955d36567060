"""The demo: the default network and a classical method on pictures made by the software, or a training on them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med.baselines import RandomWalkerSession
from adaptiveclick_med.clicks import Clicks
from adaptiveclick_med.evaluation import (
    EvaluationResult,
    evaluate_dataset,
    evaluate_sample,
    format_table,
    objects_of,
    open_source,
)
from adaptiveclick_med.evaluation.protocol import Session
from adaptiveclick_med.inference import InteractiveSession, Prediction
from adaptiveclick_med.visualize import draw_sessions, save_figure
from adaptiveclick_med.weights import default, load_weights, start_network

__all__ = ["run_demo", "run_training_demo"]

_SEED = 0
_UNSEEN_SEED = 1  # trainings draw with seed 0, so no network has seen a picture of another seed
_MIN_AREA = {"phantoms": 60, "scenes": 150}  # pixels; below that there are too many objects for a demo
_PHANTOMS: dict[str, Any] = {"num_volumes": 10, "size": (20, 128, 128)}
_SCENES: dict[str, Any] = {"num_images": 20, "size": (128, 128)}


def run_demo(output_dir: str | Path) -> dict[str, EvaluationResult]:
    """Let the robot user click with the default network and with a random walker, and draw what the network answers.

    Both get the same objects: phantoms and scenes of the validation section that no training has seen. Results
    (``network/``, ``random_walker/``, a folder each for ``phantoms`` and ``scenes``) and the picture ``demo.png`` go
    into the folder, and the table is printed.

    Args:
        output_dir: the folder.

    Returns:
        Results by data set and method, such as ``"phantoms, network"``.

    Raises:
        FileNotFoundError: when the default weights are missing.
    """
    output_dir, start = Path(output_dir), time.perf_counter()
    network = InteractiveSession(default(), second_look=True)
    sessions: dict[str, Session] = {"network": network, "random walker": RandomWalkerSession()}
    data_sets = {
        "phantoms": open_source("phantoms", section="validation", seed=_UNSEEN_SEED, max_samples=6, **_PHANTOMS),
        "scenes": open_source("scenes", section="validation", seed=_UNSEEN_SEED, max_samples=5, **_SCENES),
    }
    results: dict[str, EvaluationResult] = {}
    for dataset, samples in data_sets.items():
        for name, session in sessions.items():
            print(f"Counting clicks on {dataset}: {name}.", flush=True)
            result = _evaluate(samples, session, dataset)
            result.save(output_dir / name.replace(" ", "_") / dataset)
            results[f"{dataset}, {name}"] = result
    rows = [row for dataset, samples in data_sets.items() for row in _rows(network, samples, dataset, 2)]
    _finish(results, rows, output_dir, start)
    return results


def run_training_demo(
    output_dir: str | Path, *, bundle: str | Path = "bundles/adaptiveclick", max_epochs: int = 12
) -> dict[str, EvaluationResult]:
    """Train a small network on phantoms, and let the robot user click before and after.

    Writes the weights (``models/``), TensorBoard logs (``logs/``), results before and after (``before/``, ``after/``)
    and the picture ``demo.png`` into the folder, and prints the table.

    Args:
        output_dir: the folder.
        bundle: folder of the bundle.
        max_epochs: epochs of the training.

    Returns:
        Results by ``"before training"`` and ``"after training"``.

    Raises:
        FileNotFoundError: when there is no bundle.
    """
    output_dir, config = Path(output_dir), Path(bundle) / "configs" / "train.json"
    if not config.is_file():
        raise FileNotFoundError(f"There is no bundle in {bundle}: {config} is missing.")
    start = time.perf_counter()
    samples = open_source("phantoms", section="validation", seed=_SEED, max_samples=12, **_PHANTOMS)
    results: dict[str, EvaluationResult] = {}

    def count(session: InteractiveSession, when: str) -> None:
        print(f"Counting clicks {when} training.", flush=True)
        result = results[f"{when} training"] = _evaluate(samples, session, "phantoms")
        result.save(output_dir / when)

    count(InteractiveSession(start_network(preset="nano", seed=_SEED).eval()), "before")
    _train(config, output_dir, max_epochs)
    trained = InteractiveSession(load_weights(output_dir / "models" / "model.safetensors"))
    count(trained, "after")
    _finish(results, _rows(trained, samples, "phantoms", 4), output_dir, start)
    return results


def _evaluate(samples: Any, session: Session, dataset: str) -> EvaluationResult:
    return evaluate_dataset(
        samples, session, max_clicks=10, min_area=_MIN_AREA[dataset], facts={"dataset": dataset}, progress=True
    )


def _finish(results: Mapping[str, EvaluationResult], rows: Iterable[Any], output_dir: Path, start: float) -> None:
    picture = save_figure(draw_sessions(list(rows)), output_dir / "demo.png")
    print("\nPictures that were not trained on, clicked by the robot user:\n")
    print(format_table({name: result.summary() for name, result in results.items()}))
    print(f"\nPicture: {picture}\nTime: {time.perf_counter() - start:.0f} s")


def _train(config: Path, output_dir: Path, max_epochs: int) -> None:
    from monai.bundle import ConfigWorkflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=str(config),
            run_id="training",
            workflow_type="train",
            bundle_root=str(config.parent.parent),
            ckpt_dir=str(output_dir / "models"),
            output_dir=str(output_dir / "logs"),
            dataset="phantoms",
            dataset_options=_PHANTOMS,
            preset="nano",
            max_epochs=max_epochs,
            val_interval=max_epochs,
            val_max_samples=4,
            val_max_clicks=5,
            min_area=_MIN_AREA["phantoms"],
            seed=_SEED,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def _rows(session: InteractiveSession, samples: Any, dataset: str, count: int) -> list[Any]:
    """Click on an object of each of the first samples, from a rather small one to a rather large one."""
    rows = []
    for index in range(min(count, len(samples))):
        sample = samples[index]
        targets = sorted(
            (target for _, target in objects_of(sample["label"], _MIN_AREA[dataset])),
            key=lambda target: np.count_nonzero(target > 0),
        )
        if not targets:
            continue
        target = targets[(index + 1) * len(targets) // (count + 1)]
        image = np.moveaxis(np.asarray(sample["image"]), 0, -1)
        predictions: list[Prediction] = []

        def keep(_click: Any, prediction: Prediction, _iou: float, kept: list[Prediction] = predictions) -> None:
            kept.append(prediction)

        clicks, ious = evaluate_sample(image, target, session, 5, on_click=keep)
        rows.append((image, target, Clicks(clicks), predictions, ious))
    return rows
