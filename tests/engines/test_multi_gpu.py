"""Training with torchrun: two processes on the CPU end with the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "adaptiveclick" / "configs"


def test_two_ranks_end_with_the_same_weights(tmp_path: Path) -> None:
    save = f"$torch.save(@network.module.state_dict(), '{tmp_path}/rank%d.pt' % torch.distributed.get_rank())"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("-m", "monai.bundle", "run", "training"),
        *("--config_file", f"['{CONFIGS / 'train.json'}','{CONFIGS / 'multi_gpu_train.json'}']"),
        *("--logging_file", "False", "--bundle_root", str(tmp_path), "--image_size", "64"),
        *("--dataset_options", "{'num_volumes': 4, 'size': [4, 64, 64]}", "--samples_per_epoch", "8"),
        *("--batch_size", "2", "--max_epochs", "2", "--val_max_samples", "2", "--val_max_clicks", "2"),
        *("--training", f"['$@train#trainer.run()', \"{save}\"]"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    written = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert written == ["checkpoint_epoch=2.pt", "model.pt", "model.safetensors"]
    kept = torch.load(tmp_path / "models" / "checkpoint_epoch=2.pt", weights_only=True)["network"]
    for name, tensor in first.items():
        assert torch.equal(tensor, kept[name]), name
