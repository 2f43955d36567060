"""The command line, ``adaptiveclick-med``: one module a command."""

from __future__ import annotations

import logging

import typer

from adaptiveclick_med.cli.compare import compare
from adaptiveclick_med.cli.datasets import datasets
from adaptiveclick_med.cli.demo import demo
from adaptiveclick_med.cli.evaluate import evaluate
from adaptiveclick_med.cli.export import export
from adaptiveclick_med.cli.profile import profile
from adaptiveclick_med.cli.segment import segment
from adaptiveclick_med.cli.serve import serve
from adaptiveclick_med.cli.weights import convert_weights

__all__ = ["app", "main"]

app = typer.Typer(
    name="adaptiveclick-med",
    help="Click-based interactive segmentation of medical images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("convert-weights")(convert_weights)
app.command("demo")(demo)
app.command("export")(export)
app.command("profile")(profile)
app.command("serve")(serve)
app.command("segment")(segment)
app.add_typer(datasets)


def main() -> None:
    """Run the command line; an expected error is one line, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"adaptiveclick-med: {error}", err=True)
        raise SystemExit(1) from error
