"""How well a network does on saved labels: the robot user clicks on their objects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

from monai.data import Dataset
from monai.transforms import Compose

from adaptiveclick_med.data import Item
from adaptiveclick_med.evaluation import EvaluationResult, ObjectRun, object_runs, run_together
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import ClickModel
from adaptiveclick_med.transforms import LoadSampled, ScaleToUnitRGBd

__all__ = ["THRESHOLDS", "measure", "numbers", "spread_evenly", "unwrapped_error"]

THRESHOLDS = (0.85, 0.90)


def spread_evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most ``count`` items, evenly spaced, the first among them."""
    step = max(1, math.ceil(len(items) / count))
    return list(items[::step])


def measure(
    network: ClickModel,
    items: Sequence[Item],
    *,
    max_clicks: int = 10,
    min_area: int = 20,
    max_objects: int | None = None,
    window: str | Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
) -> EvaluationResult:
    """Let the robot user click on the objects of some slices; the same protocol as ``adaptiveclick-med evaluate``.

    Args:
        network: in evaluation mode; images are scaled as its ``intensity`` says.
        items: the slices, see :func:`adaptiveclick_med.label_app.saved_labels.labelled_slices`.
        max_clicks: clicks after which the user gives up.
        min_area: smaller objects are left out, in pixels.
        max_objects: stop after so many objects.
        window: in place of that of the network's ``intensity``.
        channels: in place of those of the network's ``intensity``.

    Returns:
        the objects in the order of the items, and in ``skipped`` the items that could not be used.

    Raises:
        ValueError: when there is no object.
    """
    scale = ScaleToUnitRGBd("image", window, channels, intensity=network.intensity)
    samples = Dataset(items, Compose([LoadSampled(), scale]))
    session = InteractiveSession(network, max_clicks=max_clicks, undo_limit=0, second_look=True)
    skipped: list[tuple[str, str]] = []

    def runs() -> Iterator[ObjectRun]:
        for index, item in enumerate(items):
            try:
                yield from object_runs(
                    samples[index], session, max_clicks=max_clicks, target_iou=max(THRESHOLDS), min_area=min_area
                )
            except (ValueError, OSError, RuntimeError) as error:
                skipped.append((str(item["name"]), str(unwrapped_error(error)).strip().rstrip(".")))

    objects = [run.result() for run in run_together(islice(runs(), max_objects))]
    if not objects:
        reason = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise ValueError(f"there is no object of at least {min_area} pixels to click on{reason}.")
    return EvaluationResult(objects, max_clicks, THRESHOLDS, skipped=skipped)


def numbers(result: EvaluationResult) -> dict[str, float]:
    """Return number of objects, NoC, NoF and mIoU@k; times are left out, so that the same masks give the same."""
    return {name: round(value, 6) for name, value in result.summary().items() if name != "SPC"}


def unwrapped_error(error: BaseException) -> BaseException:
    """Return the error that was the cause, where MONAI wrapped it as it does in transforms and configs."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error
