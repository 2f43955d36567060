"""Labels that are no plain picture or volume: annotations, decoded by the module of their data source."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "decode_annotation"]

FORMATS = {
    "coco": "adaptiveclick_med.data.coco",
    "coco_lvis": "adaptiveclick_med.data.coco_lvis",
    "object_masks": "adaptiveclick_med.data.dsb2018",
    "sbd": "adaptiveclick_med.data.sbd",
}
"""The module that decodes each ``format``; it defines ``decode_annotation``."""


def decode_annotation(label: Mapping[str, Any]) -> NDArray[np.int32]:
    """Draw the objects of an annotation.

    Args:
        label: ``format``, one of :data:`FORMATS`, and what the ``decode_annotation`` of that module asks for.

    Returns:
        [L, H, W] int32: object numbers above 0, distinct across layers, 0 background, -1 ignore.

    Raises:
        ValueError: when the format is unknown, or the annotation cannot be decoded.
    """
    name = label.get("format")
    if name not in FORMATS:
        raise ValueError(f"format of an annotation must be one of {', '.join(FORMATS)}, got {name!r}.")
    layers: NDArray[np.int32] = importlib.import_module(FORMATS[name]).decode_annotation(label)
    return layers
