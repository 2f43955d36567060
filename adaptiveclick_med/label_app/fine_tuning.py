"""The bundle's own training on given slices, from given weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

import adaptiveclick_med
from adaptiveclick_med.data import Item
from adaptiveclick_med.label_app.measuring import unwrapped_error
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.weights import read_header

__all__ = ["FineTuneSettings", "find_bundle", "fine_tune"]

# What the bundle's trainer does beside learning: the files that it writes, and its validation, which is done here.
_LEFT_OUT = (
    "ImagePanels",
    "LossLogger",
    "ResumableCheckpoints",
    "TensorBoardStatsHandler",
    "TrainingProgress",
    "ValidationHandler",
)


@dataclass(frozen=True)
class FineTuneSettings:
    """How long, how fast and with what randomness a network learns.

    Attributes:
        max_epochs: epochs.
        batch_size: samples a step.
        learning_rate: of Adam; a tenth of it in the last third of the epochs.
        samples_per_epoch: drawn with replacement; ``None``: each slice once.
        min_area: smaller objects are no targets, in pixels.
        seed: of samples, augmentation and clicks.
        device: where the network learns.
        window: of the images; ``None``: that of the weights.
        channels: of the images; ``None``: those of the weights.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    samples_per_epoch: int | None
    min_area: int
    seed: int
    device: torch.device
    window: str | Sequence[float] | None = None
    channels: int | Sequence[int] | None = None


def find_bundle(bundle: str | Path | None = None) -> Path:
    """Return the folder of the AdaptiveClick bundle.

    Args:
        bundle: the folder, or a folder with ``adaptiveclick`` in it; ``None``: beside the package in a source checkout.

    Raises:
        FileNotFoundError: when it has no ``configs/train.json``.
    """
    if bundle is None:
        places = [Path(adaptiveclick_med.__file__).resolve().parents[1] / "bundles" / "adaptiveclick"]
    else:
        given = Path(bundle).expanduser()
        places = [given, given / "adaptiveclick"]
    for place in places:
        if (place / "configs" / "train.json").is_file():
            return place
    raise FileNotFoundError(
        f"There is no bundle with configs/train.json in {places[0]}; the option bundle must name the folder of the "
        "AdaptiveClick bundle (bundles/adaptiveclick of the source code)."
    )


def fine_tune(
    bundle: str | Path,
    weights: str | Path,
    items: Sequence[Item],
    settings: FineTuneSettings,
    on_epoch: Callable[[int, float, ClickNetwork], None],
) -> None:
    """Train a network further, with ``configs/train.json`` of the bundle. Nothing is written.

    The network keeps the image size of its weights, and their intensities unless others are chosen.

    Args:
        bundle: folder of the bundle.
        weights: a file with a header, see :func:`adaptiveclick_med.weights.read_header`.
        items: the slices to learn from.
        settings: how.
        on_epoch: called after each epoch with its number from 1, the mean loss, and the network in evaluation mode.

    Raises:
        FloatingPointError: when the loss is no longer a finite number.
        ValueError: when a slice cannot be used.
        RuntimeError: when the device runs out of memory, or the bundle does not fit.
    """
    header = read_header(weights)
    config = Path(bundle) / "configs" / "train.json"
    try:
        overrides = _overrides(bundle, weights, header, items, settings)
        workflow = ConfigWorkflow(str(config), logging_file=False, workflow_type="train", **overrides)
        handlers = workflow.parser["train#handlers"]
        workflow.parser["train#handlers"] = [each for each in handlers if not _is_left_out(each)]
    except KeyError as error:
        raise ValueError(f"{config} is no training of this software: {error.args[0]} is missing.") from error
    workflow.initialize()
    try:
        trainer = workflow.parser.get_parsed_content("train#trainer")
        _report(trainer, workflow.parser.get_parsed_content("network"), on_epoch)
        workflow.run()
    except RuntimeError as error:
        first = unwrapped_error(error)
        if first is error:
            raise
        raise first from error
    finally:
        workflow.finalize()


def _overrides(
    bundle: str | Path, weights: str | Path, header: dict[str, Any], items: Sequence[Item], settings: FineTuneSettings
) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        "bundle_root": str(bundle),
        "initial_weights": str(weights),
        "image_size": header["arguments"]["image_size"],
        "device": settings.device,
        "max_epochs": settings.max_epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "samples_per_epoch": settings.samples_per_epoch,
        "min_area": settings.min_area,
        "seed": settings.seed,
        "intensity_window": settings.window,
        "channels": settings.channels,
        "progress": False,  # the trainer's own lines instead, which the server shows
        "train#dataset#data": tuple(items),  # a tuple is passed on as it is, a list would be parsed
    }
    if header["network"] == "SimpleClick":  # one mask and no candidates, so another loss
        overrides["loss_function"] = {"_target_": "adaptiveclick_med.losses.NormalizedFocalLoss", "ignore_value": -1}
    return overrides


def _is_left_out(handler: dict[str, Any]) -> bool:
    return str(handler.get("_target_", "")).rpartition(".")[2] in _LEFT_OUT


def _report(trainer: Engine, network: ClickNetwork, on_epoch: Callable[[int, float, ClickNetwork], None]) -> None:
    """Call ``on_epoch`` after each epoch, and stop where the loss is no number."""
    losses: list[float] = []

    def take_loss(engine: Engine) -> None:
        output: Any = engine.state.output
        losses.append(output["loss"].item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the loss is no longer a finite number after {engine.state.iteration} steps: lower learning_rate."
            )

    def end_epoch(engine: Engine) -> None:
        mean = sum(losses) / len(losses)
        losses.clear()
        network.eval()
        on_epoch(engine.state.epoch, mean, network)
        network.train()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, take_loss)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end_epoch)
