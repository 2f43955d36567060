"""``adaptiveclick-med convert-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["convert_weights"]


def convert_weights(
    source: Annotated[Path, typer.Argument(help="Released checkpoint.")],
    target: Annotated[Path, typer.Argument(help="File to write, ending in .safetensors.")],
    image_size: Annotated[int, typer.Option("--image_size", help="Side of the input in pixels.")] = 448,
    num_heads: Annotated[Optional[int], typer.Option("--num_heads", help="Heads of an unusual encoder.")] = None,
    licence: Annotated[Optional[str], typer.Option("--licence", help="Licence of the weights.")] = None,
) -> None:
    """Convert a released checkpoint, reporting every key used, unused or left over."""
    from adaptiveclick_med.weights import convert_released, network_of, save_weights

    arguments = {} if num_heads is None else {"num_heads": num_heads}
    conversion = convert_released(source, image_size, **arguments)
    save_weights(target, network_of(conversion), training={"converted_from": source.name}, licence=licence)
    typer.echo(conversion.report())
    typer.echo(f"Written to {target}.")
