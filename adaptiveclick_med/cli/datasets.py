"""``adaptiveclick-med datasets``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from adaptiveclick_med.cli.values import json_object

if TYPE_CHECKING:
    from adaptiveclick_med.data import Source

__all__ = ["datasets"]

_ARGUMENTS = ("name", "dataset_dir", "section", "progress")

datasets = typer.Typer(name="datasets", help="The data sets that are known by name.", no_args_is_help=True)


@datasets.command("list")
def list_sources() -> None:
    """List the names of all data sets, and what they are."""
    from adaptiveclick_med.data import get_source, source_names

    for name in source_names():
        typer.echo(f"{name:11}  {_description(get_source(name))}")


@datasets.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Name of the data set, see `datasets list`.")],
    dataset_dir: Annotated[Optional[Path], typer.Argument(metavar="DIR", help="Its folder.")] = None,
    section: Annotated[Optional[str], typer.Option("--section", help="training, validation or all.")] = None,
    options: Annotated[
        Optional[str], typer.Option("--options", help='Options of the data set as JSON: {"plane": "coronal"}.')
    ] = None,
) -> None:
    """Read every file, and say what is missing, broken or not as published. Exit status 1 when something is wrong."""
    from adaptiveclick_med.evaluation.check import check_dataset

    given = json_object(options, "options")
    foreign = sorted(set(given) & set(_ARGUMENTS))
    if foreign:
        raise ValueError(f"options are those of the data set itself, got {', '.join(foreign)}.")
    found = check_dataset(name, dataset_dir, section=section, progress=True, **given)
    typer.echo(found.report())
    if not found.ok:
        raise typer.Exit(1)


def _description(source: Source) -> str:
    """Return what a source is: the first line of its module, which begins with its title."""
    line = (inspect.getdoc(sys.modules[source.list_items.__module__]) or "").split("\n")[0].replace("``", "")
    title = source.title or source.name
    return line if title.lower() in line.lower() else f"{title}: {line}"
