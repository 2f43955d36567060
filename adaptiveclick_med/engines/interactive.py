"""The interactive iteration: predict, click where it is wrong, predict again, then learn (the paper, Sec. IV-A)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.utils import CommonKeys
from torch import Tensor, nn

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.simulation import next_training_clicks

__all__ = ["InteractiveUpdate", "is_step", "network_input", "unwrapped"]


def network_input(image: Tensor, previous: Tensor, points: Tensor, *, radius: float = 5.0) -> Tensor:
    """Join what a network sees into one tensor.

    Args:
        image: [B, 3, H, W] in [0, 1].
        previous: [B, 1, H, W], probabilities of the preceding prediction, zeros at the first.
        points: [B, 2N, 3] of (row, column, order), the first N positive, padding -1.
        radius: radius of the click disks in pixels.

    Returns:
        [B, 6, H, W].
    """
    maps = click_maps(points, (int(image.shape[-2]), int(image.shape[-1])), radius)
    return torch.cat([image, previous.to(image.dtype), maps.to(image.dtype)], dim=1)


class InteractiveUpdate:
    """One training step with simulated clicks, for ``SupervisedTrainer(iteration_update=...)``.

    With no gradient, 0 to ``max_rounds`` further rounds (uniform): predict, take the larger error region, click inside
    it; the prediction becomes the previous mask. Then MONAI's own training step follows, so that mixed precision,
    gradient accumulation and events work unchanged. Random numbers depend on ``seed``, the iteration and the rank only:
    a training that was stopped and resumed makes the same clicks as one that was not. The number of rounds is the same
    on all ranks. With gradient accumulation, ranks exchange their gradients once a step of the optimiser.

    A batch is a dictionary with ``image`` [B, 3, H, W], ``target`` [B, 1, H, W] (1 object, 0 background, -1 ignore) and
    ``points`` [B, 2N, 3].

    Args:
        max_rounds: most rounds of further clicks.
        threshold: probability above which a pixel belongs to the prediction.
        seed: of the clicks.
        radius: radius of the click disks in pixels.
    """

    def __init__(self, max_rounds: int = 3, *, threshold: float = 0.49, seed: int = 0, radius: float = 5.0) -> None:
        if max_rounds < 0:
            raise ValueError(f"max_rounds must not be negative, got {max_rounds}.")
        self.max_rounds = max_rounds
        self.threshold = threshold
        self.seed = seed
        self.radius = radius

    def __call__(self, engine: SupervisedTrainer, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        """Make the clicks and take one training step.

        Raises:
            ValueError: when the batch lacks ``image``, ``target`` or ``points``.
        """
        missing = [key for key in ("image", "target", "points") if key not in batchdata]
        if missing:
            raise ValueError(f"A training batch needs image, target and points; {', '.join(missing)} is missing.")
        device = engine.state.device
        image, target, points = (
            _plain(batchdata[key]).to(device, non_blocking=engine.non_blocking) for key in ("image", "target", "points")
        )
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + engine.state.iteration)
        rounds = int(torch.randint(self.max_rounds + 1, (1,), generator=generator))
        generator.manual_seed(int(torch.randint(2**62, (1,), generator=generator)) + engine.state.rank)
        previous = torch.zeros_like(image[:, :1])
        if rounds:
            network = unwrapped(engine.network)
            network.eval()
            with torch.no_grad(), torch.autocast(device.type, enabled=engine.amp, **engine.amp_kwargs):
                for _ in range(rounds):
                    logits = network(network_input(image, previous, points, radius=self.radius))
                    previous = logits.float().sigmoid()
                    points = next_training_clicks(previous, target, points, generator, self.threshold)
        self.before_step(engine, image, previous, points)
        x = network_input(image, previous, points, radius=self.radius)
        with _without_exchange(engine):
            output = engine._iteration(engine, {CommonKeys.IMAGE: x, CommonKeys.LABEL: target})
        output["rounds"] = rounds
        return output

    def before_step(self, engine: SupervisedTrainer, image: Tensor, previous: Tensor, points: Tensor) -> None:
        """Do nothing; called when all clicks of a batch are made, for subclasses that need what the network will see.

        Args:
            engine: the trainer.
            image: [B, 3, H, W] in [0, 1].
            previous: [B, 1, H, W], probabilities of the preceding prediction, zeros at the first.
            points: [B, 2N, 3] of (row, column, order), the first N positive, padding -1.
        """


def is_step(engine: Any) -> bool:
    """Return whether the optimiser of a MONAI ``SupervisedTrainer`` steps after the current batch.

    Args:
        engine: the trainer, inside an iteration. With gradient accumulation it steps after each ``accumulation_steps``
            batches and after the last one of an epoch.
    """
    steps = getattr(engine, "accumulation_steps", 1)
    if steps == 1:
        return True
    length = engine.state.epoch_length
    done = engine.state.iteration if length is None else (engine.state.iteration - 1) % length + 1
    return bool(done % steps == 0 or done == length)


def _without_exchange(engine: SupervisedTrainer) -> AbstractContextManager[Any]:
    """Keep ranks from exchanging gradients after a batch that is not the last one of a step; they add up meanwhile."""
    if isinstance(engine.network, nn.parallel.DistributedDataParallel) and not is_step(engine):
        return engine.network.no_sync()
    return nullcontext()


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside a ``DistributedDataParallel`` or ``DataParallel``, or the network itself."""
    if isinstance(network, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return network.module
    return network


def _plain(tensor: Tensor) -> Tensor:
    """Drop the meta data of a MetaTensor; the network needs none."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
