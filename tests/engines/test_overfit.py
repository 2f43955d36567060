"""Both heads learn eight phantoms by heart, from scratch: the whole training works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from monai.transforms import Compose, Resized

from adaptiveclick_med.data import get_items
from adaptiveclick_med.engines import InteractiveUpdate, network_input
from adaptiveclick_med.losses import MaskAdaptiveLoss, NormalizedFocalLoss
from adaptiveclick_med.networks import AdaptiveClickOutput
from adaptiveclick_med.transforms import LoadSampled, RandSelectTargetd, RandSimulateClicksd, ScaleToUnitRGBd
from adaptiveclick_med.weights import start_network

SIZE = 64


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    transform = Compose(
        [
            LoadSampled(),
            ScaleToUnitRGBd("image"),
            Resized(("image", "label"), (SIZE, SIZE), mode=("bilinear", "nearest")),
            RandSelectTargetd(min_area=80, merge_probability=0.0),
            RandSimulateClicksd(),
        ]
    ).set_random_state(seed=0)
    items = get_items("phantoms", num_volumes=8, size=(5, 96, 96))
    samples = [transform(item) for item in items[2::5][:8]]
    batch = {
        key: torch.stack([torch.as_tensor(s[key]).float() for s in samples]) for key in ("image", "target", "points")
    }
    assert bool((batch["target"] == 1).flatten(1).any(1).all())
    return batch


def overlap(network: Any, batch: dict[str, torch.Tensor]) -> float:
    network.eval()
    with torch.no_grad():
        x = network_input(batch["image"], torch.zeros_like(batch["target"]), batch["points"])
        predicted, truth = network(x).sigmoid() > 0.49, batch["target"] == 1
    union = (predicted | truth).flatten(1).sum(1)
    return float(((predicted & truth).flatten(1).sum(1) / union).mean())


@pytest.mark.parametrize("name", ["AdaptiveClick", "SimpleClick"])
def test_eight_phantoms_are_learned_by_heart(batch: dict[str, torch.Tensor], name: str) -> None:
    network = start_network(name, "nano", image_size=SIZE)
    before = overlap(network, batch)
    loss = MaskAdaptiveLoss() if name == "AdaptiveClick" else NormalizedFocalLoss(ignore_value=-1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch] * 160,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-3),
        loss_function=loss,
        inferer=SimpleInferer(),
        iteration_update=InteractiveUpdate(1),
        decollate=False,
    )
    losses: list[float] = []

    def keep(engine: Any) -> None:
        losses.append(engine.state.output["loss"].item())
        assert isinstance(engine.state.output["pred"], AdaptiveClickOutput) == (name == "AdaptiveClick")

    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    trainer.run()
    after = overlap(network, batch)
    assert before < 0.4
    assert after > 0.65
    if name == "AdaptiveClick":  # the normalised focal loss keeps its size by construction
        assert sum(losses[-20:]) / 20 < 0.6 * sum(losses[:10]) / 10
