"""``adaptiveclick-med evaluate``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["evaluate"]


class Method(str, Enum):
    """What answers to the clicks."""

    network = "network"
    disk = "disk"


def evaluate(
    dataset: Annotated[str, typer.Option("--dataset", help="phantoms, sstem, folder or coco.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where results.json and the CSV files go.")],
    weights: Annotated[Optional[Path], typer.Option("--weights", help="Our weights or a released checkpoint.")] = None,
    dataset_dir: Annotated[Optional[Path], typer.Option("--dataset_dir", help="Folder of the data set.")] = None,
    method: Annotated[Method, typer.Option("--method", help="The network, or the trivial baseline.")] = Method.network,
    section: Annotated[str, typer.Option("--section", help="training, validation or all.")] = "all",
    val_fraction: Annotated[float, typer.Option("--val_fraction", help="Share that validates.")] = 0.3,
    split_seed: Annotated[int, typer.Option("--split_seed", help="Seed of the split and of the phantoms.")] = 0,
    max_samples: Annotated[Optional[int], typer.Option("--max_samples", help="Only so many images.")] = None,
    max_clicks: Annotated[int, typer.Option("--max_clicks", help="The user gives up after so many.")] = 20,
    min_area: Annotated[int, typer.Option("--min_area", help="Leave out objects of fewer pixels.")] = 20,
    crop_size: Annotated[Optional[int], typer.Option("--crop_size", help="Side of the network's input.")] = None,
    device: Annotated[Optional[str], typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    skip_bad_files: Annotated[bool, typer.Option("--skip_bad_files", help="Go on without files that fail.")] = False,
) -> None:
    """Let the robot user click on every object of a data set and count the clicks."""
    from adaptiveclick_med.evaluation import evaluate_source

    if output_dir.exists() and not output_dir.is_dir():
        raise NotADirectoryError(f"output_dir is not a folder: {output_dir}.")
    result = evaluate_source(
        dataset,
        dataset_dir,
        weights=weights,
        method=method.value,
        section=section,
        val_fraction=val_fraction,
        split_seed=split_seed,
        max_samples=max_samples,
        max_clicks=max_clicks,
        min_area=min_area,
        crop_size=crop_size,
        device=device,
        on_error="skip" if skip_bad_files else "raise",
    )
    result.save(output_dir)
    typer.echo(result.table())
    typer.echo(f"Written to {output_dir}.")
