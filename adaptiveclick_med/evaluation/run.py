"""Data sets by name, evaluated into a folder: what the command line, a study and a notebook share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptiveclick_med import __version__
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.evaluation.choice import DataSetChoice
from adaptiveclick_med.evaluation.dataset import evaluate_dataset
from adaptiveclick_med.evaluation.journal import Journal, digest
from adaptiveclick_med.evaluation.method import Method, best_batch_size
from adaptiveclick_med.evaluation.results import EvaluationResult

__all__ = ["evaluate_choice", "evaluate_choices", "evaluate_source"]

logger = logging.getLogger(__name__)

THRESHOLDS = (0.85, 0.90)


def evaluate_choice(
    choice: DataSetChoice,
    method: Method,
    output_dir: str | Path | None = None,
    *,
    batch_size: int | str = 1,
    on_error: str = "raise",
    overwrite: bool = False,
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate one data set.

    Args:
        choice: what.
        method: with what.
        output_dir: where ``results.json``, ``objects.csv`` and ``summary.csv`` go. A run that was stopped goes on there
            and ends with the result of one that was not; a finished run is read, not repeated.
        batch_size: objects that advance together, or ``"auto"``.
        on_error: ``"raise"``, or ``"skip"``: go on without files that cannot be used; the result names them.
        overwrite: throw away what the folder holds of another run.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: when the folder of the data set does not exist.
        ValueError: when an argument or the data cannot be used, or ``output_dir`` belongs to another run.
    """
    choice = choice.complete()
    places = _places(batch_size)
    problems = Problems(on_error)
    samples = choice.samples(problems)
    facts = {**choice.as_dict(), "title": choice.title, **method.facts, "version": __version__}
    folder = None if choice.dataset_dir is None else str(Path(choice.dataset_dir).expanduser().absolute())
    run = {
        **{key: value for key, value in facts.items() if key not in ("title", "name", "weights")},
        "dataset_dir": folder,
        "items": digest([item["name"] for item in samples.data]),
        "thresholds": list(THRESHOLDS),
    }
    options: dict[str, Any] = {
        "max_clicks": choice.max_clicks,
        "thresholds": THRESHOLDS,
        "min_area": choice.min_area,
        "facts": facts,
        "progress": progress,
        "on_error": on_error,
    }

    def evaluated(journal: Journal | None = None) -> EvaluationResult:
        session = method.session(choice)
        options["batch_size"] = best_batch_size(session) if places is None else places
        result = evaluate_dataset(samples, session, journal=journal, **options)
        # Files that were left out when the data set was listed come before the samples left out later.
        return replace(result, skipped=[*problems.found, *result.skipped])

    if output_dir is None:
        return evaluated()
    with Journal(output_dir, run, overwrite=overwrite) as journal:
        if journal.finished is None:
            journal.complete(evaluated(journal))
        else:
            logger.warning("%s holds the finished result already; nothing was evaluated.", output_dir)
        return journal.result


def _places(batch_size: int | str) -> int | None:
    """Return a batch size, ``None`` for ``"auto"``."""
    if str(batch_size) == "auto":
        return None
    try:
        places = int(batch_size)
    except ValueError:
        places = 0
    if places < 1:
        raise ValueError(f"batch_size must be 'auto' or a whole number of at least 1, got {batch_size!r}.")
    return places


def evaluate_choices(
    choices: Sequence[DataSetChoice],
    method: Method,
    output_dir: str | Path,
    *,
    on_error: str = "raise",
    **options: Any,
) -> tuple[dict[str, EvaluationResult], dict[str, str]]:
    """Evaluate several data sets, each in a folder of its own below ``output_dir``.

    Args:
        choices: what; names must differ.
        method: with what.
        output_dir: where the folders go.
        on_error: ``"raise"``, or ``"skip"``: go on without files, and without whole data sets, that cannot be used.
        options: see :func:`evaluate_choice`.

    Returns:
        Results by name, and the reasons of the data sets that could not be used, by name.
    """
    results: dict[str, EvaluationResult] = {}
    failed: dict[str, str] = {}
    for choice in (choice.complete() for choice in choices):
        name = str(choice.name)
        try:
            results[name] = evaluate_choice(choice, method, Path(output_dir) / name, on_error=on_error, **options)
        except (ValueError, OSError) as error:
            if on_error == "raise":
                raise
            failed[name] = str(error)
            logger.warning("%s cannot be evaluated and is left out: %s", name, error)
    return results, failed


def evaluate_source(
    dataset: str,
    dataset_dir: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    preset: str | None = None,
    method: str = "network",
    device: str | None = None,
    second_look: bool = False,
    output_dir: str | Path | None = None,
    batch_size: int | str = 1,
    on_error: str = "raise",
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> EvaluationResult:
    """Evaluate a data set by name, in one call.

    Args:
        dataset: name of a source.
        dataset_dir: its folder.
        weights: our weights, a released checkpoint, or an exported network; ``None``: the default weights.
        preset: in place of weights, an untrained network of that size.
        method: one of :data:`~adaptiveclick_med.evaluation.METHODS`.
        device: where the network runs; ``None``: the first GPU, or the CPU.
        second_look: see :class:`~adaptiveclick_med.inference.InteractiveSession`; of a network only.
        output_dir: see :func:`evaluate_choice`.
        batch_size: see there.
        on_error: see there.
        overwrite: see there.
        progress: show a progress bar.
        options: further arguments of :class:`~adaptiveclick_med.evaluation.DataSetChoice`.

    Raises:
        FileNotFoundError: when the weights or the folder do not exist.
        ValueError: when an argument or the data cannot be used.
    """
    choice = DataSetChoice(dataset, None if dataset_dir is None else str(dataset_dir), **options)
    made = Method.create(method, weights=weights, preset=preset, device=device, second_look=second_look)
    return evaluate_choice(
        choice,
        made,
        output_dir,
        batch_size=batch_size,
        on_error=on_error,
        overwrite=overwrite,
        progress=progress,
    )
