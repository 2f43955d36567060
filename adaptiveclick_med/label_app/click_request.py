"""What a viewer asks for with its clicks, checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from adaptiveclick_med.label_app.problems import problem

__all__ = ["EXTENSIONS", "ClickRequest", "Place", "read_json"]

EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha")
"""Formats of an answer."""

Place = tuple[float, float, float, bool]
"""i, j, k in voxels, and whether the click is positive."""


def read_json(text: str | None) -> dict[str, Any]:
    """Return the object of a JSON text; an empty one for no text.

    Raises:
        HTTPException: 400 when it is no JSON object.
    """
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise problem(400, f"params must be JSON: {error}.") from error
    if not isinstance(content, dict):
        raise problem(400, f"params must be a JSON object, got {type(content).__name__}.")
    return content


@dataclass(frozen=True)
class ClickRequest:
    """All clicks of a user on one object, and what to do with them.

    Attributes:
        clicks: in the order in which they count: the first positive, the first negative, the second positive, ...
        label: name of the object.
        slice_index: the one slice that counts; ``None``: all.
        candidate: which ranked candidate of the last click to take; ``None``: the combined mask.
        roi: (first, last) voxel along i, j and k; nothing outside is answered.
        direction: of the propagation.
        until: of the propagation.
        extension: format of the answer, one of :data:`EXTENSIONS`.
        wide: 16 instead of 8 bits a voxel.
        compress: whether the answer is compressed.
    """

    clicks: tuple[Place, ...]
    label: str
    slice_index: int | None = None
    candidate: int | None = None
    roi: tuple[tuple[int, int], ...] | None = None
    direction: str = "both"
    until: str | int = "empty"
    extension: str = ".nii.gz"
    wide: bool = False
    compress: bool = True

    @classmethod
    def read(
        cls,
        request: Mapping[str, Any],
        *,
        labels: Sequence[str],
        shape: tuple[int, int, int],
        name: str,
        by_slice: bool,
        max_clicks: int,
    ) -> ClickRequest:
        """Check a request.

        Args:
            request: as viewers send it: ``foreground`` and ``background`` lists of voxels, and the options above.
            labels: names that are known.
            shape: (I, J, K) of the image.
            name: of the image, for messages.
            by_slice: whether only one slice counts: ``slice``, or that of the last click.
            max_clicks: most clicks.

        Raises:
            HTTPException: 400 when a value has the wrong form; 422 when it cannot be used with this image.
        """
        if "foreground" not in request and "background" not in request:
            raise problem(422, "The request has no clicks: send foreground and background, lists of voxels [i, j, k].")
        positive = _points(request, "foreground", True, max_clicks)
        negative = _points(request, "background", False, max_clicks)
        if positive and [place[:3] for place in positive] == [place[:3] for place in negative]:
            raise problem(
                422, "foreground and background hold the same clicks: choose a label, not background, before Run."
            )
        if len(positive) + len(negative) > max_clicks:
            raise problem(422, f"At most {max_clicks} clicks are answered, got {len(positive) + len(negative)}.")
        positive = [_inside(place, shape, name) for place in positive]
        negative = [_inside(place, shape, name) for place in negative]
        index = None
        if by_slice:
            index = _slice_index(request, shape, name)
            if index is None and (positive or negative):
                index = round((positive or negative)[-1][2])
            positive = [place for place in positive if round(place[2]) == index]
            negative = [place for place in negative if round(place[2]) == index]
        clicks = _in_order(positive, negative)
        if by_slice and clicks and not positive:
            raise problem(422, f"Slice {index} has no positive click: the first must be on the object.")
        return cls(
            clicks,
            _label(request, labels),
            index,
            _whole(request, "candidate", 0),
            _roi(request),
            _word(request, "direction", ("both", "up", "down")),
            _until(request),
            _word(request, "result_extension", EXTENSIONS),
            _word(request, "result_dtype", ("uint8", "uint16")) == "uint16",
            str(request.get("result_compress", True)).lower() not in ("false", "0", "none"),
        )


def _in_order(positive: Sequence[Place], negative: Sequence[Place]) -> tuple[Place, ...]:
    """Return all clicks, slice by slice, in each alternately on and off the object; the newest click's slice is last.

    Viewers do not tell in which order clicks of the two kinds were made.
    """
    slices = sorted({round(place[2]) for place in (*positive, *negative)})
    if slices:
        newest = round((positive or negative)[-1][2])
        slices = [*(index for index in slices if index != newest), newest]
    return tuple(
        place
        for index in slices
        for pair in zip_longest(
            *([place for place in kind if round(place[2]) == index] for kind in (positive, negative))
        )
        for place in pair
        if place is not None
    )


def _points(request: Mapping[str, Any], key: str, positive: bool, most: int) -> list[Place]:
    value = request.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError) as error:
            raise problem(400, f"{key} must be a list of voxels [i, j, k]: {error}.") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise problem(400, f"{key} must be a list of voxels [i, j, k], got {type(value).__name__}.")
    if len(value) > most:
        raise problem(422, f"At most {most} clicks are answered, got {len(value)} in {key}.")
    return [_point(point, key, positive) for point in value]


def _point(point: Any, key: str, positive: bool) -> Place:
    numbers = point if isinstance(point, list) else []
    if len(numbers) != 3 or any(isinstance(at, bool) or not isinstance(at, (int, float)) for at in numbers):
        raise problem(400, f"Each of {key} must be three numbers [i, j, k], got {_short(point)}.")
    if any(isinstance(at, int) and abs(at) > 2**53 for at in numbers) or not all(map(math.isfinite, numbers)):
        raise problem(400, f"Each of {key} must be three finite numbers [i, j, k], got {_short(point)}.")
    i, j, k = map(float, numbers)
    return i, j, k, positive


def _inside(place: Place, shape: tuple[int, int, int], name: str) -> Place:
    """Return a click with its voxel clamped to the centres of the outermost ones."""
    if not all(-0.5 <= at <= side - 0.5 for at, side in zip(place[:3], shape, strict=True)):
        raise problem(
            422,
            f"The click ({', '.join(f'{at:g}' for at in place[:3])}) lies outside the image {name} of "
            f"{' x '.join(map(str, shape))} voxels: was it made on another series?",
        )
    i, j, k = (min(max(at, 0.0), side - 1.0) for at, side in zip(place[:3], shape, strict=True))
    return i, j, k, place[3]


def _slice_index(request: Mapping[str, Any], shape: tuple[int, int, int], name: str) -> int | None:
    index = _whole(request, "slice")
    if index is not None and not 0 <= index < shape[2]:
        raise problem(422, f"slice must be from 0 to {shape[2] - 1} in the image {name}, got {index}.")
    return index


def _label(request: Mapping[str, Any], labels: Sequence[str]) -> str:
    label = request.get("label")
    if label is None or label == "":
        return labels[0]
    if label not in labels:
        raise problem(422, f"label must be one of {', '.join(labels)}, got {_short(label)}.")
    return str(label)


def _whole(request: Mapping[str, Any], key: str, least: int | None = None) -> int | None:
    value = request.get(key)
    if value is None or value == "":
        return None
    number = value
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 12:
        number = int(value)
    whole = isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 2**31
    if not whole or number != int(number) or (least is not None and number < least):
        allowed = "a whole number" if least is None else f"a whole number from {least}"
        raise problem(400, f"{key} must be {allowed}, got {_short(value)}.")
    return int(number)


def _roi(request: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    value = request.get("roi")
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 6 or any(
        isinstance(at, bool) or not isinstance(at, (int, float)) or not abs(at) < 2**31 for at in numbers
    ):
        raise problem(400, f"roi must be six voxel indices [i, i, j, j, k, k], got {_short(value)}.")
    pairs = [(round(numbers[at]), round(numbers[at + 1])) for at in (0, 2, 4)]
    return tuple((min(pair), max(pair)) for pair in pairs)


def _until(request: Mapping[str, Any]) -> str | int:
    value = request.get("until", "empty")
    if value in ("empty", "", None):
        return "empty"
    return _whole({"until": value}, "until", 1) or "empty"


def _word(request: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    value = request.get(key)
    if isinstance(value, list) and value:  # OHIF sends the choices that it was told
        value = value[0]
    if value is None or value == "":
        return choices[0]
    if value not in choices:
        raise problem(422, f"{key} must be one of {', '.join(choices)}, got {_short(value)}.")
    return str(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
