"""Labels that are no plain picture or volume: annotations, decoded by the module of their data source.

A source that makes its images when they are loaded gives them in the same way.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

__all__ = ["FORMATS", "decode_annotation"]

FORMATS = {
    "coco": "adaptiveclick_med.data.coco",
    "coco_lvis": "adaptiveclick_med.data.coco_lvis",
    "object_masks": "adaptiveclick_med.data.dsb2018",
    "scenes": "adaptiveclick_med.data.scenes",
    "sbd": "adaptiveclick_med.data.sbd",
}
"""The module that decodes each ``format``; it defines ``decode_annotation``."""


def decode_annotation(label: Mapping[str, Any]) -> NDArray[Any]:
    """Draw the objects of an annotation, or an image that is made when it is loaded.

    Args:
        label: ``format``, one of :data:`FORMATS`, and what the ``decode_annotation`` of that module asks for.

    Returns:
        [L, H, W] int32: object numbers above 0, distinct across layers, 0 background, -1 ignore; or an image
        [C, H, W] uint8.

    Raises:
        ValueError: when the format is unknown, or the annotation cannot be decoded.
    """
    name = label.get("format")
    if name not in FORMATS:
        raise ValueError(f"format of an annotation must be one of {', '.join(FORMATS)}, got {name!r}.")
    layers: NDArray[Any] = importlib.import_module(FORMATS[name]).decode_annotation(label)
    return layers
