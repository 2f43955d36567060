"""Images a second of a training, and what its time goes into, by preset and precision.

    python benchmarks/training_throughput.py [--presets nano tiny small] [--precisions float32 bfloat16]
        [--batch_size 2] [--workers 0] [--steps 2] [--activation_checkpointing]

Phantoms run through the real training: the transforms of the bundle, ``ClickTrainingDataset``, a data loader, MONAI's
``SupervisedTrainer`` with ``InteractiveUpdate``, the total loss and a fused Adam. Shares are of the mean step, between
events of the engine. With workers the loader works beside the training, and its share is what the training waits for.
``clicks`` is the simulation alone; ``prediction`` are the network's answers to it, of which a step has 0 to 3.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Events
from measuring import Report, Timing, options, start
from monai.engines import IterationEvents, SupervisedTrainer

PARTS = ("data", "clicks", "prediction", "forward", "losses", "backward", "optimizer")
WARMUP = 1


def main() -> None:
    """Train a few steps for each preset and precision."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--presets", nargs="+", default=["nano", "tiny", "small"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--activation_checkpointing", action="store_true")
    arguments = start(parser)
    arguments.steps *= arguments.repeats
    report = Report(f"Training, batch {arguments.batch_size}, {arguments.workers} workers, {arguments.steps} steps")
    for preset in arguments.presets:
        for precision in arguments.precisions:
            steps = train(preset, precision, arguments)
            seconds = sum(sum(step.values()) for step in steps)
            name = f"{preset}, {precision}"
            report.add(f"{name}: images a second", arguments.batch_size * len(steps) / seconds, "/s")
            for part in PARTS:
                share = 100 * sum(step.get(part, 0.0) for step in steps) / seconds
                values = sorted(step.get(part, 0.0) for step in steps)
                timing = Timing(values[len(values) // 2], values[0], values[-1], len(values))
                report.add(f"  {name}: {part}", share, "%", timing=timing)
    report.print(arguments.json)


def train(preset: str, precision: str, arguments: Any) -> list[dict[str, float]]:
    """Train, and return the seconds of each part of each step after the first one."""
    from adaptiveclick_med.engines import InteractiveUpdate
    from adaptiveclick_med.losses import MaskAdaptiveLoss
    from adaptiveclick_med.weights import start_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = start_network(preset=preset, activation_checkpointing=arguments.activation_checkpointing).to(device)
    reduced = precision == "bfloat16"
    clock = Clock(device)

    class Update(InteractiveUpdate):
        """Tells the clock when the clicks are made; autocast on a CPU too, of which MONAI's trainer knows nothing."""

        def __call__(self, engine: Any, batchdata: Any) -> dict[str, Any]:
            with torch.autocast("cpu", torch.bfloat16, enabled=reduced and device.type == "cpu"):
                return super().__call__(engine, batchdata)

        def before_step(self, engine: Any, *_: Any) -> None:
            clock.part("clicks")

    count = (arguments.steps + WARMUP) * arguments.batch_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's trainer knows mixed precision on a GPU only
        trainer = SupervisedTrainer(
            device=device,
            max_epochs=1,
            train_data_loader=loader(network.image_size, count, arguments, device),
            network=network,
            optimizer=torch.optim.Adam(network.parameters(), lr=5e-5, fused=True),
            loss_function=MaskAdaptiveLoss(),
            iteration_update=Update(3),
            amp=reduced,
            amp_kwargs={"dtype": torch.bfloat16},
            non_blocking=device.type == "cuda",
            decollate=False,
        )
        clock.attach(trainer)
        with clock.predictions(network):
            trainer.run()
    return clock.steps[WARMUP:]


class Clock:
    """Divides the time of a training among its parts, from event to event."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = [{}]
        self.before = time.perf_counter()

    def part(self, name: str) -> None:
        """Add what passed since the last call to a part of the current step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.steps[-1][name] = self.steps[-1].get(name, 0.0) + now - self.before
        self.before = now

    def attach(self, trainer: SupervisedTrainer) -> None:
        """Register with a trainer."""
        ends = {
            Events.GET_BATCH_COMPLETED: "data",
            IterationEvents.FORWARD_COMPLETED: "forward",
            IterationEvents.LOSS_COMPLETED: "losses",
            IterationEvents.BACKWARD_COMPLETED: "backward",
            IterationEvents.MODEL_COMPLETED: "optimizer",
        }
        for event, name in ends.items():
            trainer.add_event_handler(event, self.part, name)
        trainer.add_event_handler(Events.EPOCH_STARTED, self.restart)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.steps.append({}))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.steps.pop())

    def restart(self) -> None:
        """Forget what passed so far."""
        self.before = time.perf_counter()

    @contextmanager
    def predictions(self, network: torch.nn.Module) -> Iterator[None]:
        """Keep the network's answers to the simulated user apart: those in evaluation mode."""
        hooks = [
            network.register_forward_pre_hook(lambda module, _: None if module.training else self.part("clicks")),
            network.register_forward_hook(lambda module, *_: None if module.training else self.part("prediction")),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def loader(size: tuple[int, int], count: int, arguments: Any, device: torch.device) -> Any:
    """Return the loader of a training on phantoms."""
    from monai.data import DataLoader
    from monai.transforms import Compose, EnsureTyped, SelectItemsd

    from adaptiveclick_med.data import ClickTrainingDataset, get_items
    from adaptiveclick_med.transforms import (
        LoadSampled,
        RandSelectTargetd,
        RandSimulateClicksd,
        ScaleToUnitRGBd,
        augmentation,
    )

    keys = ["image", "target", "points"]
    transform = Compose(
        [
            Compose([LoadSampled(), ScaleToUnitRGBd("image")]),
            augmentation("medical", size[0]),
            RandSelectTargetd(merge_probability=0.15, min_area=20),
            RandSimulateClicksd(required_key="required"),
            SelectItemsd(keys),
            EnsureTyped(keys, track_meta=False),
        ]
    )
    items = get_items("phantoms", num_volumes=2, size=(8, 256, 256))
    return DataLoader(
        ClickTrainingDataset(items, transform, samples_per_epoch=count),
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        pin_memory=device.type == "cuda",
    )


if __name__ == "__main__":
    main()
