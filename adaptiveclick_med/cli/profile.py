"""``adaptiveclick-med profile``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from adaptiveclick_med.cli.values import json_object, weight_file

__all__ = ["profile"]


class NetworkName(str, Enum):
    """Class of an untrained network."""

    adaptive_click = "AdaptiveClick"
    simple_click = "SimpleClick"


def profile(
    preset: Annotated[
        Optional[str], typer.Option("--preset", help="Size of an untrained network; by default base.")
    ] = None,
    network: Annotated[
        Optional[NetworkName],
        typer.Option("--network", help="Class of an untrained network; by default AdaptiveClick."),
    ] = None,
    network_arguments: Annotated[
        Optional[str],
        typer.Option("--network_arguments", help='What replaces the preset, as JSON: {"pixel_decoder_layers": 4}.'),
    ] = None,
    weights: Annotated[
        Optional[Path],
        typer.Option(
            "--weights", help="Our weights or a released checkpoint, in place of a preset; default: those shipped."
        ),
    ] = None,
    image_size: Annotated[
        Optional[int], typer.Option("--image_size", help="Side of the input in pixels; by default the network's own.")
    ] = None,
    device: Annotated[Optional[str], typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    clicks: Annotated[int, typer.Option("--clicks", help="Clicks of the timed session; the first warms up.")] = 20,
    threads: Annotated[Optional[int], typer.Option("--threads", help="Threads of the CPU.")] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write the numbers to this file.")] = None,
    no_time: Annotated[bool, typer.Option("--no-time", help="Do not time clicks.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Compute the memory of a training step instead; nothing is allocated.")
    ] = False,
    batch_size: Annotated[
        Optional[int], typer.Option("--batch_size", help="Samples of a training step on one device; by default 2.")
    ] = None,
) -> None:
    """Tell what a network costs: parameters, FLOPs, memory and seconds a click, by part (Table V of the paper).

    With --training: what one training step needs, by precision, with and without activation checkpointing.
    """
    import json

    import torch

    from adaptiveclick_med._files import replacing
    from adaptiveclick_med.evaluation.method import usable_device
    from adaptiveclick_med.networks import ClickNetwork
    from adaptiveclick_med.profiling import NetworkCost, TrainingProfile, profile_network, profile_training
    from adaptiveclick_med.weights import load_network, start_network

    weights = None if weights is None else weight_file(weights)
    given = {"preset": preset, "network": network, "network_arguments": network_arguments}
    if weights is not None and any(value is not None for value in given.values()):
        names = ", ".join(name for name, value in given.items() if value is not None)
        raise ValueError(f"weights tell class and size of the network, so {names} cannot be given beside them.")
    if json_file is not None and json_file.is_dir():
        raise IsADirectoryError(f"json must name a file, but this is a folder: {json_file}.")
    if batch_size is not None and not training:
        raise ValueError("batch_size is that of a training step; give --training beside it.")
    where = torch.device("meta") if training and weights is None else usable_device(device)
    loaded: ClickNetwork
    if weights is not None:
        loaded = load_network(weights, device=where)
    else:
        name = NetworkName.adaptive_click if network is None else network
        arguments = json_object(network_arguments, "network_arguments")
        with torch.device(where):
            loaded = start_network(name.value, preset or "base", network_arguments=arguments).to(where).eval()
    cost: NetworkCost | TrainingProfile
    if training:
        cost = profile_training(loaded, image_size, batch_size=2 if batch_size is None else batch_size)
    else:
        cost = profile_network(loaded, image_size, clicks=clicks, timed=not no_time, threads=threads)
    typer.echo(cost.table())
    if json_file is not None:
        source = {"weights": str(weights)} if weights is not None else {"preset": preset or "base"}
        content = cost.as_dict()
        content["facts"] = {**source, **content["facts"]}
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"\nWritten to {json_file}.")
