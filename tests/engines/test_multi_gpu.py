"""Training with torchrun: processes on the CPU end with the same weights, and with those of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "adaptiveclick" / "configs"
SGD = "{'_target_': 'torch.optim.SGD', 'params': '$@network.parameters()', 'lr': 0.01}"
GRADIENTS = "all(p.grad is not None and bool(p.grad.isfinite().all()) for p in @network.parameters())"


def run(folder: Path, *, processes: int = 2, **overrides: Any) -> list[dict[str, Any]]:
    """Train on small phantoms; what each rank has at the end: weights, and whether all of them had a gradient."""
    network = "@network.module" if processes > 1 else "@network"
    rank = "torch.distributed.get_rank()" if processes > 1 else "0"
    kept = f"{{'weights': {network}.state_dict(), 'all_gradients': {GRADIENTS}}}"
    save = f"$torch.save({kept}, '{folder}/rank%d.pt' % {rank})"
    options = {
        "image_size": 64,
        "dataset_options": "{'num_volumes': 4, 'size': [4, 64, 64]}",
        "samples_per_epoch": 8,
        "batch_size": 2,
        "max_epochs": 2,
        "val_max_samples": 2,
        "val_max_clicks": 2,
        "training": f"['$@train#trainer.run()', \"{save}\"]",
        **overrides,
    }
    files = ["train.json", "multi_gpu_train.json"] if processes > 1 else ["train.json"]
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [
        *(*start, "-m", "monai.bundle", "run", "training"),
        *("--config_file", str([str(CONFIGS / name) for name in files])),
        *("--logging_file", "False", "--bundle_root", str(folder)),
        *(text for name, value in options.items() for text in (f"--{name}", str(value))),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_two_ranks_end_with_the_same_weights_and_one_of_them_writes(tmp_path: Path) -> None:
    first, second = run(tmp_path)
    equal(first["weights"], second["weights"])
    written = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert written == ["checkpoint_epoch=2.pt", "model.pt", "model.safetensors"]
    kept = torch.load(tmp_path / "models" / "checkpoint_epoch=2.pt", weights_only=True)["network"]
    equal(first["weights"], kept)
    assert len(list((tmp_path / "eval").glob("events.out*"))) == 1


def test_two_ranks_that_accumulate_are_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    """Plain gradient descent, so that rounding stays small; every sample has an object, no clicks but the first."""
    same = {
        "optimizer": SGD,
        "max_rounds": 0,
        "keep_empty": 0.0,
        "min_area": 40,
        "samples_per_epoch": 12,
        "max_epochs": 1,
        "network_def#activation_checkpointing": True,
    }
    (alone,) = run(tmp_path / "alone", processes=1, batch_size=4, **same)
    first, second = run(tmp_path / "ranks", batch_size=1, gradient_accumulation=2, **same)
    equal(first["weights"], second["weights"])
    assert first["all_gradients"] and second["all_gradients"] and alone["all_gradients"]
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=0, atol=1e-5, msg=name)
    (start,) = run(tmp_path / "start", processes=1, batch_size=4, **{**same, "optimizer": SGD.replace("0.01", "0.0")})
    moved = max(float((start["weights"][name] - tensor).abs().max()) for name, tensor in alone["weights"].items())
    assert moved > 1e-3


def test_two_ranks_that_are_resumed_end_like_a_straight_run(tmp_path: Path) -> None:
    same = {"batch_size": 1, "gradient_accumulation": 2, "gradient_clip": 1.0, "lr_scheduler#milestones": [3]}
    straight, _ = run(tmp_path / "straight", max_epochs=2, **same)
    run(tmp_path / "half", max_epochs=1, **same)
    checkpoint = tmp_path / "half" / "models" / "checkpoint_epoch=1.pt"
    first, second = run(tmp_path / "rest", max_epochs=2, resume=checkpoint, **same)
    equal(first["weights"], second["weights"])
    equal(straight["weights"], first["weights"])
