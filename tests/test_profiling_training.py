"""The memory of a training step: counted by hand, equal to that of a real step, smaller with checkpointing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from adaptiveclick_med.losses import MaskAdaptiveLoss, NormalizedFocalLoss
from adaptiveclick_med.networks import ClickNetwork, build_network
from adaptiveclick_med.profiling import PRECISIONS, TrainingMemory, TrainingProfile, profile_training, training_memory
from adaptiveclick_med.profiling.meters import LiveTensors

FLOAT = 4


def network_of(name: str = "AdaptiveClick", preset: str = "nano", **arguments: Any) -> ClickNetwork:
    with torch.device("meta"):
        return build_network(name, preset, **arguments)


def real_step(network: ClickNetwork, x: torch.Tensor, target: torch.Tensor) -> int:
    """Bytes above parameters and gradients, followed in a step that is really taken."""
    loss = MaskAdaptiveLoss() if network.has_candidates else NormalizedFocalLoss(ignore_value=-1)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    live = LiveTensors([*network.parameters(), *network.buffers(), *gradients])
    before = live.bytes
    with live:
        inputs = x.clone(), target.clone()
        loss(network(inputs[0]), inputs[1]).backward()
    return live.read() - before


@pytest.mark.parametrize("name", ["AdaptiveClick", "SimpleClick"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_it_is_what_a_real_step_needs(name: str, checkpointing: bool) -> None:
    torch.manual_seed(0)
    real = build_network(name, "nano", image_size=64).train()
    real.encoder.activation_checkpointing = checkpointing
    target = torch.zeros(2, 1, 64, 64)
    target[:, :, 10:40, 20:50] = 1
    expected = real_step(real, torch.rand(2, 6, 64, 64), target)
    memory = training_memory(network_of(name, image_size=64), activation_checkpointing=checkpointing)
    assert memory.activations == pytest.approx(expected, rel=0.02)
    count = sum(parameter.numel() for parameter in real.parameters())
    assert memory.gradients == FLOAT * count
    assert memory.optimizer == 2 * FLOAT * count
    assert memory.parameters == FLOAT * (count + sum(buffer.numel() for buffer in real.buffers()))
    assert memory.total == memory.parameters + memory.gradients + memory.optimizer + memory.activations


def test_checkpointing_and_less_precision_need_less() -> None:
    network = network_of(image_size=64)
    plain, checkpointed = (training_memory(network, activation_checkpointing=choice) for choice in (False, True))
    assert checkpointed.activations < 0.9 * plain.activations
    assert (checkpointed.parameters, checkpointed.optimizer) == (plain.parameters, plain.optimizer)
    half = training_memory(network, precision="bfloat16")
    assert half.activations < plain.activations
    assert half.activations == training_memory(network, precision="float16").activations
    # Double the batch: all activations, but not the weights in half precision.
    assert training_memory(network, batch_size=4).activations == pytest.approx(2 * plain.activations, rel=0.05)
    assert training_memory(network, (64, 128)).activations > 1.8 * plain.activations


def test_the_network_itself_is_not_touched() -> None:
    torch.manual_seed(0)
    network = build_network("SimpleClick", "nano", image_size=32).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training_memory(network, precision="bfloat16", activation_checkpointing=True)
    assert not network.training and not network.encoder.activation_checkpointing
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network(torch.zeros(1, 6, 32, 32)).isfinite().all()


def test_the_largest_network_fits_24_gb() -> None:
    memory = training_memory(network_of(preset="huge", image_size=448), activation_checkpointing=True)
    assert 680e6 < memory.gradients / FLOAT < 720e6
    assert memory.total < 0.9 * 24e9
    assert memory.card == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"precision": "float8"}, "precision must be one of float32, bfloat16, float16, got 'float8'"),
        ({"image_size": 60}, "patch_size is 8, the image is 60 x 60 pixels"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        training_memory(network_of(), **options)


class TestTrainingProfile:
    def test_every_precision_with_and_without(self) -> None:
        profile = profile_training(network_of("SimpleClick"), 32, batch_size=1)
        choices = [(each.precision, each.activation_checkpointing) for each in profile.memory]
        assert choices == [(precision, choice) for precision in PRECISIONS for choice in (False, True)]
        assert profile.memory[3] == training_memory(
            network_of("SimpleClick"), 32, batch_size=1, precision="bfloat16", activation_checkpointing=True
        )
        assert (profile.facts["image_size"], profile.facts["batch_size"]) == ([32, 32], 1)

    def test_table_and_plain_values(self) -> None:
        gib = 2**30
        memory = [
            TrainingMemory("float32", False, gib, gib, 2 * gib, 16 * gib),
            TrainingMemory("float16", True, gib, gib, 2 * gib, 200 * gib),
        ]
        facts = {"network": "Toy", "image_size": [448, 672], "batch_size": 3, "torch": "2.8.0"}
        profile = TrainingProfile(memory, facts)
        rows = profile.table().splitlines()
        assert rows[1].split() == ["float32", "1.000", "1.000", "2.000", "16.000", "20.000", "24.000"]
        assert rows[2].split() == ["float16,", "checkpointing", "1.000", "1.000", "2.000", "200.000", "204.000", "inf"]
        assert "Toy, 448 x 672 pixels, batch 3" in profile.table()
        content = profile.as_dict()
        assert json.loads(json.dumps(content)) == content
        assert content["memory"][0]["total_bytes"] == 20 * gib
        assert [each["smallest_card_gb"] for each in content["memory"]] == [24, None]
