"""What a session must know of an exported network; it travels inside the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.transforms.intensity import Intensity

__all__ = ["FACTS_KEY", "INPUT_NAME", "OUTPUT_NAMES", "ExportFacts"]

FACTS_KEY = "adaptiveclick_med"
"""Under which name the facts lie in a file."""

INPUT_NAME = "image_mask_clicks"
OUTPUT_NAMES = ("logits", "mask_logits", "click_logits")

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportFacts:
    """What a session must know of an exported network.

    Args:
        network: name of the network's class.
        arguments: its constructor arguments, plain values.
        image_size: (height, width) in pixels of the input, the only size that the file takes.
        patch_size: side of a patch in pixels.
        intensity: how the images of its training became [0, 1], plain values; ``None``: not known.
        outputs: names of the outputs in order: ``logits`` [B, 1, H, W]; with candidates also ``mask_logits``
            [B, Q, h, w] and ``click_logits`` [B, Q, 2].
    """

    network: str
    arguments: Mapping[str, Any]
    image_size: tuple[int, int]
    patch_size: int
    intensity: Mapping[str, Any] | None
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, network: ClickNetwork, image_size: tuple[int, int]) -> ExportFacts:
        """Return the facts of a network that is exported for one (height, width)."""
        intensity = None if network.intensity is None else Intensity.from_dict(network.intensity).to_dict()
        outputs = OUTPUT_NAMES if network.has_candidates else OUTPUT_NAMES[:1]
        return cls(type(network).__name__, dict(network.arguments), image_size, network.patch_size, intensity, outputs)

    def to_json(self) -> str:
        """Return the facts as a JSON text, with the version of this format."""
        return json.dumps({"format": _FORMAT_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | None, path: str | Path) -> ExportFacts:
        """Return the facts of a text of :meth:`to_json`.

        Args:
            text: from the file; ``None`` where it has none.
            path: the file, for the error.

        Raises:
            ValueError: when there are no facts, or they are of another version or damaged.
        """
        if not text:
            raise ValueError(f"{path} was not exported by adaptiveclick_med: it does not tell its network.")
        try:
            values = json.loads(text)
            version = values.pop("format")
            if version != _FORMAT_VERSION:
                raise ValueError(f"its version is {version!r}, this software reads version {_FORMAT_VERSION}")
            height, width = map(int, values.pop("image_size"))
            intensity = values.pop("intensity")
            intensity = None if intensity is None else Intensity.from_dict(intensity).to_dict()
            outputs = tuple(values.pop("outputs"))
            if outputs not in (OUTPUT_NAMES, OUTPUT_NAMES[:1]):
                raise ValueError(f"its outputs are {', '.join(map(str, outputs))}")
            return cls(**values, image_size=(height, width), intensity=intensity, outputs=outputs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"What {path} tells of its network cannot be used: {error}.") from error
