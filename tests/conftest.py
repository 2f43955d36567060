"""Shared fixtures: parity tests run where ADAPTIVECLICK_SHARED names the folder of reference vectors and data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

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
