"""Training on the real bundle: resuming is exact, two ranks agree, both heads learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

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
