"""Shared fixtures: parity tests run where ADAPTIVECLICK_SHARED names the folder of reference vectors and data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

VARIABLE = "ADAPTIVECLICK_SHARED"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    parity = [item for item in items if item.get_closest_marker("parity")]
    if parity:
        config.hook.pytest_deselected(items=parity)
        items[:] = [item for item in items if not item.get_closest_marker("parity")]
        config.stash[_MESSAGE] = f"{len(parity)} parity tests deselected: {VARIABLE} is not set."


_MESSAGE = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _MESSAGE in config.stash:
        terminalreporter.write_line(config.stash[_MESSAGE])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and data; parity tests only."""
    return Path(os.environ[VARIABLE])


@pytest.fixture(scope="session")
def golden(shared: Path) -> Any:
    """Read one item of the reference vectors: its description and its tensors."""

    def read(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        folder = shared / "golden"
        return json.loads((folder / f"{name}.json").read_text()), safetensors.torch.load_file(
            folder / f"{name}.safetensors"
        )

    return read


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set "folder": three pictures of 64 x 72 pixels, each with a rectangle and a disk."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    rows, columns = np.ogrid[:64, :72]
    for number in range(3):
        label = np.zeros((64, 72), np.uint8)
        label[8:30, 6 + 4 * number : 30] = 1
        label[(rows - 44) ** 2 + (columns - 50 + 4 * number) ** 2 <= 12**2] = 2
        image = np.clip(60 + 70.0 * label + random.normal(0, 10, label.shape), 0, 255).astype(np.uint8)
        for kind, array in (("images", image), ("labels", label)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"case_{number}.png")
    return folder
