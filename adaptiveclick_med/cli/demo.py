"""``adaptiveclick-med demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where the picture and the weights go.")] = Path(
        "runs/demo"
    ),
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder of the bundle.")] = Path("bundles/adaptiveclick"),
    max_epochs: Annotated[int, typer.Option("--max_epochs", help="Epochs of the training.")] = 12,
) -> None:
    """Train the bundle on phantoms, evaluate it before and after, and draw what it does. Minutes on two CPU cores."""
    from adaptiveclick_med.demo import run_demo

    run_demo(output_dir, bundle=bundle, max_epochs=max_epochs)
