"""``adaptiveclick-med demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where the picture and the results go.")] = Path(
        "runs/demo"
    ),
    train: Annotated[
        bool, typer.Option("--train", help="Train a small network on phantoms, and compare before and after.")
    ] = False,
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder of the bundle, for --train.")] = Path(
        "bundles/adaptiveclick"
    ),
    max_epochs: Annotated[int, typer.Option("--max_epochs", help="Epochs of --train.")] = 12,
) -> None:
    """Count the clicks of the default network beside a classical method, and draw what it answers.

    About a minute on two CPU cores; with --train some minutes.
    """
    from adaptiveclick_med.demo import run_demo, run_training_demo

    if train:
        run_training_demo(output_dir, bundle=bundle, max_epochs=max_epochs)
    else:
        run_demo(output_dir)
