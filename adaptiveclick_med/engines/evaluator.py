"""Validation by the robot user, as a MONAI evaluator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler

from adaptiveclick_med.engines.interactive import unwrapped
from adaptiveclick_med.evaluation import EvaluationResult, ObjectResult, evaluate_objects
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.metrics import NumberOfClicks

__all__ = ["ClickEvaluator", "NumberOfClicksHandler", "ResultsWriter", "RobotUserUpdate"]


class NumberOfClicksHandler(IgniteMetricHandler):
    """NoC as the key metric of an evaluator; NoF and mIoU@k are put into ``engine.state.metrics`` beside it.

    Args:
        threshold: IoU to reach, in (0, 1]; 0.9 gives NoC@90.
        max_clicks: clicks after which the user gives up.
        thresholds: further thresholds to report.
    """

    def __init__(self, threshold: float = 0.9, max_clicks: int = 20, *, thresholds: Sequence[float] = (0.85,)) -> None:
        self.key = f"NoC@{100 * threshold:g}"
        metric = NumberOfClicks(sorted({threshold, *thresholds}), max_clicks)
        super().__init__(metric, output_transform=lambda output: (output["ious"], None), save_details=False)

    def update(self, output: Sequence[Any]) -> None:
        """Add the IoUs of a batch of objects, which may be none.

        All ranks gather, so a rank that has seen no object adds a row that counts nowhere.
        """
        super().update(output if len(output[0]) else ([[math.nan]], None))

    def compute(self) -> float:
        """Return the key number over all objects of all ranks."""
        results = self.metric_fn.aggregate()
        if self._engine is not None:
            self._engine.state.metrics.update(results)
        return results[self.key]


class RobotUserUpdate:
    """One evaluation step: the robot user clicks on every object of every sample of a batch.

    The result is in ``engine.state.output["results"]`` (a list of ``ObjectResult``) and ``["ious"]``.

    Args:
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops here.
        min_area: smaller objects are left out, in pixels.
        crop_size: see :class:`~adaptiveclick_med.inference.InteractiveSession`.
        zoom_in: see there.
        flip: see there.
        second_look: see there.
        batch_size: objects of an image that advance together.
    """

    def __init__(
        self,
        max_clicks: int = 20,
        target_iou: float = 0.9,
        min_area: int = 1,
        *,
        crop_size: int | tuple[int, int] | None = None,
        zoom_in: bool = True,
        flip: bool = True,
        second_look: bool = False,
        batch_size: int = 1,
    ) -> None:
        self.max_clicks = max_clicks
        self.batch_size = batch_size
        self.target_iou = target_iou
        self.min_area = min_area
        self.session_options: dict[str, Any] = {
            "crop_size": crop_size,
            "zoom_in": zoom_in,
            "flip": flip,
            "second_look": second_look,
            "max_clicks": max_clicks,
            "undo_limit": 0,
        }

    def __call__(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate a batch of one sample.

        Args:
            engine: the evaluator.
            batchdata: ``image`` [1, 3, H, W] in [0, 1], ``label`` [1, L, H, W] with object ids in layers, ``name``, and
                ``num_instances`` where higher ids are no objects.

        Raises:
            ValueError: when the batch holds more than one sample; their sizes differ.
        """
        if len(batchdata["image"]) != 1:
            raise ValueError(f"The robot user takes one sample at a time: batch_size is {len(batchdata['image'])}.")
        network = unwrapped(engine.network)
        network.eval()
        keys = [key for key in ("image", "label", "name", "num_instances") if key in batchdata]
        sample = {key: batchdata[key][0] for key in keys}
        with torch.autocast(engine.state.device.type, enabled=engine.amp, **engine.amp_kwargs):
            results = evaluate_objects(
                sample,
                InteractiveSession(network, **self.session_options),
                max_clicks=self.max_clicks,
                target_iou=self.target_iou,
                min_area=self.min_area,
                batch_size=self.batch_size,
            )
        engine.state.output = {"results": results, "ious": [result.ious for result in results]}
        return engine.state.output


class ClickEvaluator(SupervisedEvaluator):
    """Validates with the robot user; fewer clicks are better.

    Args:
        device: device of the network.
        val_data_loader: loader of samples, ``batch_size`` 1.
        network: network to validate.
        update: the evaluation step; by default a :class:`RobotUserUpdate`.
        key_val_metric: name and metric; by default NoC@90 as ``"NoC"``.
        options: further arguments of ``SupervisedEvaluator``.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: Any,
        network: torch.nn.Module,
        update: RobotUserUpdate | None = None,
        key_val_metric: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            device=torch.device(device),
            val_data_loader=val_data_loader,
            network=network,
            iteration_update=update or RobotUserUpdate(),
            key_val_metric=key_val_metric or {"NoC": NumberOfClicksHandler()},
            metric_cmp_fn=_fewer,
            decollate=False,
            **options,
        )
        self._state_dict_user_keys.extend(["best_metric", "best_metric_epoch"])


def _fewer(current: float, best: float) -> bool:
    return current < best


class ResultsWriter:
    """Collects what :class:`RobotUserUpdate` found, writes it to a folder and prints the table.

    Args:
        folder: where ``results.json``, ``objects.csv`` and ``summary.csv`` go.
        max_clicks: as in the update.
        thresholds: IoUs of NoC and NoF.
        facts: what is evaluated, kept in the result.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_clicks: int = 20,
        thresholds: Sequence[float] = (0.85, 0.90),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.max_clicks = max_clicks
        self.thresholds = tuple(thresholds)
        self.facts = dict(facts or {})
        self.objects: list[ObjectResult] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.objects.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def collect(self, engine: Any) -> None:
        """Take the results of one step."""
        self.objects.extend(engine.state.output["results"])

    def write(self, engine: Any) -> None:
        """Write and print."""
        result = EvaluationResult(list(self.objects), self.max_clicks, self.thresholds, self.facts)
        result.save(self.folder)
        print(result.table())
        print(f"Written to {self.folder}.")
