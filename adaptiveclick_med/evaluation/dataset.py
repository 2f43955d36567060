"""The evaluation of a whole data set: many objects at once, resumable, and what could not be used is said."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from monai.data import MetaTensor
from tqdm import tqdm

from adaptiveclick_med.evaluation.journal import Journal, SampleNotes
from adaptiveclick_med.evaluation.protocol import ObjectRun, Session, object_runs, run_together
from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult
from adaptiveclick_med.inference import InteractiveSession

__all__ = ["evaluate_dataset"]


def evaluate_dataset(
    samples: Iterable[Mapping[str, Any]],
    session: Session,
    *,
    max_clicks: int = 20,
    target_iou: float | None = None,
    thresholds: Sequence[float] = (0.85, 0.90),
    min_area: int = 1,
    facts: Mapping[str, Any] | None = None,
    progress: bool = False,
    on_object: Callable[[Mapping[str, Any], np.ndarray, ObjectResult], None] | None = None,
    batch_size: int = 1,
    on_error: str = "raise",
    journal: Journal | None = None,
) -> EvaluationResult:
    """Evaluate every object of every sample with the robot user.

    Args:
        samples: see :func:`~adaptiveclick_med.evaluation.protocol.object_runs`. Samples of a MONAI ``Dataset`` that are
            in the journal already are not read again.
        session: an :class:`~adaptiveclick_med.inference.InteractiveSession`, whose siblings are used, or anything with
            ``set_image`` and ``click``.
        max_clicks: clicks after which the user gives up.
        target_iou: the user stops here; by default at the highest threshold.
        thresholds: IoUs of NoC and NoF.
        min_area: smaller objects are left out, in pixels.
        facts: what is evaluated, kept in the result.
        progress: show a progress bar with the time left.
        on_object: called with (sample, target, result) after each object.
        batch_size: objects that advance together, of one image or of several. Results are the same for any number, up
            to the rounding of batched arithmetic.
        on_error: ``"raise"``, or ``"skip"``: go on without samples that cannot be used; the result names them.
        journal: keeps what is done, so that a run that was stopped goes on.

    Returns:
        The objects in the order of the samples.

    Raises:
        ValueError: when there is no object, ``max_clicks`` or ``batch_size`` is below 1, ``on_error`` is unknown, or a
            sample cannot be used and ``on_error`` is ``"raise"``.
    """
    if max_clicks < 1:
        raise ValueError(f"max_clicks must be at least 1, got {max_clicks}.")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
    work = _Work(
        samples,
        session,
        max_clicks=max_clicks,
        target_iou=max(thresholds) if target_iou is None else target_iou,
        min_area=min_area,
        on_error=on_error,
        journal=journal,
        progress=progress,
    )
    with work.bar:
        places = batch_size if isinstance(session, InteractiveSession) else 1
        for run in run_together(work.runs(), places):
            result = work.finish(run)
            if on_object is not None:
                on_object(run.sample, run.target, result)
    if not work.objects:
        skipped = f" ({len(work.skipped)} samples were left out)" if work.skipped else ""
        raise ValueError(f"The data set has no object of at least {min_area} pixels{skipped}.")
    return EvaluationResult(
        work.ordered_objects(),
        max_clicks,
        tuple(thresholds),
        dict(facts or {}),
        skipped=work.skipped,
        notes=work.notes,
        run=dict(journal.run) if journal is not None else {},
    )


def _length(samples: Any) -> int | None:
    return len(samples) if hasattr(samples, "__len__") else None


class _Work:
    """The samples and objects of one evaluation, and how far they are."""

    def __init__(
        self,
        samples: Iterable[Mapping[str, Any]],
        session: Session,
        *,
        max_clicks: int,
        target_iou: float,
        min_area: int,
        on_error: str,
        journal: Journal | None,
        progress: bool,
    ) -> None:
        self.samples = samples
        self.session = session
        self.options: dict[str, Any] = {"max_clicks": max_clicks, "target_iou": target_iou, "min_area": min_area}
        self.on_error = on_error
        self.journal = journal
        self.objects: dict[str, ObjectResult] = dict(journal.objects) if journal is not None else {}
        earlier = journal.samples if journal is not None else {}
        self._samples_done = {name: notes for name, notes in earlier.items() if not notes.problem}
        self._earlier = frozenset(self._samples_done)
        self._order: dict[str, None] = {}  # an ordered set
        self._open: dict[str, tuple[SampleNotes, int]] = {}  # notes and objects still running, by sample
        self._objects_of: dict[str, list[str]] = {}
        for name in self.objects:
            self._objects_of.setdefault(name.rpartition("#")[0], []).append(name)
        self.bar = tqdm(
            total=_length(samples),
            initial=len(self._samples_done),  # took no time, so the time left does not count them
            desc="evaluating",
            unit="image",
            disable=not progress,
            smoothing=0.05,
        )

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(sample, reason) of samples that could not be used."""
        done = self._samples_done
        return [(name, done[name].problem) for name in self._order if name in done and done[name].problem]

    @property
    def notes(self) -> list[str]:
        """What else is to be said."""
        return [note for name in self._order if name in self._samples_done for note in self._samples_done[name].notes]

    def ordered_objects(self) -> list[ObjectResult]:
        """All objects, in the order of the samples and of the ids in them."""
        return [
            self.objects[name]
            for sample in self._order
            for name in sorted(self._objects_of.get(sample, []), key=lambda name: int(name.rpartition("#")[2]))
        ]

    def runs(self) -> Iterator[ObjectRun]:
        """Read the samples one by one and return their objects that are not done."""
        for sample in self._unread():
            name = str(sample["name"])
            self._begin(name)
            try:
                notes = self._notes(name, sample)
                runs = deque(object_runs(sample, self.session, skip=self.objects.__contains__, **self.options))
            except ValueError as error:
                self._refuse(name, error, sample)
                continue
            self._open[name] = (notes, len(runs))
            if not runs:
                self._close(name)
            while runs:  # an object that is done is not kept
                yield runs.popleft()

    def _unread(self) -> Iterator[Mapping[str, Any]]:
        """Return the samples that are not done; those of a data set with known names are not read otherwise."""
        items = getattr(self.samples, "data", None)
        if items is None or not hasattr(self.samples, "__getitem__"):
            for sample in self.samples:
                if self._is_done(str(sample["name"])):
                    continue
                yield sample
            return
        for index, item in enumerate(items):
            name = str(item["name"])
            if self._is_done(name):
                continue
            try:
                sample = self.samples[index]
            except (ValueError, OSError, RuntimeError) as error:  # MONAI wraps errors of transforms
                self._begin(name)
                self._refuse(name, error, item)
                continue
            yield sample

    def _is_done(self, name: str) -> bool:
        """Tell whether a sample was done in an earlier run, and then pass it over."""
        done = name in self._earlier
        if done:
            self._begin(name)
        return done

    def _begin(self, name: str) -> None:
        """Note the place of a sample.

        Raises:
            ValueError: when the name came before.
        """
        if name in self._order:
            raise ValueError(f"two samples have the name {name!r}: names must be unique.")
        self._order[name] = None

    def _notes(self, name: str, sample: Mapping[str, Any]) -> SampleNotes:
        """Check a sample, and note what is unusual.

        Raises:
            ValueError: when all of its label is to be ignored.
        """
        layers = np.asarray(sample["label"])
        notes: list[str] = []
        counted = (layers > 0) & (layers <= sample.get("num_instances", math.inf))
        numbers, areas = np.unique(layers[counted], return_counts=True)
        if not numbers.size:
            if (layers < 0).all():
                raise ValueError("all pixels of the label are to be ignored")
            notes.append(f"{name}: the label has no object.")
        small = int((areas < self.options["min_area"]).sum())
        if small:
            notes.append(f"{name}: {small} object(s) of fewer than {self.options['min_area']} pixels left out.")
        scale = self._first_scale(layers.shape[-2:])
        for number, area in zip(numbers.tolist(), areas.tolist(), strict=True):
            if area >= self.options["min_area"] and area * scale < 1:
                notes.append(f"{name}#{number}: smaller than a pixel of the network's input at the first click.")
        return SampleNotes(name, notes=notes)

    def _first_scale(self, size: Sequence[int]) -> float:
        """Pixels of the network's input for one of the image, at the first click."""
        if not isinstance(self.session, InteractiveSession) or self.session.zoom_in is None:
            return math.inf
        return float(math.prod(self.session.crop_size) / math.prod(size))

    def _refuse(self, name: str, error: Exception, sample: Mapping[str, Any]) -> None:
        reason = _reason(error)
        files = [file for key in ("image", "label") if (file := _file_of(sample.get(key))) not in ("", name)]
        if files and not any(file in reason for file in files):
            reason += f" ({', '.join(files)})"
        if self.on_error == "raise":
            raise ValueError(f"{name}: {reason}. Repair it, or pass on_error='skip' to go on without it.") from error
        self._settle(SampleNotes(name, problem=reason))

    def finish(self, run: ObjectRun) -> ObjectResult:
        """Keep the result of an object."""
        result, name = run.result(), str(run.sample["name"])
        self.objects[result.name] = result
        self._objects_of.setdefault(name, []).append(result.name)
        if self.journal is not None:
            self.journal.add_object(result)
        notes, left = self._open[name]
        self._open[name] = (notes, left - 1)
        if left == 1:
            self._close(name)
        return result

    def _close(self, name: str) -> None:
        notes, _ = self._open.pop(name)
        self._settle(notes)

    def _settle(self, notes: SampleNotes) -> None:
        self._samples_done[notes.name] = notes
        if self.journal is not None:
            self.journal.add_sample(notes)
        self.bar.update()
        self.bar.set_postfix(objects=len(self.objects), refresh=False)


def _file_of(value: Any) -> str:
    """Return the file from which an image or a label is or was read, nothing where there is none."""
    if isinstance(value, MetaTensor):
        value = value.meta.get("filename_or_obj")
    elif isinstance(value, Mapping):
        value = value.get("file")
    return os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""


def _reason(error: BaseException) -> str:
    """Return the message of an error, of the first one where a transform's error was wrapped."""
    while error.__cause__ is not None and not isinstance(error, ValueError):
        error = error.__cause__
    return str(error).strip().rstrip(".")
