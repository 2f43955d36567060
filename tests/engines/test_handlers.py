"""Handlers of the training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from adaptiveclick_med.engines import BestWeights, EpochSetter, GradientClipper, ResumableCheckpoints, StopOnNan
from adaptiveclick_med.engines.handlers import training_panel
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.weights import load_weights, read_header


def test_best_weights_are_written_only_for_the_best_epoch(tmp_path: Path) -> None:
    network = AdaptiveClick.from_preset("nano", image_size=32, depth=4)
    network.intensity = {"window": "lung"}
    handler = BestWeights(network, tmp_path, facts={"dataset": "phantoms"}, licence="Apache-2.0")
    engine: Any = SimpleNamespace(
        state=SimpleNamespace(epoch=2, best_metric_epoch=1, rank=0, metrics={"NoC@90": 3.5, "curve": [1.0]})
    )
    handler(engine)
    assert not list(tmp_path.iterdir())
    engine.state.best_metric_epoch = 2
    handler(engine)
    header = read_header(tmp_path / "model.safetensors")
    assert header["training"] == {"dataset": "phantoms", "epoch": 2, "validation": {"NoC@90": 3.5}}
    assert header["licence"] == "Apache-2.0"
    assert header["intensity"]["window"] == "lung"
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    loaded = load_weights(tmp_path / "model.safetensors").state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])
        assert torch.equal(tensor, loaded[name])
    engine.state.rank = 1
    (tmp_path / "model.pt").unlink()
    handler(engine)
    assert not (tmp_path / "model.pt").exists()


def test_the_gradient_norm_is_clipped() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 10.0)
    network = SimpleNamespace(parameters=lambda: [parameter])
    GradientClipper(1.0)(SimpleNamespace(amp=False, scaler=None, network=network))
    assert parameter.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(ValueError, match="max_norm must be positive or None, got 0"):
        GradientClipper(0)


def test_the_data_set_is_told_each_epoch() -> None:
    epochs: list[int] = []
    engine = Engine(lambda _engine, _batch: None)
    EpochSetter(SimpleNamespace(set_epoch=epochs.append)).attach(engine)
    engine.run([0], max_epochs=3)
    assert epochs == [1, 2, 3]


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    engine = Engine(lambda _engine, loss: {"loss": torch.tensor(loss)})
    StopOnNan().attach(engine)
    engine.run([1.0, float("nan"), 2.0], max_epochs=1)
    assert engine.state.iteration == 2


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nothing\.pt to resume from"):
        ResumableCheckpoints(tmp_path, {}, resume=tmp_path / "nothing.pt")


def test_only_the_first_rank_writes_checkpoints(tmp_path: Path) -> None:
    engine = Engine(lambda _engine, _batch: None)
    ResumableCheckpoints(tmp_path, {"network": torch.nn.Linear(1, 1)}, save=False).attach(engine)
    engine.run([0], max_epochs=1)
    assert not engine.has_event_handler(lambda: None, Events.EPOCH_COMPLETED)
    assert not list(tmp_path.iterdir())


def test_the_panel_shows_clicks_target_previous_mask_and_prediction() -> None:
    x = torch.zeros(2, 6, 4, 4)
    x[:, :3] = 0.5
    x[0, 4, 1, 1] = 1
    x[0, 5, 2, 2] = 1
    x[:, 3] = 0.25
    target = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    panel = training_panel(x, target, torch.zeros(2, 1, 4, 4))
    assert panel.shape == (3, 8, 16)
    assert panel[:, 1, 1].tolist() == [0.0, 1.0, 0.0]
    assert panel[:, 2, 2].tolist() == [1.0, 0.0, 0.0]
    assert panel[:, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert panel[0, 0, 4] == 1.0
    assert panel[0, 4, 4] == 0.0
    assert panel[0, 0, 8] == 0.25
    assert panel[0, 0, 12] == 0.5


class Scaler:
    """What a checkpoint needs of a gradient scaler."""

    def __init__(self, scale: float, enabled: bool = True) -> None:
        self.scale, self.enabled = scale, enabled

    def is_enabled(self) -> bool:
        return self.enabled

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_scale_of_the_gradients_is_resumed_where_there_is_one(tmp_path: Path, enabled: bool) -> None:
    def run(scale: float, epochs: int, resume: Path | None = None) -> Scaler:
        engine: Any = Engine(lambda _engine, _batch: None)
        engine.scaler = Scaler(scale, enabled)
        engine.state.rank = 0
        network = torch.nn.Linear(1, 1)
        ResumableCheckpoints(tmp_path, {"network": network}, resume=resume).attach(engine)
        engine.run([0], max_epochs=epochs)
        return engine.scaler

    run(512.0, 1)
    checkpoint = tmp_path / "checkpoint_epoch=1.pt"
    kept = torch.load(checkpoint, weights_only=True)
    assert ("scaler" in kept) is enabled
    assert run(2.0, 2, checkpoint).scale == (512.0 if enabled else 2.0)
