"""Data sets by name, evaluated with a network or a baseline: what the command line and the demo share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose

from adaptiveclick_med.baselines import DiskSession
from adaptiveclick_med.data import get_items
from adaptiveclick_med.evaluation.protocol import Session, evaluate_dataset, objects_of
from adaptiveclick_med.evaluation.results import EvaluationResult
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.transforms import LoadSampled, ScaleToUnitRGBd
from adaptiveclick_med.weights import load_network

__all__ = ["METHODS", "evaluate_source", "mean_object_area", "open_source"]

METHODS = ("network", "disk")


def open_source(dataset: str, dataset_dir: str | Path | None = None, **options: Any) -> Any:
    """Return a MONAI ``Dataset`` of samples ready for a session: ``image`` [3, H, W] in [0, 1], ``label`` [L, H, W].

    Args:
        dataset: name of a source.
        dataset_dir: its folder.
        options: further arguments of :func:`adaptiveclick_med.data.get_items`.

    Raises:
        ValueError: when the source cannot be read.
    """
    return Dataset(get_items(dataset, dataset_dir, **options), Compose([LoadSampled(), ScaleToUnitRGBd("image")]))


def mean_object_area(samples: Iterable[Mapping[str, Any]]) -> float:
    """Return the mean area in pixels of all objects of samples with ``label`` [L, H, W].

    Raises:
        ValueError: when there is no object.
    """
    areas = [np.count_nonzero(target > 0) for sample in samples for _, target in objects_of(sample["label"])]
    if not areas:
        raise ValueError("The samples have no object, so there is no mean area.")
    return float(np.mean(areas))


def evaluate_source(
    dataset: str,
    dataset_dir: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    method: str = "network",
    section: str = "all",
    val_fraction: float = 0.3,
    split_seed: int = 0,
    max_samples: int | None = None,
    max_clicks: int = 20,
    min_area: int = 20,
    crop_size: int | None = None,
    device: str | None = None,
    on_error: str = "raise",
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate a data set by name.

    The trivial baseline ``"disk"`` paints a disk of the mean area of the training section's objects at each click.

    Args:
        dataset: name of a source.
        dataset_dir: its folder.
        weights: our weights or a released checkpoint; needed for the network.
        method: one of :data:`METHODS`.
        section: ``"training"``, ``"validation"`` or ``"all"``.
        val_fraction: share of the groups that validate.
        split_seed: seed of the split and of the phantoms.
        max_samples: evaluate at most so many images.
        max_clicks: clicks after which the user gives up.
        min_area: smaller objects are left out, in pixels.
        crop_size: side of the network's input in pixels; ``None``: what it was built for.
        device: where the network runs; ``None``: the first GPU, or the CPU.
        on_error: ``"raise"`` or ``"skip"``: what to do with files that cannot be used.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: when the weights do not exist.
        ValueError: when an argument or the data cannot be used.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    split = {"val_fraction": val_fraction, "seed": split_seed, "on_error": on_error}
    session: Session
    if method == "disk":
        reference = "all" if section == "all" else "training"
        session = DiskSession(mean_object_area(open_source(dataset, dataset_dir, section=reference, **split)))
    else:
        if weights is None:
            raise ValueError("weights are needed to evaluate a network.")
        network = load_network(weights, device=_usable_device(device))
        session = InteractiveSession(network, crop_size, max_clicks=max_clicks)
    samples = open_source(dataset, dataset_dir, section=section, max_samples=max_samples, **split)
    facts = {
        "dataset": dataset,
        "section": section,
        "method": method,
        "weights": str(weights) if method == "network" else None,
        "max_samples": max_samples,
        "min_area": min_area,
        "val_fraction": val_fraction,
        "split_seed": split_seed,
    }
    return evaluate_dataset(samples, session, max_clicks=max_clicks, min_area=min_area, facts=facts, progress=progress)


def _usable_device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # PyTorch's words for a device that it does not have
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
