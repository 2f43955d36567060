"""TorchScript: one file that PyTorch alone runs, from Python or C++."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptiveclick_med.export.facts import FACTS_KEY, ExportFacts
from adaptiveclick_med.export.graph import ExportableNetwork, example_input, quiet

__all__ = ["TorchScriptRunner", "traced", "write_torchscript"]


def traced(network: ExportableNetwork, facts: ExportFacts) -> Any:
    """Return the network as a traced module with its constants folded."""
    with quiet(), torch.no_grad():
        module = torch.jit.trace(network.eval(), example_input(facts.image_size), check_trace=False)
        return torch.jit.freeze(module.eval())


def write_torchscript(network: ExportableNetwork, facts: ExportFacts, path: Path) -> None:
    """Write the network to ``path``, with its facts among the extra files."""
    module = traced(network, facts)
    with quiet():
        torch.jit.save(module, str(path), _extra_files={FACTS_KEY: facts.to_json()})


class TorchScriptRunner:
    """Runs a TorchScript file.

    Args:
        path: the file.
        device: any device of PyTorch; ``None``: the first GPU, or the CPU.

    Raises:
        ValueError: when the file is damaged or of another origin, or the device cannot be used.
    """

    def __init__(self, path: Path, device: str | None) -> None:
        self.facts = ExportFacts.from_json(_read_facts(path), path)
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            torch.empty(0, device=self.device)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
        try:
            with quiet():
                self._module = torch.jit.load(str(path), map_location=self.device).eval()
        except RuntimeError as error:
            raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error

    @torch.no_grad()
    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the outputs for [B, 6, H, W], in the order of the facts."""
        return list(self._module(x.to(self.device)))


def _read_facts(path: Path) -> str | None:
    """Read the facts without loading the module."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.split("/")[1:] == ["extra", FACTS_KEY]:
                    return archive.read(name).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated, damaged or no TorchScript file: {error}") from error
    return None
