"""``adaptiveclick-med export``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from adaptiveclick_med.cli.values import weight_file

__all__ = ["export"]


class Format(str, Enum):
    """What kind of file."""

    torchscript = "torchscript"
    onnx = "onnx"
    openvino = "openvino"


def export(
    weights: Annotated[Path, typer.Argument(help="Our weights or a released checkpoint; default: those shipped.")],
    target: Annotated[Path, typer.Argument(help="File to write: .ts (TorchScript), .onnx, or .xml (OpenVINO).")],
    image_size: Annotated[
        Optional[int], typer.Option("--image_size", help="Side of the input in pixels; by default the network's own.")
    ] = None,
    file_format: Annotated[
        Optional[Format], typer.Option("--format", help="By default told by the suffix of the target.")
    ] = None,
) -> None:
    """Write a network as a file that runs without its Python code, and compare it with the network."""
    from adaptiveclick_med.export import export_network
    from adaptiveclick_med.export.formats import is_exported, target_of
    from adaptiveclick_med.weights import load_network

    name = None if file_format is None else file_format.value
    target_of(target, name)
    if is_exported(weights):
        raise ValueError(f"weights must be a file of weights; {weights.name} is an exported network already.")
    exported = export_network(load_network(weight_file(weights)), target, format=name, image_size=image_size)
    height, width = exported.facts.image_size
    typer.echo(f"{exported.facts.network} for {height} x {width} pixels, format {exported.format}.")
    for output, difference in exported.differences.items():
        typer.echo(f"{output}: differs from the network by at most {difference:.1e} of the largest value.")
    typer.echo(f"Written to {exported.path}.")
