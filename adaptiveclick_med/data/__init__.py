"""Data sets as lists of dictionaries. :func:`get_items` is the one door for configs, command line and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Benchmark, Item, Source, get_source, register_source, source_names
from adaptiveclick_med.data.splits import SECTIONS, split_items, spread_samples

if TYPE_CHECKING:
    from adaptiveclick_med.data.caching import cached_items
    from adaptiveclick_med.data.training import ClickTrainingDataset

__all__ = [
    "Benchmark",
    "ClickTrainingDataset",
    "DataSetError",
    "Item",
    "Source",
    "cached_items",
    "get_items",
    "get_source",
    "register_source",
    "source_names",
]


def get_items(
    dataset: str,
    dataset_dir: str | Path | None = None,
    *,
    section: str = "all",
    val_fraction: float = 0.3,
    seed: int = 0,
    max_samples: int | None = None,
    on_error: str = "raise",
    problems: Problems | None = None,
    **options: Any,
) -> list[Item]:
    """List the items of a data set; images are read later, by ``LoadSampled``.

    Args:
        dataset: name of a source, in upper or lower case: ``"phantoms"`` and ``"scenes"`` (made on the fly, need
            no folder), ``"folder"`` (your own images and masks), ``"mixed"`` (several sources together) or a published
            data set; :func:`source_names` lists all.
        dataset_dir: the folder of the data set; without effect for ``"phantoms"`` and ``"scenes"``.
        section: ``"training"``, ``"validation"`` or ``"all"``. Items of one group (case, section, picture) are never in
            both sections. Published sections are kept where there are any, ``"sstem"`` validates on its last sections,
            other sources on a seeded choice of groups.
        val_fraction: share of the groups that validate, in (0, 1); at least one group validates and at least one trains
            when there are two or more.
        seed: seed of the split, of the choice for ``max_samples``, and of phantoms and scenes.
        max_samples: keep at most so many items of the section, spread evenly over its groups by a seeded choice.
        on_error: ``"raise"``: one error lists all files that cannot be used. ``"skip"``: leave them out and log a
            warning for each.
        problems: takes what is left out, for a report; its own ``on_error`` then counts.
        options: options of the source; see ``list_items`` in its module.

    Returns:
        dictionaries with ``image``, ``label``, ``name``, ``group``, ``source`` and ``reader`` (hints for
        ``LoadSampled``), in a fixed order.

    Raises:
        ValueError: when a name or an option is unknown (the message lists the valid ones), a number is out of range, or
            the section is empty.
        DataSetError: when files cannot be used and ``on_error`` is ``"raise"``, or when no file can be used at all.
        FileNotFoundError: when the folder does not exist.

    Example:
        >>> items = get_items("phantoms", section="validation", num_volumes=3, size=(4, 64, 64))
        >>> sorted(items[0])
        ['group', 'image', 'label', 'name', 'reader', 'source']
    """
    source = get_source(dataset)
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be above 0 and below 1, got {val_fraction!r}.")
    unknown = sorted(set(options) - set(source.options))
    if unknown:
        valid = ", ".join(source.options) or "none"
        raise ValueError(f"unknown option {', '.join(unknown)} for dataset {source.name!r}; its options are: {valid}.")
    problems = Problems(on_error) if problems is None else problems
    split = {"section": section, "val_fraction": val_fraction}
    options.update({name: split[name] for name in source.split_arguments})
    items = source.list_items(dataset_dir, seed=seed, problems=problems, **options)
    where = source.name if dataset_dir is None else f"{source.name!r} in {dataset_dir}"
    problems.settle(where)
    if not items:
        raise DataSetError(f"the data set {where} has no usable item.")
    if section != "all" and "section" not in source.split_arguments:
        items = split_items(items, section, source.validation_groups(items, val_fraction, seed))
    return spread_samples(items, max_samples, seed)


def __getattr__(name: str) -> Any:
    """Import the training data set and its cache, and MONAI with them, only where they are used."""
    if name == "ClickTrainingDataset":
        from adaptiveclick_med.data.training import ClickTrainingDataset

        return ClickTrainingDataset
    if name == "cached_items":
        from adaptiveclick_med.data.caching import cached_items

        return cached_items
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
