"""Training on the real bundle: resuming is exact, two ranks agree, both heads learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from adaptiveclick_med.weights import start_network

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "adaptiveclick" / "configs"
SMALL: dict[str, Any] = {
    "image_size": 64,
    "dataset_options": {"num_volumes": 3, "size": (4, 64, 64)},
    "samples_per_epoch": 4,
    "batch_size": 2,
    "val_max_samples": 1,
    "val_max_clicks": 2,
    "min_area": 60,
    "progress": False,
}


def train(folder: Path, **overrides: Any) -> ConfigWorkflow:
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "train.json"),
        run_id="training",
        workflow_type="train",
        logging_file=False,
        bundle_root=str(folder),
        **{**SMALL, **overrides},
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def weights_of(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / "models" / f"checkpoint_epoch={epoch}.pt", weights_only=True)["network"]


def test_stopping_and_resuming_gives_the_weights_of_a_straight_run(tmp_path: Path) -> None:
    train(tmp_path / "straight", max_epochs=4)
    train(tmp_path / "halves", max_epochs=2, **{"lr_scheduler#milestones": [3]})
    half = tmp_path / "halves" / "models" / "checkpoint_epoch=2.pt"
    train(tmp_path / "rest", max_epochs=4, resume=str(half))
    straight, resumed = weights_of(tmp_path / "straight", 4), weights_of(tmp_path / "rest", 4)
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    assert not torch.equal(weights_of(tmp_path / "halves", 2)["encoder.pos_embed"], straight["encoder.pos_embed"])


def test_the_optimiser_is_fused_and_equal_to_a_plain_one(tmp_path: Path) -> None:
    """Both are given the same gradients; in a training, Adam makes a whole step of the rounding of a zero gradient."""
    parsers = {}
    for fused in (True, False):
        overrides = {} if fused else {"fused_optimizer": False}
        parsers[fused] = train(tmp_path / str(fused), max_epochs=1, learning_rate=1e-3, **overrides).parser
    optimizers = {fused: parser.get_parsed_content("optimizer") for fused, parser in parsers.items()}
    assert [optimizers[fused].defaults["fused"] for fused in (True, False)] == [True, False]
    start = start_network(preset="nano", image_size=64).state_dict()
    networks = {fused: parser.get_parsed_content("network") for fused, parser in parsers.items()}
    for fused, optimizer in optimizers.items():
        networks[fused].load_state_dict(start)
        optimizer.state.clear()
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            for parameter in networks[fused].parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    found, expected = (dict(networks[fused].named_parameters()) for fused in (True, False))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert float((found["encoder.pos_embed"] - start["encoder.pos_embed"]).detach().abs().max()) > 1e-4


def test_every_parameter_has_a_gradient_after_an_accumulated_step(tmp_path: Path) -> None:
    workflow = train(tmp_path, max_epochs=1, gradient_accumulation=2, activation_checkpointing="true")
    network = workflow.parser.get_parsed_content("network")
    assert network.encoder.activation_checkpointing
    without = [name for name, each in network.named_parameters() if each.grad is None]
    assert without == []
    optimizer = workflow.parser.get_parsed_content("optimizer")
    assert {int(state["step"]) for state in optimizer.state.values()} == {1}


def test_workers_and_a_cache_change_nothing(tmp_path: Path) -> None:
    train(tmp_path / "plain", max_epochs=2)
    disk = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    workflow = train(tmp_path / "workers", max_epochs=2, num_workers=2, prefetch_factor=1, **disk)
    train(tmp_path / "memory", max_epochs=2, cache="memory", cache_rate=0.5)
    loader = workflow.parser.get_parsed_content("train#dataloader")
    assert (loader.num_workers, loader.persistent_workers, loader.prefetch_factor) == (2, True, 1)
    assert loader.pin_memory is torch.cuda.is_available()
    assert list((tmp_path / "cache").glob("*.pt"))
    plain = weights_of(tmp_path / "plain", 2)
    for other in ("workers", "memory"):
        for name, tensor in weights_of(tmp_path / other, 2).items():
            assert torch.equal(tensor, plain[name]), (other, name)
