"""Values of options that are more than a word or a number."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

__all__ = ["Precision", "Quantize", "json_object", "weight_file", "whole_numbers", "window_value"]


class Precision(str, Enum):
    """Type of the network's heavy parts."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Quantize(str, Enum):
    """Type of the linear layers."""

    int8 = "int8"


def json_object(text: str | None, option: str, example: str = '{"every": 2}') -> dict[str, Any]:
    """Return the dictionary of a JSON text, an empty one for ``None``.

    Args:
        text: for example ``{"plane": "coronal"}``.
        option: what the option is called in the error.
        example: shown there.

    Raises:
        ValueError: when the text is no JSON object.
    """
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{option} must be JSON such as {example}, got {text!r}: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{option} must be a JSON object such as {example}, got {text!r}.")
    return value


def window_value(text: str | None) -> str | tuple[float, ...] | None:
    """Return the name of an intensity window, or its two ends from ``LOW,HIGH``."""
    if text is None or "," not in text:
        return text
    try:
        return tuple(float(part) for part in text.strip("[]() ").split(","))
    except ValueError as error:
        raise ValueError(f"intensity_window must be a name or LOW,HIGH, got {text!r}.") from error


def weight_file(weights: Path) -> Path:
    """Return a weight file; the word ``default`` stands for the default weights.

    Raises:
        FileNotFoundError: when the default weights are missing.
    """
    from adaptiveclick_med.weights import default_path

    return default_path() if str(weights) == "default" else weights


def whole_numbers(text: str | None, option: str) -> list[int] | None:
    """Return the numbers of a text such as ``2`` or ``0,1,2``, ``None`` for ``None``.

    Raises:
        ValueError: when they are no whole numbers.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.strip("[]() ").split(",")]
    except ValueError as error:
        raise ValueError(f"{option} must be whole numbers such as 2 or 0,1,2, got {text!r}.") from error
