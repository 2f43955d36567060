"""``adaptiveclick-med serve``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from adaptiveclick_med.cli.values import Precision, Quantize

__all__ = ["serve"]


def serve(
    studies: Annotated[str, typer.Option("--studies", help="Folder of volumes, or address of a PACS (DICOMweb).")],
    weights: Annotated[
        Optional[str],
        typer.Option(
            "--weights",
            help="Our weights or a released checkpoint; by default model/model.safetensors in the work folder, which "
            "begins as a copy of those shipped.",
        ),
    ] = None,
    preset: Annotated[
        Optional[str], typer.Option("--preset", help="Begin with an untrained network: nano, tiny, small, ...")
    ] = None,
    labels: Annotated[str, typer.Option("--labels", help="What is segmented, separated by commas.")] = "object",
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0: on all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8000,
    device: Annotated[Optional[str], typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    precision: Annotated[
        Optional[Precision], typer.Option("--precision", help="Of the network's heavy parts; float16 on a GPU only.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network; the start takes longer.")] = False,
    quantize: Annotated[
        Optional[Quantize], typer.Option("--quantize", help="Linear layers in 8 bits, on a CPU only.")
    ] = None,
    work_dir: Annotated[
        Optional[str], typer.Option("--work_dir", help="For weights, caches and logs; by default beside the studies.")
    ] = None,
    window: Annotated[
        Optional[str], typer.Option("--window", help="A CT window by name, or LOW,HIGH; by default as trained.")
    ] = None,
    channels: Annotated[
        Optional[str], typer.Option("--channels", help="Channel of a volume with several, or three: 2 or 0,1,2.")
    ] = None,
    conf: Annotated[
        Optional[list[str]], typer.Option("--conf", help="KEY=VALUE: any other option of docs/slicer.md; repeatable.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log_level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve 3D Slicer and OHIF through MONAI Label; needs the extra "label"."""
    pairs = [pair.partition("=") for pair in conf or []]
    wrong = [key for key, equals, _ in pairs if not key or not equals]
    if wrong:
        raise ValueError(f"--conf must be KEY=VALUE, got {wrong[0]!r}.")
    if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(f"--log_level must be DEBUG, INFO, WARNING or ERROR, got {log_level!r}.")
    chosen = {
        "weights": weights,
        "preset": preset,
        "labels": labels,
        "device": device,
        "precision": None if precision is None else precision.value,
        "compile": "true" if compiled else None,
        "quantize": None if quantize is None else quantize.value,
        "work_dir": work_dir,
        "window": window,
        "channels": channels,
    }
    values = {key: value for key, _, value in pairs}
    values.update({key: value for key, value in chosen.items() if value is not None})
    try:
        from adaptiveclick_med.label_app.server import serve as run
    except ModuleNotFoundError as error:
        raise ValueError(
            f"serve needs MONAI Label ({error}): pip install -c constraints-label.txt 'adaptiveclick-med[label]'."
        ) from error
    run(studies, values, host=host, port=port, level=log_level)
