"""Options of a request: viewers send numbers, texts, or the whole list of choices that they were shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.utils.others.generic import name_to_device

from adaptiveclick_med.evaluation.method import usable_device

__all__ = ["chosen", "device_of", "number", "refusal", "whole_number"]

_MOST = 2**31 - 1


def refusal(message: str, error: MONAILabelError = MONAILabelError.INVALID_INPUT) -> MONAILabelException:
    """Return the error by which the server refuses a request."""
    return MONAILabelException(error, message)


def whole_number(request: Mapping[str, Any], name: str, default: int, least: int, most: int = _MOST) -> int:
    """Return an option that is a whole number.

    Args:
        request: the request.
        name: of the option.
        default: when the request does not have it.
        least: smallest value allowed.
        most: largest value allowed.

    Raises:
        MONAILabelException: when it is no whole number in that range; the message names it.
    """
    value = number(request, name, default, least, most)
    if value != int(value):
        raise refusal(f"{name} must be a whole number, got {request[name]!r}.")
    return int(value)


def number(
    request: Mapping[str, Any], name: str, default: float, least: float, most: float, *, above: bool = False
) -> float:
    """Return an option that is a number.

    Args:
        request: the request.
        name: of the option.
        default: when the request does not have it.
        least: smallest value allowed.
        most: largest value allowed.
        above: whether ``least`` itself is refused.

    Raises:
        MONAILabelException: when it is no number in that range; the message names it.
    """
    given = request.get(name, default)
    try:
        value = math.nan if given is None or isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value <= most or (above and value == least):
        start = "above" if above else "from"
        end = f" to {most:g}" if most < _MOST else ""
        raise refusal(f"{name} must be a number {start} {least:g}{end}, got {given!r}.")
    return value


def chosen(request: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    """Return an option that is one of some words; the first when the request does not have it.

    Raises:
        MONAILabelException: when it is another word; the message lists the choices.
    """
    given = request.get(name, choices[0])
    value = given[0] if isinstance(given, (list, tuple)) and given else given
    if value not in choices:
        raise refusal(f"{name} must be one of {', '.join(choices)}, got {given!r}.")
    return str(value)


def device_of(request: Mapping[str, Any]) -> torch.device:
    """Return the device that a request asks for: by default the first GPU, or the CPU.

    Raises:
        MONAILabelException: when it cannot be used.
    """
    try:
        return usable_device(name_to_device(request.get("device")))
    except ValueError as error:
        raise refusal(str(error)) from error
