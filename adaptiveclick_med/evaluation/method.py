"""What answers to the clicks: a trained network, an exported one, an untrained one, or a baseline."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaptiveclick_med.baselines import (
    DiskSession,
    FastMarchingSession,
    RandomWalkerSession,
    RegionGrowingSession,
    SeededSession,
)
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.evaluation.choice import DataSetChoice
from adaptiveclick_med.evaluation.protocol import Session, sample_objects
from adaptiveclick_med.export import ExportedModel, is_exported, load_model
from adaptiveclick_med.inference import InteractiveSession, accelerate, acceleration_facts
from adaptiveclick_med.networks import ClickModel, ClickNetwork
from adaptiveclick_med.networks.click_network import as_size
from adaptiveclick_med.transforms import Intensity, LoadSampled
from adaptiveclick_med.weights import default_path, start_network

__all__ = ["METHODS", "Method", "best_batch_size", "mean_object_area", "usable_device"]

_CLASSICAL: dict[str, Callable[[], SeededSession]] = {
    "random_walker": RandomWalkerSession,
    "fast_marching": FastMarchingSession,
    "region_growing": RegionGrowingSession,
}

METHODS = ("network", "disk", *_CLASSICAL)

_logger = logging.getLogger(__name__)
_LARGEST_BATCH = {"cpu": 8}
_WORTHWHILE = 0.95


def usable_device(name: str | None) -> torch.device:
    """Return a device that works; ``None``: the first GPU, or the CPU.

    Raises:
        ValueError: when the device cannot be used.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # PyTorch's words for a device that it does not have
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def mean_object_area(samples: Iterable[Mapping[str, Any]]) -> float:
    """Return the mean area in pixels of all objects of samples, see :func:`sample_objects`; they need no image.

    Raises:
        ValueError: when there is no object.
    """
    areas = [np.count_nonzero(target > 0) for sample in samples for _, target in sample_objects(sample)]
    if not areas:
        raise ValueError("The samples have no object, so there is no mean area.")
    return float(np.mean(areas))


@dataclass(frozen=True)
class Method:
    """What answers to the clicks, made once for all data sets.

    Attributes:
        name: one of :data:`METHODS`.
        network: the network; ``None`` for a baseline.
        facts: plain JSON values that tell it from others.
        second_look: see :class:`~adaptiveclick_med.inference.InteractiveSession`.
    """

    name: str
    network: ClickModel | None
    facts: Mapping[str, Any]
    second_look: bool = False

    @classmethod
    def create(
        cls,
        name: str = "network",
        *,
        weights: str | Path | None = None,
        preset: str | None = None,
        network_name: str = "AdaptiveClick",
        seed: int = 0,
        device: str | None = None,
        precision: str = "float32",
        compile: bool = False,
        quantize: str | None = None,
        second_look: bool = False,
    ) -> Method:
        """Load or build it.

        Args:
            name: one of :data:`METHODS`.
            weights: our weights, a released checkpoint, or an exported network; ``None``: the default weights, which
                the facts call ``"default"``.
            preset: in place of weights, an untrained network of that size.
            network_name: class of the untrained network.
            seed: of the untrained network.
            device: where the network runs; ``None``: the first GPU, or the CPU. What an exported network takes:
                :func:`adaptiveclick_med.export.load_exported`.
            precision: see :func:`adaptiveclick_med.inference.accelerate`; not for an exported network, nor are the next
                two.
            compile: see there.
            quantize: see there.
            second_look: see :class:`~adaptiveclick_med.inference.InteractiveSession`; of a network only.

        Raises:
            FileNotFoundError: when the weights do not exist.
            ValueError: when an argument cannot be used, a network has both weights and a preset, or a baseline shall
                look twice.
        """
        if name not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}.")
        if second_look and name != "network":
            raise ValueError(f"second_look goes with the method network only, got {name!r}.")
        if name in _CLASSICAL:
            return cls(name, None, {"method": name, "weights": None, "parameters": _CLASSICAL[name]().parameters})
        if name != "network":
            return cls(name, None, {"method": name, "weights": None})
        if weights is not None and preset is not None:
            raise ValueError("pass weights or preset, not both: a preset is an untrained network.")
        faster: dict[str, Any] = {"precision": precision, "compile": compile, "quantize": quantize}
        changed = acceleration_facts(**faster)
        network: ClickModel
        if preset is None:
            file = default_path() if weights is None else weights
            if changed and is_exported(file):
                raise ValueError(f"{', '.join(changed)} cannot go with an exported network; it runs as exported.")
            network = load_model(file, device=device if is_exported(file) else usable_device(device))
            files = network.files if isinstance(network, ExportedModel) else (file,)
            origin: dict[str, Any] = {
                "weights": "default" if weights is None else str(weights),
                "sha256": _digest(files),
            }
        else:
            network = start_network(network_name, preset, seed=seed).eval().to(usable_device(device))
            label = f"{network_name} {preset}, untrained, seed {seed}"
            origin = {"weights": label, "untrained": True, "preset": preset, "seed": seed}
        kind = network.facts.network if isinstance(network, ExportedModel) else type(network).__name__
        run_by = {"exported": network.format} if isinstance(network, ExportedModel) else {}
        if changed and isinstance(network, ClickNetwork):
            network = accelerate(network, **faster)
        looks = {"second_look": True} if second_look else {}
        facts = {"method": name, "network": kind, **origin, **run_by, **changed, **looks}
        return cls(name, network, facts, second_look)

    def session(self, choice: DataSetChoice) -> Session:
        """Return a session for a data set.

        ``"disk"`` paints a disk of the mean area of the training section's objects at each click, of all objects where
        the whole data set is evaluated. Files that cannot be used are passed over for that. The classical methods run
        with their default parameters, which are among the facts.

        Raises:
            ValueError: when an exported network was not exported for the ``crop_size`` of the choice.
        """
        if self.network is not None:
            if isinstance(self.network, ExportedModel) and choice.crop_size is not None:
                self.network.require_size(as_size(choice.crop_size), "crop_size")
            _compare_intensity(self.network, choice)
            return InteractiveSession(
                self.network,
                choice.crop_size,
                max_clicks=choice.max_clicks,
                undo_limit=0,
                second_look=self.second_look,
            )
        if self.name in _CLASSICAL:
            return _CLASSICAL[self.name]()
        section = choice.complete().section
        reference = "all" if section == "all" else "training"
        items = choice.samples(Problems("skip", quiet=True), section=reference).data
        return DiskSession(mean_object_area(_with_labels(items)))


def _compare_intensity(network: ClickModel, choice: DataSetChoice) -> None:
    """Warn where the images of a data set are scaled in another way than those of the training, and nobody said so."""
    trained = Intensity.from_dict(network.intensity)
    for argument, value in (("intensity_window", trained.window), ("channels", trained.channels)):
        if value is not None and getattr(choice, argument) is None:
            _logger.warning(
                "The weights were trained with %s %s, but %s is evaluated without; pass --%s to have the same.",
                *(argument, value, choice.title, argument),
            )


def _with_labels(items: Iterable[Mapping[Hashable, Any]]) -> Iterator[Mapping[Any, Any]]:
    """Read the labels of items and nothing else; those that cannot be read are passed over."""
    load = LoadSampled("label")
    for item in items:
        try:
            yield load(item)
        except (ValueError, OSError):
            continue


def _digest(paths: Iterable[str | Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with Path(path).open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


def best_batch_size(session: Session) -> int:
    """Return how many objects should advance together: the fewest that come close to the best time per object.

    Batches of 1, 2, 4, ... crops of random values are timed on the session's own device, until one is no faster per
    crop or does not fit the memory. Up to 8 are tried on a CPU, up to 64 on a GPU.

    Args:
        session: sessions that are no :class:`~adaptiveclick_med.inference.InteractiveSession` take 1.
    """
    if not isinstance(session, InteractiveSession) or session.zoom_in is None:
        return 1
    predictor, size = session.predictor, session.crop_size
    generator = torch.Generator().manual_seed(0)
    best, best_time = 1, float("inf")
    batch = 1
    while batch <= _LARGEST_BATCH.get(predictor.device.type, 64):
        frame = torch.rand((batch, 4, *size), generator=generator).to(predictor.device)
        points = torch.tensor([[[size[0] / 2, size[1] / 2, 0.0], [-1.0, -1.0, -1.0]]]).expand(batch, -1, -1)
        points = points.to(predictor.device)
        try:
            seconds = min(_timed(predictor, frame, points) for _ in range(3)) / batch
        except torch.OutOfMemoryError:
            break
        if seconds > best_time * _WORTHWHILE:
            break
        best, best_time = batch, seconds
        batch *= 2
    return best


def _timed(predictor: Any, frame: torch.Tensor, points: torch.Tensor) -> float:
    start = time.perf_counter()
    logits, _ = predictor(frame[:, :3], frame[:, 3:], points)
    logits.sum().item()  # waits for the device
    return time.perf_counter() - start
