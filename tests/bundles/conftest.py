"""The bundle, run inside the test process, and one tiny training of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest


@pytest.fixture(scope="session")
def configs() -> Path:
    """Folder of the bundle's configs."""
    return Path(__file__).parents[2] / "bundles" / "adaptiveclick" / "configs"


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Overrides of train.json for seconds of training."""
    return {
        "image_size": 64,
        "dataset_options": {"num_volumes": 3, "size": (4, 64, 64)},
        "samples_per_epoch": 4,
        "batch_size": 2,
        "max_epochs": 1,
        "val_max_samples": 1,
        "val_max_clicks": 2,
        "min_area": 60,
        "progress": False,
    }


@pytest.fixture(scope="session")
def run_bundle(configs: Path) -> Callable[..., None]:
    """What ``python -m monai.bundle run`` does, without a new process."""

    def run(run_id: str, config: str | list[str], bundle_root: Path, **overrides: Any) -> None:
        files = [str(configs / name) for name in ([config] if isinstance(config, str) else config)]
        monai.bundle.run(
            run_id=run_id,
            config_file=files,
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            bundle_root=str(bundle_root),
            **overrides,
        )

    return run


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, configs: Path, run_bundle: Callable[..., None], small: dict[str, Any]
) -> Path:
    """A copy of the bundle's models, and beside them those of one epoch on small phantoms."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(configs.parent / "models", folder / "models")
    run_bundle("training", "train.json", folder, **small)
    return folder
