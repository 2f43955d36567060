"""The recipe of the default weights, on a small scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.weights import default, load_weights, read_header

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "adaptiveclick"
RECIPE = ROOT / "configs" / "default_weights.json"
PARTS = [
    {"dataset": "phantoms", "options": {"num_volumes": 3, "size": (6, 64, 64)}},
    {"dataset": "scenes", "options": {"num_images": 30, "size": (64, 64)}, "weight": 3},
]


def train(folder: Path, max_epochs: int, **overrides: Any) -> Path:
    workflow = ConfigWorkflow(
        config_file=[str(BUNDLE / "configs" / "train.json"), str(RECIPE)],
        run_id="training",
        workflow_type="train",
        bundle_root=str(BUNDLE),
        ckpt_dir=str(folder),
        output_dir=str(folder / "logs"),
        dataset_options={"parts": PARTS},
        image_size=64,
        samples_per_epoch=12,
        max_epochs=max_epochs,
        val_interval=1,
        val_max_samples=1,
        val_max_clicks=1,
        progress=False,
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("two"), 2)


def checkpoint(folder: Path, epoch: int) -> dict[str, Any]:
    return torch.load(folder / f"checkpoint_epoch={epoch}.pt", map_location="cpu", weights_only=False)


def test_the_averaged_weights_are_kept_in_half_precision_with_their_licence(trained: Path) -> None:
    header = read_header(trained / "model.safetensors")
    assert (header["dtype"], header["licence"]) == ("float16", "CC-BY-SA-4.0")
    assert header["training"]["epoch"] == 1
    assert header["training"]["dataset"] == "mixed"


def test_the_averaged_weights_are_validated_and_kept(tmp_path: Path) -> None:
    folder = train(tmp_path, 1)
    state, kept = load_weights(folder / "model.safetensors").state_dict(), checkpoint(folder, 1)
    assert all(torch.equal(state[name], kept["average"][name].half().float()) for name in state)
    assert any(not torch.equal(kept["average"][name], kept["network"][name]) for name in state)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(trained: Path, tmp_path: Path) -> None:
    first = train(tmp_path / "one", 1, **{"lr_scheduler#total_steps": 3})
    resumed = train(tmp_path / "two", 2, resume=str(first / "checkpoint_epoch=1.pt"))
    once, twice = checkpoint(trained, 2), checkpoint(resumed, 2)
    for part in ("network", "average"):
        assert all(torch.equal(once[part][name], twice[part][name]) for name in once[part])


def test_the_shipped_network_is_of_the_recipe_s_size() -> None:
    arguments = json.loads(RECIPE.read_text(encoding="utf-8"))["network_arguments"]
    network = default()
    assert isinstance(network, AdaptiveClick)
    assert {name: network.arguments[name] for name in arguments} == arguments
