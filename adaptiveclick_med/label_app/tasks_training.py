"""Training for MONAI Label: the weights in use learn from the labels that users saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.exception import MONAILabelError
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_list

from adaptiveclick_med.label_app.background import in_background
from adaptiveclick_med.label_app.fine_tuning import find_bundle
from adaptiveclick_med.label_app.publishing import check_publishable, remove_leftovers
from adaptiveclick_med.label_app.request_options import refusal
from adaptiveclick_med.label_app.training_record import TrainingRecord
from adaptiveclick_med.label_app.training_run import DEFAULTS, PUBLISH, TrainingOptions, TrainingRun, TrainingSlices
from adaptiveclick_med.weights import read_header

__all__ = ["FineTune"]


class FineTune(TrainTask):
    """Trains the weights in use further on all final labels, and puts the new weights in their place.

    It is the bundle's own training with a small learning rate; image size, intensities and architecture are those of
    the weights. Part of the labelled images is held back (see
    :func:`~adaptiveclick_med.label_app.saved_labels.hold_back`): there the robot user clicks with the old weights, and
    with the new ones after each epoch; the best epoch is kept. With one labelled image nothing is held back, the last
    epoch is kept, and the result says so. New weights are published as
    :func:`~adaptiveclick_med.label_app.publishing.publish_weights` tells: at once, and the old ones stay beside them,
    all of them for ever. A training that fails or is stopped leaves the weights as they were.

    Options of a request, beside ``device``:

    - ``max_epochs``, ``batch_size``, ``learning_rate``, ``seed``: as in the bundle;
    - ``samples_per_epoch``: slices drawn in an epoch, 0: each labelled slice once;
    - ``min_area``: smaller objects are not used, in pixels;
    - ``val_split``: share of the images that is held back, 0: none;
    - ``val_max_samples``, ``val_max_clicks``: most held-back slices to click on, and clicks on each object;
    - ``publish``: ``"unless worse"``: not when the new weights do worse than the old ones on the held-back labels: more
      clicks to an IoU of 0.9, else of 0.85, else a lower mean IoU over all clicks; ``"always"``.

    Args:
        weights: ``model.safetensors`` in use, with a header of this software.
        work_dir: where the record of the last training is kept.
        bundle: folder of the AdaptiveClick bundle; ``None``: that of the source code.
        window: of the images, in place of that of the weights, see :func:`adaptiveclick_med.transforms.to_unit_rgb`;
            the new weights then carry it.
        channels: likewise.
    """

    def __init__(
        self,
        weights: str | Path,
        work_dir: str | Path,
        bundle: str | Path | None = None,
        *,
        window: str | Sequence[float] | None = None,
        channels: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__("Trains the click network further on all saved labels")
        self.weights = Path(weights)
        self.bundle = bundle
        self._scaling: dict[str, Any] = {"window": window, "channels": channels}
        self.record = TrainingRecord(work_dir)

    def config(self) -> dict[str, Any]:
        """Return the options with their default values, for viewers."""
        return {**DEFAULTS, "publish": list(PUBLISH), "device": device_list()}

    def stats(self) -> dict[str, Any]:
        """Return what the last training did, or how far it is, also when it runs in another process.

        Keys: ``status`` (``"running"``, ``"done"``, ``"failed"``, ``"stopped"``), ``epoch``, ``total_epochs``,
        ``start_ts``, ``current_time`` or ``total_time``, ``losses`` (one an epoch), ``labels`` (how many images were
        saved, learned from and held back, how many slices, and what was left out), ``validation`` (``old`` and ``new``
        numbers, ``best_epoch``) or ``note``, ``best_metric`` (mean IoU after the last click), ``published``,
        ``previous_weights`` and ``error``. Empty when there was no training.
        """
        return self.record.read()

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Train.

        Args:
            request: the options.
            datastore: the server's images and labels.

        Returns:
            :meth:`stats`.

        Raises:
            MONAILabelException: when an option, the weights or the bundle cannot be used, there is no label, or the
                training fails; the message says why.
        """
        options = TrainingOptions.read(request, **self._scaling)
        try:
            read_header(self.weights)
            check_publishable(self.weights)
            bundle = find_bundle(self.bundle)
            with self.record.alone():
                remove_leftovers(self.weights)
                slices = TrainingSlices.read(datastore, options)
                run = TrainingRun(self.weights, bundle, options, slices, self.record)
                return in_background(run)
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            raise refusal(str(error), MONAILabelError.APP_TRAIN_FAILED) from error
