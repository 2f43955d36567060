"""The interactive iteration: rounds, clicks, determinism."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer

from adaptiveclick_med.engines import GradientClipper, InteractiveUpdate, is_step, network_input, unwrapped
from adaptiveclick_med.losses import NormalizedFocalLoss


class Probe(torch.nn.Module):
    """Answers with one learned number everywhere and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(-4.0))
        self.seen: list[tuple[bool, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, x.detach().clone()))
        return self.bias.expand(x.shape[0], 1, *x.shape[-2:])


def batch() -> dict[str, torch.Tensor]:
    target = torch.zeros(2, 1, 32, 32)
    target[:, :, 8:24, 8:24] = 1
    points = torch.full((2, 8, 3), -1.0)
    points[:, 0] = torch.tensor([16.0, 16.0, 0.0])
    return {
        "image": torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        "target": target,
        "points": points,
    }


def run(update: Any, batches: int = 6) -> tuple[Probe, list[Any]]:
    probe = Probe()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch()] * batches,
        network=probe,
        optimizer=torch.optim.Adam(probe.parameters(), lr=0.0),
        loss_function=NormalizedFocalLoss(ignore_value=-1),
        inferer=SimpleInferer(),
        iteration_update=update,
        decollate=False,
    )
    rounds: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rounds.append(engine.state.output["rounds"]))
    trainer.run()
    return probe, rounds


def test_rounds_are_uniform_between_zero_and_the_maximum_and_seeded() -> None:
    _, first = run(InteractiveUpdate(3, seed=1), 60)
    _, again = run(InteractiveUpdate(3, seed=1), 60)
    _, other = run(InteractiveUpdate(3, seed=2), 60)
    assert first == again
    assert first != other
    assert set(first) == {0, 1, 2, 3}
    assert min(first.count(rounds) for rounds in range(4)) >= 6


def test_each_round_adds_a_click_where_the_prediction_is_wrong_and_shows_the_previous_mask() -> None:
    probe, rounds = run(InteractiveUpdate(3, seed=0), 20)
    calls = iter(probe.seen)
    checked = 0
    for count in rounds:
        shown = [next(calls) for _ in range(count + 1)]
        assert [training for training, _ in shown] == [False] * count + [True]
        disks = []
        for number, (_, x) in enumerate(shown):
            expected = 0.0 if number == 0 else torch.tensor(-4.0).sigmoid().item()
            torch.testing.assert_close(x[:, 3], torch.full_like(x[:, 3], expected))
            assert float(x[:, 5].sum()) == 0.0
            disks.append(x[:, 4])
        for before, after in itertools.pairwise(disks):
            assert bool((after >= before).all())
            checked += 1
    assert checked > 10


def test_network_input_puts_the_channels_in_order() -> None:
    sample = batch()
    previous = torch.full((2, 1, 32, 32), 0.25)
    x = network_input(sample["image"], previous, sample["points"], radius=2.0)
    assert x.shape == (2, 6, 32, 32)
    assert torch.equal(x[:, :3], sample["image"])
    assert torch.equal(x[:, 3:4], previous)
    assert float(x[0, 4].sum()) == 13.0
    assert x[0, 4, 16, 18] == 1.0
    assert float(x[:, 5].sum()) == 0.0


def test_missing_keys_and_bad_rounds_are_named() -> None:
    with pytest.raises(ValueError, match="max_rounds must not be negative, got -1"):
        InteractiveUpdate(-1)
    sample = batch()
    del sample["points"]
    trainer: Any = None
    with pytest.raises(ValueError, match="points is missing"):
        InteractiveUpdate()(trainer, sample)


def test_unwrapped_finds_the_network_inside_data_parallel() -> None:
    probe = Probe()
    assert unwrapped(torch.nn.DataParallel(probe)) is probe
    assert unwrapped(probe) is probe


class Ignored(torch.nn.Module):
    """Sums its input; one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x[:, :1]


def accumulated(steps: int, batches: int, handler: Any = None) -> tuple[list[bool], list[float], Ignored]:
    """Whether each batch was the last of a step, the weight after it, and the network at the end."""
    network = Ignored()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=[batch()] * batches,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda output, _target: output.mean(),
        inferer=SimpleInferer(),
        iteration_update=InteractiveUpdate(0),
        accumulation_steps=steps,
        train_handlers=[handler] if handler else None,
        decollate=False,
    )
    flags: list[bool] = []
    weights: list[float] = []

    def look(engine: Any) -> None:
        flags.append(is_step(engine))
        weights.append(network.weight.item())

    trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    trainer.run()
    return flags, weights, network


@pytest.mark.parametrize(
    ("steps", "batches", "expected"),
    [
        (1, 3, [True] * 6),
        (2, 4, [False, True, False, True] * 2),
        (2, 3, [False, True, True] * 2),
        (3, 2, [False, True] * 2),
    ],
)
def test_is_step_tells_when_the_weights_change(steps: int, batches: int, expected: list[bool]) -> None:
    flags, weights, _ = accumulated(steps, batches)
    assert flags == expected
    assert [after != before for before, after in itertools.pairwise([0.5, *weights])] == expected


def test_accumulated_gradients_are_clipped_when_they_are_complete() -> None:
    """The gradient of a batch is the mean of its image, about 0.5; clipped each time it would be 0.05 + 0.25."""
    _, weights, network = accumulated(2, 2, GradientClipper(0.1))
    assert weights == pytest.approx([0.5, 0.4, 0.4, 0.3], abs=1e-5)
    assert network.weight.grad is not None
    assert network.weight.grad.item() == pytest.approx(0.1, abs=1e-5)
