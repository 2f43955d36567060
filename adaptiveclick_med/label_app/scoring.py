"""Scores for MONAI Label: how many clicks the weights in use need on the labels that users saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.scoring import ScoringMethod

from adaptiveclick_med.evaluation import EvaluationResult, Method, ObjectResult
from adaptiveclick_med.label_app.background import in_background
from adaptiveclick_med.label_app.measuring import THRESHOLDS, measure, numbers, spread_evenly
from adaptiveclick_med.label_app.request_options import device_of, refusal, whole_number
from adaptiveclick_med.label_app.saved_labels import SavedLabel, labelled_slices, saved_labels

__all__ = ["ClickScore"]

logger = logging.getLogger(__name__)


class ClickScore(ScoringMethod):
    """NoC@85, NoC@90 and mIoU@k of the weights in use on all final labels, clicked by the robot user.

    It is the protocol of ``adaptiveclick-med evaluate``, in the acquisition plane, on a few slices of each image.
    Labels that the weights were trained on count too, so after a training the score is not one on unseen images; for
    that, see the ``validation`` of the training.

    The numbers of each image are also written to the information of its label, as
    ``click_score[<sha256 of the weights>]``, so that those before and after a training stand side by side.

    Options of a request, beside ``device``:

    - ``every``: of the slices with a label, each so-manieth, 5 by default;
    - ``max_objects``: most objects of an image, from slices spread over it, 5 by default;
    - ``max_clicks``: clicks after which the robot gives up, 10 by default; the paper takes 20;
    - ``min_area``: smaller objects are left out, in pixels, 20 by default.

    Args:
        weights: the weights in use.
        window: of the images, in place of that of the weights, see :func:`adaptiveclick_med.transforms.to_unit_rgb`.
        channels: likewise.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__("Clicks that the network needs on the saved labels")
        self.weights = Path(weights)
        self._scaling: dict[str, Any] = {"window": window, "channels": channels}

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Score all images with a final label.

        Args:
            request: the options.
            datastore: the server's images and labels.

        Returns:
            ``weights`` (their sha256), ``options``, ``images`` (id -> numbers), ``all`` (numbers over all objects,
            empty when there is none) and ``left_out`` ([id, reason] pairs).

        Raises:
            MONAILabelException: when an option or the weights cannot be used.
        """
        options = {
            "every": whole_number(request, "every", 5, 1),
            "max_objects": whole_number(request, "max_objects", 5, 1),
            "max_clicks": whole_number(request, "max_clicks", 10, 1, 100),
            "min_area": whole_number(request, "min_area", 20, 1),
        }
        try:
            method = Method.create("network", weights=self.weights, device=str(device_of(request)))
        except (ValueError, OSError) as error:
            raise refusal(str(error)) from error
        return in_background(lambda: self._score(method, options, datastore))

    def _score(self, method: Method, options: Mapping[str, int], datastore: Any) -> dict[str, Any]:
        digest = str(method.facts["sha256"])
        images: dict[str, dict[str, float]] = {}
        left_out: list[list[str]] = []
        objects: list[ObjectResult] = []
        for saved in saved_labels(datastore):
            try:
                result = self._measured(saved, method, options)
            except ValueError as error:
                left_out.append([saved.image_id, str(error).strip().rstrip(".")])
                continue
            left_out += [[name, reason] for name, reason in result.skipped]
            objects += result.objects
            images[saved.image_id] = numbers(result)
            _note(datastore, saved.image_id, digest, {**images[saved.image_id], **options})
        found = numbers(EvaluationResult(objects, options["max_clicks"], THRESHOLDS)) if objects else {}
        logger.info("Scored %d images with the weights %s: %s", len(images), digest[:12], found)
        return {"weights": digest, "options": dict(options), "images": images, "all": found, "left_out": left_out}

    def _measured(self, saved: SavedLabel, method: Method, options: Mapping[str, int]) -> EvaluationResult:
        assert method.network is not None
        items, refused = labelled_slices([saved], every=options["every"], min_area=options["min_area"])
        if refused:
            raise ValueError(refused[0][1])
        return measure(
            method.network,
            spread_evenly(items, options["max_objects"]),
            max_clicks=options["max_clicks"],
            min_area=options["min_area"],
            max_objects=options["max_objects"],
            **self._scaling,
        )


def _note(datastore: Any, image_id: str, digest: str, score: Mapping[str, float]) -> None:
    """Write a score to the information of a label, beside those of other weights."""
    datastore.refresh()  # the server may have changed the file meanwhile; writing an old copy would undo that
    try:
        known = datastore.get_label_info(image_id, DefaultLabelTag.FINAL).get("click_score") or {}
        scores = {
            **{name: value for name, value in known.items() if name != digest},
            digest: {**score, "ts": int(time.time())},
        }
        datastore.update_label_info(image_id, DefaultLabelTag.FINAL, {"click_score": scores})
    except MONAILabelException:
        logger.warning("The label of %s was removed meanwhile; its score is not kept.", image_id)
