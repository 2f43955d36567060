"""One training on saved labels, from the first click of the robot user to the published weights."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from monailabel.utils.others.generic import file_checksum

from adaptiveclick_med.data import Item
from adaptiveclick_med.data.splits import spread_samples
from adaptiveclick_med.evaluation import EvaluationResult
from adaptiveclick_med.label_app.fine_tuning import FineTuneSettings, fine_tune
from adaptiveclick_med.label_app.measuring import measure, numbers
from adaptiveclick_med.label_app.publishing import publish_weights
from adaptiveclick_med.label_app.request_options import chosen, device_of, number, whole_number
from adaptiveclick_med.label_app.saved_labels import SOURCE, hold_back, labelled_slices, saved_labels
from adaptiveclick_med.label_app.training_record import TrainingRecord
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.weights import load_weights, read_header

__all__ = ["DEFAULTS", "PUBLISH", "TrainingOptions", "TrainingRun", "TrainingSlices"]

PUBLISH = ("unless worse", "always")
"""When new weights take the place of the old ones."""

DEFAULTS: dict[str, float] = {
    "max_epochs": 5,
    "batch_size": 4,
    "learning_rate": 5e-5,
    "samples_per_epoch": 100,
    "min_area": 20,
    "val_split": 0.2,
    "val_max_samples": 20,
    "val_max_clicks": 10,
    "seed": 0,
}
"""What a request need not say."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What a request chooses, see :class:`~adaptiveclick_med.label_app.tasks_training.FineTune`.

    Attributes:
        settings: how the network learns.
        val_split: share of the images whose labels are held back.
        val_max_samples: most held-back slices to click on.
        val_max_clicks: most clicks on each object there.
        publish: one of :data:`PUBLISH`.
    """

    settings: FineTuneSettings
    val_split: float
    val_max_samples: int
    val_max_clicks: int
    publish: str

    @classmethod
    def read(cls, request: Mapping[str, Any], **scaling: Any) -> TrainingOptions:
        """Return the options of a request, with :data:`DEFAULTS`.

        Args:
            request: the request.
            scaling: ``window`` and ``channels`` of the settings.

        Raises:
            MONAILabelException: when an option cannot be used; the message names it.
        """

        def whole(name: str, least: int, **limit: int) -> int:
            return whole_number(request, name, int(DEFAULTS[name]), least, **limit)

        settings = FineTuneSettings(
            max_epochs=whole("max_epochs", 1),
            batch_size=whole("batch_size", 1),
            learning_rate=number(request, "learning_rate", DEFAULTS["learning_rate"], 0.0, 1.0, above=True),
            samples_per_epoch=whole("samples_per_epoch", 0) or None,
            min_area=whole("min_area", 1),
            seed=whole("seed", 0),
            device=device_of(request),
            **scaling,
        )
        return cls(
            settings,
            val_split=number(request, "val_split", DEFAULTS["val_split"], 0.0, 0.9),
            val_max_samples=whole("val_max_samples", 1),
            val_max_clicks=whole("val_max_clicks", 1, most=100),
            publish=chosen(request, "publish", PUBLISH),
        )


@dataclass(frozen=True)
class TrainingSlices:
    """The labelled slices, divided into those to learn from and those to measure with.

    Attributes:
        training: items to learn from.
        held_back: items to click on; none when nothing was held back.
        facts: how many there are, for the record.
    """

    training: list[Item]
    held_back: list[Item]
    facts: dict[str, Any]

    @classmethod
    def read(cls, datastore: Any, options: TrainingOptions) -> TrainingSlices:
        """List and divide all saved labels.

        Args:
            datastore: the server's images and labels.
            options: of the request.

        Raises:
            ValueError: when there is nothing to learn from.
        """
        settings = options.settings
        saved = saved_labels(datastore)
        if not saved:
            raise ValueError("there is no saved label yet: label an image, submit it, and train then.")
        items, left_out = labelled_slices(saved, min_area=settings.min_area)
        if not items:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:5])
            raise ValueError(f"none of the {len(saved)} saved labels can be used ({reasons}).")
        usable = list(dict.fromkeys(item["group"] for item in items))
        kept = hold_back(usable, options.val_split, settings.seed)
        training = [item for item in items if item["group"] not in kept]
        held_back = [item for item in items if item["group"] in kept]
        facts = {
            "images": len(saved),
            "training": len(usable) - len(kept),
            "training_slices": len(training),
            "held_back": len(kept),
            "held_back_slices": len(held_back),
            "left_out": [list(pair) for pair in left_out],
        }
        return cls(training, spread_samples(held_back, options.val_max_samples, settings.seed), facts)


@dataclass
class TrainingRun:
    """One training: call it once. The record is kept up to date, and the new weights are published.

    Args:
        weights: the weights in use.
        bundle: folder of the bundle.
        options: of the request.
        slices: to learn from and to measure with.
        record: where the progress goes; the caller holds its lock.
    """

    weights: Path
    bundle: Path
    options: TrainingOptions
    slices: TrainingSlices
    record: TrainingRecord
    stats: dict[str, Any] = field(default_factory=dict, init=False)
    started: float = field(default=0.0, init=False)
    best: tuple[tuple[float, ...], ClickNetwork] | None = field(default=None, init=False)

    def __call__(self) -> dict[str, Any]:
        """Train, and return the record.

        Raises:
            Exception: whatever went wrong; the record tells it too, and the weights are as they were.
        """
        self.started = time.time()
        self.stats = {
            "status": "running",
            "epoch": 0,
            "total_epochs": self.options.settings.max_epochs,
            "start_ts": int(self.started),
            "losses": [],
            "labels": self.slices.facts,
            "weights": self.weights.name,
            "published": False,
        }
        if not self.slices.held_back:
            self.stats["note"] = (
                "Nothing was held back, so old and new weights were not compared and the last epoch was kept."
            )
        self.record.write(self.stats)
        try:
            self._train()
        except Exception as error:
            self._tell(status="failed", error=str(error), total_time=self._elapsed())
            raise
        return self.stats

    def _train(self) -> None:
        header = read_header(self.weights)
        digest = file_checksum(self.weights).removeprefix("SHA256:")
        old = None
        if self.slices.held_back:
            old = self._measured(load_weights(self.weights, device=self.options.settings.device))
            self._tell(validation={"slices": len(self.slices.held_back), "old": numbers(old)})
        fine_tune(self.bundle, self.weights, self.slices.training, self.options.settings, self._end_epoch)
        if self.best is None:
            raise RuntimeError("the training ended before its first epoch.")
        key, network = self.best
        if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
            raise FloatingPointError("the new weights are not all finite numbers: lower learning_rate.")
        worse = old is not None and key > _rank(old)
        if worse and self.options.publish == PUBLISH[0]:
            note = "The new weights do worse on the held-back labels than the old ones, which stay in use."
            logger.warning("%s", note)
            self._tell(note=note)
        else:
            facts = self._header_facts(header, digest)
            kept = publish_weights(self.weights, network, training=facts, licence=header.get("licence"))
            self._tell(published=True, previous_weights=None if kept is None else kept.name)
            logger.info("New weights are in use: %s. The old ones are kept as %s.", self.weights, kept)
        self.stats.pop("current_time", None)
        self._tell(status="done", total_time=self._elapsed())

    def _end_epoch(self, epoch: int, loss: float, network: ClickNetwork) -> None:
        self.stats["losses"].append(round(loss, 6))
        said = f"epoch {epoch} of {self.stats['total_epochs']}: loss {loss:.4f}"
        if not self.slices.held_back:
            self.best = (), network
        else:
            result = self._measured(network)
            key, found = _rank(result), numbers(result)
            validation = self.stats["validation"]
            if self.best is None or key < self.best[0]:
                self.best = key, copy.deepcopy(network).cpu()
                validation.update(new=found, best_epoch=epoch)
                self.stats["best_metric"] = round(float(result.curve()[-1]), 6)
            said += f", NoC@90 {found['NoC@90']:.2f} (old weights: {validation['old']['NoC@90']:.2f})"
        logger.info("%s", said)
        self._tell(epoch=epoch, current_time=self._elapsed())

    def _measured(self, network: ClickNetwork) -> EvaluationResult:
        result = measure(
            network,
            self.slices.held_back,
            max_clicks=self.options.val_max_clicks,
            min_area=self.options.settings.min_area,
            window=self.options.settings.window,
            channels=self.options.settings.channels,
        )
        for name, reason in result.skipped:
            logger.warning("The held-back slice %s is left out: %s.", name, reason)
        return result

    def _header_facts(self, header: Mapping[str, Any], digest: str) -> dict[str, Any]:
        """Facts for the header of the new weights; no name of an image is among them."""
        settings, earlier = self.options.settings, dict(header.get("training") or {})
        labels = {name: value for name, value in self.slices.facts.items() if name != "left_out"}
        return {
            "dataset": SOURCE,
            "started_from": digest,
            "base": earlier.get("base", earlier),
            **labels,
            "epoch": self.stats.get("validation", {}).get("best_epoch", self.stats["epoch"]),
            "max_epochs": settings.max_epochs,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "samples_per_epoch": settings.samples_per_epoch,
            "min_area": settings.min_area,
            "seed": settings.seed,
            "validation": self.stats.get("validation", {}).get("new", {}),
            "validation_before": self.stats.get("validation", {}).get("old", {}),
        }

    def _tell(self, **facts: Any) -> None:
        self.stats.update(facts)
        self.record.write(self.stats)

    def _elapsed(self) -> str:
        return str(timedelta(seconds=int(time.time() - self.started)))


def _rank(result: EvaluationResult) -> tuple[float, ...]:
    """Fewer clicks to 0.9 come first, then fewer to 0.85, then the higher IoU over all clicks."""
    found = result.summary()
    return found["NoC@90"], found["NoC@85"], -float(result.curve().mean())
