"""``adaptiveclick-med segment``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from adaptiveclick_med.cli.values import Precision, Quantize, json_object, whole_numbers, window_value

__all__ = ["segment"]


class System(str, Enum):
    """What the numbers of a click in a volume mean."""

    voxel = "voxel"
    ras = "RAS"
    lps = "LPS"


class Direction(str, Enum):
    """Which way a mask is carried."""

    both = "both"
    up = "up"
    down = "down"


def segment(
    image: Annotated[Path, typer.Argument(help="A picture, a volume, or the folder of a DICOM series.")],
    output: Annotated[Path, typer.Argument(help="The mask: .png; .nii.gz, .nrrd, .mha; .dcm for a DICOM SEG.")],
    weights: Annotated[
        Optional[Path],
        typer.Option(
            "--weights", help="Our weights, a released checkpoint, or an exported network; by default those shipped."
        ),
    ] = None,
    click: Annotated[
        Optional[list[str]],
        typer.Option("--click", help="ROW,COLUMN or I,J,K; off:I,J,K when off the object. May be repeated."),
    ] = None,
    clicks: Annotated[
        Optional[Path], typer.Option("--clicks", help="JSON file of clicks, made before --click.")
    ] = None,
    label: Annotated[int, typer.Option("--label", help="Number of the object of the --click options.")] = 1,
    names: Annotated[
        Optional[str], typer.Option("--names", help='Names of the objects in a DICOM SEG, as JSON: {"1": "liver"}.')
    ] = None,
    plane: Annotated[
        Optional[str],
        typer.Option("--plane", help="axial, coronal or sagittal, of --click; by default the acquisition plane."),
    ] = None,
    system: Annotated[
        System, typer.Option("--system", help="Clicks in a volume are voxels, or RAS or LPS millimetres.")
    ] = System.voxel,
    propagate: Annotated[
        Optional[Direction], typer.Option("--propagate", help="Carry the mask through the slices.")
    ] = None,
    until: Annotated[
        str, typer.Option("--until", help="empty: until the object ends; a number: so many slices.")
    ] = "empty",
    candidates: Annotated[
        bool, typer.Option("--candidates", help="List the candidates of the newest click with their confidences.")
    ] = False,
    choose: Annotated[
        Optional[int], typer.Option("--choose", help="Take this candidate of the newest click, 1 is the first.")
    ] = None,
    preview: Annotated[Optional[Path], typer.Option("--preview", help="Also draw a PNG of what was done.")] = None,
    series: Annotated[
        Optional[str], typer.Option("--series", help="SeriesInstanceUID, in a folder with several.")
    ] = None,
    intensity_window: Annotated[
        Optional[str], typer.Option("--intensity_window", help="A CT window by name, or LOW,HIGH.")
    ] = None,
    channels: Annotated[
        Optional[str], typer.Option("--channels", help="Channel of the image, or three: 2 or 0,1,2.")
    ] = None,
    preset: Annotated[Optional[str], typer.Option("--preset", help="An untrained network of this size.")] = None,
    device: Annotated[Optional[str], typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the network's heavy parts; float16 on a GPU only.")
    ] = Precision.float32,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network; the first click waits.")] = False,
    quantize: Annotated[
        Optional[Quantize], typer.Option("--quantize", help="Linear layers in 8 bits, on a CPU only.")
    ] = None,
) -> None:
    """Segment one picture or volume with given clicks."""
    from dataclasses import replace

    from adaptiveclick_med.data.files import is_volume
    from adaptiveclick_med.evaluation.method import Method
    from adaptiveclick_med.segmentation import parse_click, read_clicks, segment_picture, segment_volume

    made = [] if clicks is None else read_clicks(clicks)
    made += [replace(parse_click(text), label=label, plane=plane) for text in click or []]
    if choose is not None and choose < 1:
        raise ValueError(f"choose must be at least 1, got {choose}.")
    rank = None if choose is None else choose - 1
    window, chosen = window_value(intensity_window), whole_numbers(channels, "channels")
    network = Method.create(
        weights=weights,
        preset=preset,
        device=device,
        precision=precision.value,
        compile=compiled,
        quantize=None if quantize is None else quantize.value,
    ).network
    assert network is not None  # only a baseline has none
    volume = is_volume(image)
    if volume:
        found = segment_volume(
            network,
            image,
            made,
            output,
            system=system.value,
            propagate=None if propagate is None else propagate.value,
            until=_until(until),
            choose=rank,
            names={_number(key): str(name) for key, name in json_object(names, "names", '{"1": "liver"}').items()},
            series_uid=series,
            window=window,
            channels=chosen,
            preview=preview,
        )
    else:
        foreign = {"--propagate": propagate, "--plane": plane, "--series": series, "--names": names}
        given = [option for option, value in foreign.items() if value is not None]
        if given or system != System.voxel:
            raise ValueError(f"{', '.join(given) or '--system'} is for volumes, and {image.name} is a picture.")
        found = segment_picture(
            network, image, made, output, choose=rank, window=window, channels=chosen, preview=preview
        )
    for number, voxels in found.voxels.items():
        typer.echo(f"label {number}: {voxels} {'voxels' if volume else 'pixels'}")
    for carried in found.propagations:
        for (start, direction), stop in carried.stops.items():
            typer.echo(
                f"label {carried.label}: from {carried.plane} slice {start} {direction} to {stop.index}: {stop.reason}"
            )
    if candidates:
        for place, confidence in enumerate(found.candidates, start=1):
            typer.echo(f"candidate {place}: {confidence:.3f}")
    typer.echo(f"Mask: {found.path}" + (f"\nPreview: {found.preview}" if found.preview else ""))


def _until(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"names must have labels as keys, got {text!r}.") from error
