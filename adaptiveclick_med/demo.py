"""The demo: train the bundle on phantoms, count clicks before and after, draw the result."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med.clicks import Clicks
from adaptiveclick_med.evaluation import (
    EvaluationResult,
    evaluate_dataset,
    evaluate_sample,
    format_table,
    objects_of,
    open_source,
)
from adaptiveclick_med.inference import InteractiveSession, Prediction
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.visualize import draw_sessions, save_figure
from adaptiveclick_med.weights import load_weights, start_network

__all__ = ["run_demo"]

_SEED = 0
_PHANTOMS: dict[str, Any] = {"num_volumes": 10, "size": (20, 128, 128)}


def run_demo(
    output_dir: str | Path, *, bundle: str | Path = "bundles/adaptiveclick", max_epochs: int = 12
) -> dict[str, EvaluationResult]:
    """Train, evaluate and draw.

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
    results = {"before training": _evaluate(start_network(preset="nano", seed=_SEED).eval(), "before training")}
    _train(config, output_dir, max_epochs)
    trained = load_weights(output_dir / "models" / "model.safetensors")
    results["after training"] = _evaluate(trained, "after training")
    for name, result in results.items():
        result.save(output_dir / name.split()[0])
    picture = save_figure(draw_sessions(_rows(trained)), output_dir / "demo.png")
    print("\nPhantoms that were not trained on, clicked by the robot user:\n")
    print(format_table({name: result.summary() for name, result in results.items()}))
    print(f"\nPicture: {picture}\nTime: {time.perf_counter() - start:.0f} s")
    return results


def _samples(**options: Any) -> Any:
    return open_source("phantoms", section="validation", seed=_SEED, **_PHANTOMS, **options)


def _evaluate(network: ClickNetwork, name: str) -> EvaluationResult:
    print(f"Counting clicks {name}.", flush=True)
    return evaluate_dataset(
        _samples(max_samples=12),
        InteractiveSession(network),
        max_clicks=10,
        min_area=60,
        facts={"dataset": "phantoms"},
        progress=True,
    )


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
            min_area=60,
            seed=_SEED,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def _rows(network: ClickNetwork, count: int = 4) -> list[Any]:
    """Click on the largest, the smallest and some objects between of a few samples."""
    session = InteractiveSession(network)
    rows = []
    for index, sample in enumerate(_samples(max_samples=count)):
        targets = sorted((target for _, target in objects_of(sample["label"], 60)), key=lambda t: int((t > 0).sum()))
        if not targets:
            continue
        target = targets[index * (len(targets) - 1) // max(1, count - 1)]
        image = np.moveaxis(np.asarray(sample["image"]), 0, -1)
        predictions: list[Prediction] = []

        def keep(_click: Any, prediction: Prediction, _iou: float, kept: list[Prediction] = predictions) -> None:
            kept.append(prediction)

        clicks, ious = evaluate_sample(image, target, session, 5, on_click=keep)
        rows.append((image, target, Clicks(clicks), predictions, ious))
    return rows
