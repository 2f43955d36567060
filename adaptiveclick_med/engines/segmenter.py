"""Segmentation of images with clicks that were already made, as an evaluation step of MONAI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.engines import IterationEvents

from adaptiveclick_med.engines.interactive import unwrapped
from adaptiveclick_med.inference import InteractiveSession

__all__ = ["ClicksUpdate"]


class ClicksUpdate:
    """One inference step for ``SupervisedEvaluator(iteration_update=...)``: replay the clicks of every sample.

    The result is a list of dictionaries, one a sample, with ``image``, ``name``, ``mask`` [1, H, W] uint8 and
    ``probability`` [1, H, W] float32.

    Args:
        crop_size: see :class:`~adaptiveclick_med.inference.InteractiveSession`.
        zoom_in: see there.
        flip: see there.
        second_look: see there.
    """

    def __init__(
        self,
        *,
        crop_size: int | tuple[int, int] | None = None,
        zoom_in: bool = True,
        flip: bool = True,
        second_look: bool = False,
    ) -> None:
        self.session_options: dict[str, Any] = {
            "crop_size": crop_size,
            "zoom_in": zoom_in,
            "flip": flip,
            "second_look": second_look,
        }

    def __call__(self, engine: Any, batchdata: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Segment a batch.

        Args:
            engine: the evaluator.
            batchdata: samples with ``image`` [3, H, W] in [0, 1], ``clicks`` (a list of (row, column, positive)) and
                ``name``.

        Raises:
            ValueError: when a sample has no click, or a click cannot be made; the message names the sample.
        """
        network = unwrapped(engine.network)
        network.eval()
        outputs = []
        with torch.autocast(engine.state.device.type, enabled=engine.amp, **engine.amp_kwargs):
            for sample in batchdata:
                session = InteractiveSession(network, **self.session_options)
                session.set_image(np.moveaxis(np.asarray(sample["image"]), 0, -1))
                try:
                    for row, column, positive in sample["clicks"]:
                        session.click(row, column, positive)
                except ValueError as error:
                    raise ValueError(f"{sample['name']}: {error}") from error
                prediction = session.prediction
                if prediction is None:
                    raise ValueError(f"{sample['name']} has no click.")
                outputs.append(
                    {
                        "image": sample["image"],
                        "name": sample["name"],
                        "mask": torch.as_tensor(prediction.mask, dtype=torch.uint8)[None],
                        "probability": torch.as_tensor(prediction.probability)[None],
                    }
                )
        engine.state.output = outputs
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
