"""Segmenting one file with clicks that are known beforehand: a volume or a picture in, a mask file out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.dicom import DicomSeries, read_dicom_series
from adaptiveclick_med.data.files import file_suffix, read_picture, read_volume
from adaptiveclick_med.data.masks import Segment, write_dicom_seg, write_volume
from adaptiveclick_med.inference import InteractiveSession, Prediction, Propagation, VolumeSession
from adaptiveclick_med.networks import ClickModel
from adaptiveclick_med.transforms.intensity import Intensity

__all__ = ["GivenClick", "Segmented", "parse_click", "read_clicks", "segment_picture", "segment_volume"]


@dataclass(frozen=True)
class GivenClick:
    """A click as a user writes it.

    Args:
        point: (row, column) in pixels of a picture; in a volume (i, j, k) voxels, or (x, y, z) world millimetres.
        positive: ``True`` on the object, ``False`` off it.
        label: number of the object.
        plane: anatomical plane of a volume's slice; ``None``: the acquisition plane.
    """

    point: tuple[float, ...]
    positive: bool = True
    label: int = 1
    plane: str | None = None


@dataclass(frozen=True)
class Segmented:
    """What came out.

    Attributes:
        path: of the mask.
        voxels: how many pixels or voxels each object has, by label.
        candidates: confidences of the newest click's candidates, the most confident first.
        propagations: one for each object that was carried.
        preview: of the picture, where one was asked for.
    """

    path: Path
    voxels: Mapping[int, int]
    candidates: tuple[float, ...]
    propagations: tuple[Propagation, ...] = ()
    preview: Path | None = None


def parse_click(text: str) -> GivenClick:
    """Read a click such as ``120,90``, ``off:10,10`` or ``on:31,20,7``.

    Raises:
        ValueError: when the text is nothing like that.
    """
    sign, colon, numbers = text.rpartition(":")
    try:
        point = tuple(float(part) for part in numbers.split(","))
    except ValueError:
        point = ()
    if (colon and sign.strip() not in ("on", "off")) or len(point) not in (2, 3):
        raise ValueError(f"a click must be ROW,COLUMN or I,J,K, with off: before it when off the object, got {text!r}.")
    return GivenClick(point, sign.strip() != "off")


def read_clicks(path: str | Path) -> list[GivenClick]:
    """Read a JSON file of clicks.

    It holds a list of ``{"point": [i, j, k], "positive": true, "label": 1, "plane": "axial"}``, of which only ``point``
    is needed, or ``{"foreground": [[i, j, k], ...], "background": [...]}`` as viewers write it.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds something else.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, IsADirectoryError) as error:
        raise ValueError(f"{path} is no JSON file of clicks: {error}.") from error
    if isinstance(content, Mapping):
        foreign = sorted(set(content) - {"foreground", "background"})
        if foreign:
            raise ValueError(f"{path} must hold foreground and background, or a list of clicks, got {foreign}.")
        content = [
            {"point": point, "positive": name == "foreground"}
            for name in ("foreground", "background")
            for point in content.get(name) or []
        ]
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of clicks, got a {type(content).__name__}.")
    return [_given(entry, path) for entry in content]


def _given(entry: Any, path: Path) -> GivenClick:
    try:
        unknown = sorted(set(entry) - {"point", "positive", "label", "plane"})
        point = tuple(float(value) for value in entry["point"])
        positive, label, plane = entry.get("positive", True), entry.get("label", 1), entry.get("plane")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f'{path}: a click must be like {{"point": [31, 20, 7]}}, got {entry!r}.') from error
    plain = isinstance(positive, bool) and (plane is None or isinstance(plane, str))
    if unknown or len(point) not in (2, 3) or not plain:
        raise ValueError(f"{path}: a click has point, positive, label and plane, got {entry!r}.")
    return GivenClick(point, positive, label, plane)


def segment_picture(
    network: ClickModel,
    image: str | Path,
    clicks: Sequence[GivenClick],
    output: str | Path,
    *,
    choose: int | None = None,
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
    preview: str | Path | None = None,
    candidates: int = 3,
) -> Segmented:
    """Segment objects in a picture.

    Args:
        network: in evaluation mode.
        image: file of the picture.
        clicks: in the order in which they are made, with points (row, column).
        output: PNG to write: 255 on the object; where clicks have several labels, the labels themselves.
        choose: rank of the newest click's candidate to take in the place of the mask, 0 the first.
        window: see :func:`adaptiveclick_med.transforms.intensity.to_unit_rgb`; by default the network's own choice.
        channels: see there.
        preview: PNG of the image, clicks, mask, probability and candidates of the newest click's object.
        candidates: how many candidates the preview shows.

    Raises:
        ValueError: when the picture, a click or an option cannot be used. Nothing is written then.
    """
    output = _checked_output(output, (".png",), "a picture")
    _need_clicks(clicks, 2, "(row, column) in a picture")
    picture = read_picture(image)
    intensity = Intensity.from_dict(network.intensity).given(window, channels, dtype=picture.dtype)
    shown = np.asarray(intensity.prepare(picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)))
    shown = np.moveaxis(shown, 0, -1)
    sessions: dict[int, InteractiveSession] = {}
    answers: dict[int, Prediction] = {}
    first = InteractiveSession(network, second_look=True)
    first.set_image(shown)
    for click in clicks:
        session = sessions.setdefault(click.label, first.sibling(keep_image=True))
        answers[click.label] = session.click(click.point[0], click.point[1], click.positive)
    newest = clicks[-1].label
    ranked = answers[newest].candidates
    if choose is not None:
        _check_choice(choose, len(ranked))
        answers[newest] = sessions[newest].choose(choose)
    whole = np.zeros(picture.shape[:2], dtype=np.uint8)
    for label, answer in answers.items():
        whole[answer.mask] = label if len(answers) > 1 else 255
    _write_png(output, whole)
    if preview is not None:
        from adaptiveclick_med.visualize import draw_prediction, save_figure

        drawn = draw_prediction(shown, answers[newest], sessions[newest].clicks, candidates=candidates)
        save_figure(drawn, preview)
    return Segmented(
        output,
        {label: int(answer.mask.sum()) for label, answer in answers.items()},
        tuple(each.confidence for each in ranked),
        preview=None if preview is None else Path(preview),
    )


def segment_volume(
    network: ClickModel,
    image: str | Path,
    clicks: Sequence[GivenClick],
    output: str | Path,
    *,
    system: str = "voxel",
    propagate: str | None = None,
    until: str | int = "empty",
    choose: int | None = None,
    names: Mapping[int, str] | None = None,
    series_uid: str | None = None,
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
    preview: str | Path | None = None,
) -> Segmented:
    """Segment objects in a volume.

    Args:
        network: in evaluation mode.
        image: file of the volume, or folder of a DICOM series.
        clicks: in the order in which they are made, with points as ``system`` tells.
        output: mask to write, on the volume's own grid: NIfTI, NRRD or MHA with the objects' labels; ``.dcm``: a DICOM
            SEG that refers to the series.
        system: ``"voxel"``: (i, j, k); ``"RAS"`` or ``"LPS"``: (x, y, z) in millimetres.
        propagate: ``"both"``, ``"up"`` or ``"down"``: carry each object through its neighbouring slices; ``None``: only
            clicked slices.
        until: see :meth:`adaptiveclick_med.inference.VolumeSession.propagate`.
        choose: rank of the newest click's candidate to take in the place of the mask, 0 the first.
        names: what objects are called in a DICOM SEG, by label.
        series_uid: which series of a DICOM folder with several.
        window: see :meth:`adaptiveclick_med.inference.VolumeSession.set_volume`.
        channels: see there.
        preview: PNG of slices through the newest click's object.

    Raises:
        ValueError: when the volume, a click or an option cannot be used. Nothing is written then.
    """
    output = _checked_output(output, (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm"), "a volume")
    if system not in ("voxel", "RAS", "LPS"):
        raise ValueError(f"system must be voxel, RAS or LPS, got {system!r}.")
    _need_clicks(clicks, 3, "(i, j, k) or (x, y, z) in a volume")
    series: DicomSeries | None = None
    if Path(image).is_dir() or file_suffix(image) == ".dcm":
        series = read_dicom_series(image, series_uid)
    elif file_suffix(output) == ".dcm":
        raise ValueError(f"output may be a DICOM SEG (.dcm) only for a DICOM series, got {Path(image).name}.")
    volume = read_volume(image) if series is None else series.read()
    session = VolumeSession(network, second_look=True)
    session.set_volume(volume.array, volume.affine, window=window, channels=channels)
    for click in clicks:
        plane = click.plane or session.acquisition_plane
        point = click.point if system == "voxel" else session.to_voxel(click.point, system)
        try:
            session.click(point, click.positive, label=click.label, plane=plane)
        except ValueError as error:
            place = ", ".join(f"{value:g}" for value in click.point)
            raise ValueError(f"click ({place}) in {system} coordinates: {error}") from error
    ranked = session.candidates
    if choose is not None:
        _check_choice(choose, len(ranked))
        session.choose(choose)
    labels = list(dict.fromkeys(click.label for click in clicks))
    carried = tuple(session.propagate(propagate, until, label=label) for label in labels) if propagate else ()
    whole = session.labels()
    if series is not None and file_suffix(output) == ".dcm":
        known = names or {}
        write_dicom_seg(
            output, whole, series, [Segment(label, known.get(label, f"object {label}")) for label in labels]
        )
    else:
        write_volume(output, whole, volume.affine)
    if preview is not None:
        from adaptiveclick_med.visualize import draw_volume, save_figure

        newest = clicks[-1]
        save_figure(draw_volume(session, newest.label, newest.plane), preview)
    return Segmented(
        output,
        {label: int(session.mask(label).sum()) for label in labels},
        tuple(each.confidence for each in ranked),
        carried,
        None if preview is None else Path(preview),
    )


def _check_choice(choose: int, count: int) -> None:
    if not 0 <= choose < count:
        raise ValueError(
            f"choose must be the place of one of the {count} candidates of the newest click, from 1 on, "
            f"got {choose + 1}."
        )


def _checked_output(output: str | Path, suffixes: Sequence[str], kind: str) -> Path:
    if file_suffix(output) not in suffixes:
        raise ValueError(f"the mask of {kind} must be a {', '.join(suffixes)} file, got {Path(output).name!r}.")
    return Path(output)


def _need_clicks(clicks: Sequence[GivenClick], coordinates: int, what: str) -> None:
    if not clicks:
        raise ValueError("there is no click: pass --click or --clicks.")
    for click in clicks:
        if len(click.point) != coordinates:
            raise ValueError(f"a click must be {what}, got {click.point}.")
        if isinstance(click.label, bool) or not isinstance(click.label, int) or not 0 < click.label <= 255:
            raise ValueError(f"label must be a whole number from 1 to 255, got {click.label!r}.")


def _write_png(path: Path, array: NDArray[np.uint8]) -> None:
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(array).save(temporary)
