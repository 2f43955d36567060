"""Handlers for training: seeded epochs, the best weights, gradient clipping, progress and image panels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar, TerminateOnNan
from monai.engines import IterationEvents, Trainer
from monai.handlers import CheckpointLoader, CheckpointSaver, TensorBoardHandler
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from adaptiveclick_med._files import replacing
from adaptiveclick_med.engines.interactive import is_step, unwrapped
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickNetwork
from adaptiveclick_med.weights import save_weights

__all__ = [
    "BestWeights",
    "EpochSetter",
    "GradientClipper",
    "ImagePanels",
    "LossLogger",
    "ResumableCheckpoints",
    "StopOnNan",
    "TrainingProgress",
]


class EpochSetter:
    """Tells a data set which epoch it is, so that its random transforms are seeded by it.

    Args:
        dataset: something with ``set_epoch``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self.dataset.set_epoch(engine.state.epoch))


class BestWeights:
    """Keeps the weights of the epoch with the fewest clicks: a state dict and a safetensors file with its header.

    Attach it to the evaluator. Files appear whole or not at all.

    Args:
        network: network whose weights are kept.
        folder: where ``name.pt`` and ``name.safetensors`` go.
        name: of the files.
        facts: training facts for the header, plain JSON values.
        licence: licence of the weights, for the header.
        dtype: how the safetensors file stores floating-point tensors, see
            :func:`adaptiveclick_med.weights.save_weights`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        folder: str | Path,
        *,
        name: str = "model",
        facts: Mapping[str, Any] | None = None,
        licence: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.folder = Path(folder)
        self.name = name
        self.facts = dict(facts or {})
        self.licence = licence
        self.dtype = dtype

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after its metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the weights when this epoch was the best so far; on the first rank only."""
        if engine.state.best_metric_epoch != engine.state.epoch or engine.state.rank:
            return
        network = unwrapped(self.network)
        with replacing(self.folder / f"{self.name}.pt") as temporary:
            torch.save(network.state_dict(), temporary)
        if isinstance(network, ClickNetwork):
            metrics = {key: value for key, value in engine.state.metrics.items() if isinstance(value, float | int)}
            facts = {**self.facts, "epoch": engine.state.epoch, "validation": metrics}
            path = self.folder / f"{self.name}.safetensors"
            save_weights(path, network, training=facts, licence=self.licence, dtype=self.dtype)


class ResumableCheckpoints:
    """Saves all that a training needs to go on, after each epoch, and goes on from such a file.

    The trainer itself is part of a checkpoint, and with mixed precision on a GPU the scale of its gradients. A training
    that is stopped and resumed ends with the same weights as one that was not. The newest ``checkpoint_epoch=N.pt`` is
    kept.

    Args:
        folder: where the checkpoints go.
        objects: what is saved beside the trainer, by name: network, optimiser, schedule, evaluator.
        resume: a checkpoint to go on from.
        interval: epochs between two checkpoints.
        save: whether this process writes; of several ranks only the first does.

    Raises:
        FileNotFoundError: when ``resume`` does not exist.
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        *,
        resume: str | Path | None = None,
        interval: int = 1,
        save: bool = True,
    ) -> None:
        if resume and not Path(resume).is_file():
            raise FileNotFoundError(f"There is no checkpoint {resume} to resume from.")
        self.folder = Path(folder)
        self.objects = dict(objects)
        self.resume = resume
        self.interval = interval
        self.save = save

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that change what is saved."""
        everything = {**self.objects, "trainer": engine}
        scaler: Any = getattr(engine, "scaler", None)
        if scaler is not None and scaler.is_enabled():
            everything["scaler"] = scaler
        if self.resume:
            on_cpu: Any = "cpu"  # else every rank would fill the first GPU with a copy
            CheckpointLoader(str(self.resume), everything, map_location=on_cpu).attach(engine)
        if self.save:
            CheckpointSaver(str(self.folder), everything, save_interval=self.interval, n_saved=1).attach(engine)


class GradientClipper:
    """Clips the norm of the gradients before each step of the optimiser, with or without mixed precision.

    With gradient accumulation that is after the last batch of a step, when the gradients are complete.

    Args:
        max_norm: largest norm; ``None`` does nothing.

    Raises:
        ValueError: when it is not positive.
    """

    def __init__(self, max_norm: float | None) -> None:
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"max_norm must be positive or None, got {max_norm}.")
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI ``SupervisedTrainer``."""
        if self.max_norm is not None:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip."""
        if not is_step(engine):
            return
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class StopOnNan:
    """Ends a training when the loss is no longer a finite number (Ignite's ``TerminateOnNan``)."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan(lambda output: output["loss"]))


class TrainingProgress:
    """A progress bar over the iterations of each epoch of a trainer, with the loss, or of an evaluator.

    Args:
        description: shown before the bar.
    """

    def __init__(self, description: str = "training epoch") -> None:
        self.bar = ProgressBar(desc=description)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer or evaluator; shown on the first rank only."""
        if getattr(engine.state, "rank", 0) == 0:
            loss = _loss_of if isinstance(engine, Trainer) else None
            self.bar.attach(engine, output_transform=loss)


def _loss_of(output: Any) -> dict[str, float]:
    return {"loss": output["loss"].item()}


class LossLogger(TensorBoardHandler):
    """Writes the parts of the loss after each iteration as TensorBoard scalars.

    Args:
        loss: a loss with ``components``, see :class:`~adaptiveclick_med.losses.MaskAdaptiveLoss`; others are passed by.
        summary_writer: TensorBoard writer.
        interval: iterations between two entries.
    """

    def __init__(self, loss: torch.nn.Module, summary_writer: SummaryWriter, *, interval: int = 10) -> None:
        super().__init__(summary_writer)
        self.loss = loss
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if hasattr(self.loss, "components"):
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        """Write the parts for the last output."""
        components: Any = self.loss.components
        for name, value in components(engine.state.output["pred"], engine.state.output["label"]).items():
            self._writer.add_scalar(f"loss/{name}", float(value), engine.state.iteration)


class ImagePanels(TensorBoardHandler):
    """Writes pictures of training samples to TensorBoard: image with clicks, target, previous mask, prediction.

    Args:
        summary_writer: TensorBoard writer.
        interval: epochs between two pictures.
        samples: samples of the epoch's last batch in a picture.
    """

    def __init__(self, summary_writer: SummaryWriter, *, interval: int = 1, samples: int = 4) -> None:
        super().__init__(summary_writer)
        self.interval = interval
        self.samples = samples

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        """Write one picture."""
        output = engine.state.output
        prediction = output["pred"]
        logits = prediction.logits if isinstance(prediction, AdaptiveClickOutput) else prediction
        panel = training_panel(output["image"][: self.samples], output["label"][: self.samples], logits[: self.samples])
        self._writer.add_image("training", panel, engine.state.epoch)


def training_panel(x: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """Draw training samples: a row each with image and clicks, target, previous mask, prediction.

    Args:
        x: [B, 6, H, W] network input.
        target: [B, 1, H, W]; 1 object, 0 background, -1 ignore.
        logits: [B, 1, H, W].

    Returns:
        [3, B * H, 4 * W] in [0, 1], positive clicks green, negative ones red.
    """
    x, target, logits = (tensor.detach().float().cpu() for tensor in (x, target, logits))
    image = x[:, :3].clamp(0, 1)
    clicks = x[:, 4:6].amax(1, keepdim=True) > 0
    colours = torch.cat([x[:, 5:6], x[:, 4:5], torch.zeros_like(x[:, 4:5])], dim=1)
    clicked = torch.where(clicks, colours, image)
    masks = [mask.expand(-1, 3, -1, -1) for mask in (target.clamp(0, 1), x[:, 3:4], logits.sigmoid())]
    rows = torch.cat([clicked, *masks], dim=3)
    return rows.permute(1, 0, 2, 3).flatten(1, 2)
