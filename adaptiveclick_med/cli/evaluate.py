"""``adaptiveclick-med evaluate``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from adaptiveclick_med.cli.values import Precision, Quantize, json_object, whole_numbers, window_value

__all__ = ["evaluate"]


class Method(str, Enum):
    """What answers to the clicks."""

    network = "network"
    disk = "disk"
    random_walker = "random_walker"
    fast_marching = "fast_marching"
    region_growing = "region_growing"


class OnError(str, Enum):
    """What to do with what cannot be used."""

    stop = "raise"
    skip = "skip"


def evaluate(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where results.json and the CSV files go.")],
    dataset: Annotated[
        Optional[str], typer.Option("--dataset", help="Name of a data set; `adaptiveclick-med datasets list`.")
    ] = None,
    dataset_dir: Annotated[Optional[Path], typer.Option("--dataset_dir", help="Folder of the data set.")] = None,
    config: Annotated[
        Optional[Path], typer.Option("--config", help="YAML file of several data sets, in place of --dataset.")
    ] = None,
    weights: Annotated[
        Optional[Path],
        typer.Option(
            "--weights", help="Our weights, a released checkpoint, or an exported network; by default those shipped."
        ),
    ] = None,
    preset: Annotated[Optional[str], typer.Option("--preset", help="An untrained network of this size.")] = None,
    method: Annotated[
        Method, typer.Option("--method", help="The network, the trivial disk, or a classical method.")
    ] = Method.network,
    section: Annotated[
        Optional[str], typer.Option("--section", help="training, validation or all; by default what the paper takes.")
    ] = None,
    options: Annotated[Optional[str], typer.Option("--options", help="Options of the data set, as JSON.")] = None,
    val_fraction: Annotated[float, typer.Option("--val_fraction", help="Share that validates.")] = 0.3,
    split_seed: Annotated[int, typer.Option("--split_seed", help="Seed of the split and of the phantoms.")] = 0,
    max_samples: Annotated[Optional[int], typer.Option("--max_samples", help="Only so many images.")] = None,
    max_clicks: Annotated[int, typer.Option("--max_clicks", help="The user gives up after so many.")] = 20,
    min_area: Annotated[
        Optional[int], typer.Option("--min_area", help="Leave out objects of fewer pixels; by default as the paper.")
    ] = None,
    crop_size: Annotated[
        Optional[int], typer.Option("--crop_size", help="Side of the network's input; by default as the paper.")
    ] = None,
    intensity_window: Annotated[
        Optional[str], typer.Option("--intensity_window", help="A CT window by name, or LOW,HIGH.")
    ] = None,
    channels: Annotated[
        Optional[str], typer.Option("--channels", help="Channel of a picture, or three: 2 or 0,1,2.")
    ] = None,
    batch_size: Annotated[
        str, typer.Option("--batch_size", help="Objects that advance together: a number, or auto.")
    ] = "1",
    device: Annotated[Optional[str], typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the network's heavy parts; float16 on a GPU only.")
    ] = Precision.float32,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network; the first click waits.")] = False,
    quantize: Annotated[
        Optional[Quantize], typer.Option("--quantize", help="Linear layers in 8 bits, on a CPU only.")
    ] = None,
    second_look: Annotated[
        bool, typer.Option("--second_look", help="Answer the first click twice, the second time close to the object.")
    ] = False,
    on_error: Annotated[
        OnError, typer.Option("--on_error", help="Stop at what cannot be used, or go on without it.")
    ] = OnError.stop,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away results of another run.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html with pictures and curves.")] = False,
) -> None:
    """Let the robot user click on every object of a data set and count the clicks.

    A run that was stopped goes on when it is started again with the same arguments.
    """
    from adaptiveclick_med import evaluation

    if (dataset is None) == (config is None):
        raise ValueError("pass --dataset NAME for one data set, or --config FILE for several.")
    single: dict[str, Any] = {
        "dataset_dir": None if dataset_dir is None else str(dataset_dir),
        "section": section,
        "options": json_object(options, "options"),
        "val_fraction": val_fraction,
        "split_seed": split_seed,
        "max_samples": max_samples,
        "max_clicks": max_clicks,
        "min_area": min_area,
        "crop_size": crop_size,
        "intensity_window": window_value(intensity_window),
        "channels": whole_numbers(channels, "channels"),
    }
    network: dict[str, Any] = {
        "weights": weights,
        "preset": preset,
        "device": device,
        "precision": precision.value,
        "compile": compiled,
        "quantize": None if quantize is None else quantize.value,
        "second_look": second_look,
    }
    running: dict[str, Any] = {"batch_size": batch_size, "on_error": on_error.value, "overwrite": overwrite}
    failed: dict[str, str] = {}
    if config is not None:
        usual = evaluation.DataSetChoice("folder")
        given = [f"--{key}" for key, value in single.items() if value != getattr(usual, key)]
        if given:
            raise ValueError(f"{', '.join(given)} cannot go with --config: write them into {config} for each data set.")
        choices = evaluation.read_choices(config)
        made = evaluation.Method.create(method.value, **network)
        results, failed = evaluation.evaluate_choices(choices, made, output_dir, **running)
        if not results:
            raise ValueError(f"none of the data sets of {config} could be evaluated: {next(iter(failed.values()))}")
        evaluation.write_summary(results, output_dir, failed=failed)
    else:
        choices = [evaluation.DataSetChoice(str(dataset), **single).complete()]
        made = evaluation.Method.create(method.value, **network)
        results = {str(choices[0].name): evaluation.evaluate_choice(choices[0], made, output_dir, **running)}
    for result in results.values():
        typer.echo(result.table())
    for name, reason in failed.items():
        typer.echo(f"{name} was left out: {reason}")
    if report:
        sections = {name: (results[name], choice) for choice in choices if (name := str(choice.name)) in results}
        page = evaluation.write_report(output_dir / "report.html", sections, made, failed=failed)
        typer.echo(f"Report: {page}")
    typer.echo(f"Written to {output_dir}.")
