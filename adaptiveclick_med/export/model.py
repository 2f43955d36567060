"""Exported networks as models that sessions, volumes, lockstep and evaluation take."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from adaptiveclick_med.export.facts import ExportFacts
from adaptiveclick_med.export.formats import files_of, format_of, is_exported
from adaptiveclick_med.export.onnx_file import OnnxRunner
from adaptiveclick_med.export.openvino_file import OpenVinoRunner
from adaptiveclick_med.export.torchscript import TorchScriptRunner
from adaptiveclick_med.networks import AdaptiveClickOutput, ClickModel
from adaptiveclick_med.weights import load_network

__all__ = ["ExportedModel", "load_exported", "load_model"]


class Runner(Protocol):
    """What runs a file."""

    facts: ExportFacts
    device: torch.device

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the outputs for [B, 6, H, W], in the order of the facts."""
        ...


class ExportedModel(ClickModel):
    """A network from a file of :func:`export_network`, for one size of the input; see :func:`load_exported`.

    Args:
        path: the file it came from.
        runner: what runs it.

    Attributes:
        path: the file.
        format: name of its format.
        facts: what the file tells of the network.
    """

    def __init__(self, path: Path, runner: Runner) -> None:
        self.path = path
        self.format = format_of(path)
        self.facts = runner.facts
        self.intensity = None if runner.facts.intensity is None else dict(runner.facts.intensity)
        self._runner = runner

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.facts.patch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the input, the only size that the file takes."""
        return self.facts.image_size

    @property
    def device(self) -> torch.device:
        """Where the input is expected and the output appears: the CPU for ONNX and OpenVINO."""
        return self._runner.device

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that belong to it, the one it was loaded from first."""
        return files_of(self.path)

    @property
    def has_candidates(self) -> bool:
        """Whether the network has candidates."""
        return len(self.facts.outputs) > 1

    def require_size(self, size: tuple[int, int], name: str) -> None:
        """Check a size against the one that the file was exported for.

        Args:
            size: (height, width) in pixels.
            name: of the argument, for the error.

        Raises:
            ValueError: when it is another one.
        """
        if size != self.image_size:
            height, width = self.image_size
            raise ValueError(
                f"{name} must be {height} x {width}, the size that {self.path.name} was exported for, "
                f"got {size[0]} x {size[1]}."
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits [B, 1, H, W] for x [B, 6, H, W], as a network in evaluation mode does."""
        return self.predict(x, auxiliary=False).logits

    def predict(self, x: Tensor, *, return_features: bool = False, auxiliary: bool = True) -> AdaptiveClickOutput:
        """Return the whole answer.

        Args:
            x: [B, 6, H, W] of the file's size, float32.
            return_features: must be ``False``: a file has no named intermediate maps.
            auxiliary: a file has no masks of earlier prediction points, so it changes nothing.

        Raises:
            ValueError: when ``x`` is of another shape or type, or features are asked for.
        """
        if return_features:
            raise ValueError("return_features must be False: an exported network has no intermediate maps.")
        if x.ndim != 4 or x.shape[0] < 1 or x.shape[1] != 6 or x.dtype != torch.float32:
            raise ValueError(f"The input must be float32 of shape [B, 6, H, W], got {x.dtype} {list(x.shape)}.")
        self.require_size((int(x.shape[2]), int(x.shape[3])), "The network's input (crop_size of a session)")
        found = dict(zip(self.facts.outputs, self._runner(x), strict=True))
        return AdaptiveClickOutput(found["logits"], found.get("mask_logits"), found.get("click_logits"))


def load_exported(
    path: str | Path, *, device: str | None = None, threads: int | None = None, precision: str = "f32"
) -> ExportedModel:
    """Load a file of :func:`export_network`.

    Args:
        path: the file; its suffix tells the format.
        device: where it runs. TorchScript: a device of PyTorch; ONNX: ``"cpu"``, ``"cuda"``, ``"cuda:N"``; OpenVINO:
            ``"cpu"``, ``"gpu"``, ``"npu"``, ``"auto"``. ``None``: the first GPU where PyTorch or ONNX Runtime can use
            one, else the CPU; always the CPU with OpenVINO.
        threads: threads of the CPU of ONNX Runtime and OpenVINO; ``None``: as many as PyTorch uses. TorchScript runs
            in those of PyTorch (``torch.set_num_threads``).
        precision: of OpenVINO's arithmetic: ``"f32"``, ``"bf16"`` (faster on some processors, masks change a little) or
            ``"f16"``.

    Returns:
        The model, ready for a session.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged or of another origin, an argument cannot be used, or a library is missing.
    """
    path = Path(path)
    name = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no exported network {path}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}.")
    if name == "torchscript" and threads is not None:
        raise ValueError("threads cannot be given for TorchScript: it runs in PyTorch's, see torch.set_num_threads.")
    if name != "openvino" and precision != "f32":
        raise ValueError(f"precision must be f32 with {name}, got {precision!r}; OpenVINO has others.")
    used = threads or torch.get_num_threads()
    if name == "torchscript":
        return ExportedModel(path, TorchScriptRunner(path, device))
    if name == "onnx":
        return ExportedModel(path, OnnxRunner(path, device, used))
    return ExportedModel(path, OpenVinoRunner(path, device, used, precision))


def load_model(path: str | Path, *, device: torch.device | str | None = None) -> ClickModel:
    """Load whatever a session can use: our weights, a released checkpoint, or an exported network.

    Args:
        path: a file for :func:`load_exported`, told by its suffix, or for
            :func:`adaptiveclick_med.weights.load_network`.
        device: where it runs; ``None``: the CPU for weights, see :func:`load_exported` for an exported network.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file or the device cannot be used.
    """
    if is_exported(path):
        return load_exported(path, device=None if device is None else str(device))
    return load_network(path, device=device or "cpu")
