"""Mixed: several data sources together, each with its share of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptiveclick_med.data.problems import DataSetError, Problems
from adaptiveclick_med.data.registry import Item, Source

__all__ = ["SOURCE", "list_items"]

_KEYS = ("dataset", "dataset_dir", "options", "weight", "name", "max_samples")
_COMMON = ("section", "val_fraction", "seed", "on_error", *_KEYS[:2], "max_samples")


def list_items(
    dataset_dir: str | Path | None,
    *,
    seed: int,
    problems: Problems,
    section: str = "all",
    val_fraction: float = 0.3,
    parts: Sequence[Mapping[str, Any]] = (),
) -> list[Item]:
    """List the items of several sources, each split by its own rule.

    Args:
        dataset_dir: where the ``dataset_dir`` of the parts start, unless they are absolute.
        seed: of the splits.
        problems: takes files of all parts that cannot be used.
        section: ``"training"``, ``"validation"`` or ``"all"``.
        val_fraction: share of the groups that validate, where the publisher fixed no sections.
        parts: a dictionary each: ``dataset`` and ``dataset_dir`` as for :func:`adaptiveclick_med.data.get_items`;
            ``options`` of that source; ``weight``: share of the training samples, by default 1; ``max_samples``;
            ``name``: begins the names of its items, by default the name of the source.

    Raises:
        ValueError: when there is no part, two have the same name, or a part has an unknown key, a weight that is not a
            positive number, or options that are not of its source.
    """
    from adaptiveclick_med.data import get_items

    if isinstance(parts, (str, Mapping)) or not parts or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(
            f"the dataset 'mixed' needs parts: a list of {{'dataset': ..., 'dataset_dir': ...}}, got {parts}."
        )
    for part in parts:
        if "dataset" not in part or set(part) - set(_KEYS):
            raise ValueError(f"a part must have dataset and may have {', '.join(_KEYS[1:])}; got {', '.join(part)}.")
    names = [str(part.get("name", part["dataset"])) for part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"parts of a mixed data set need different names, got {', '.join(names)}; pass name.")
    items: list[Item] = []
    for name, part in zip(names, parts, strict=True):
        weight, options = _weight(name, part), _options(name, part)
        folder = part.get("dataset_dir")
        collected = _Collected(problems.on_error)
        try:
            found = get_items(
                part["dataset"],
                Path(dataset_dir or "").expanduser() / Path(folder).expanduser() if folder else None,
                section=section,
                val_fraction=val_fraction,
                seed=seed,
                max_samples=part.get("max_samples"),
                problems=collected,
                **options,
            )
        except DataSetError as error:
            if problems.on_error == "skip":  # files may be left out, but not a whole part
                problems.found += collected.found
                raise
            collected.add(f"part {name!r}", str(error))
            found = []
        problems.found += collected.found
        total = sum(item.get("weight", 1.0) for item in found)
        for item in found:
            items.append(
                {
                    **item,
                    "name": f"{name}/{item['name']}",
                    "group": f"{name}/{item['group']}",
                    "weight": weight * item.get("weight", 1.0) / total,
                }
            )
    return items


class _Collected(Problems):
    """Problems of one part, raised or logged together with those of the others."""

    def settle(self, source: str) -> None:
        """Leave it to the mixed data set."""


def _weight(name: str, part: Mapping[str, Any]) -> float:
    """Return the weight of a part."""
    weight = part.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
        raise ValueError(f"the weight of part {name!r} must be a positive number, got {weight!r}.")
    return float(weight)


def _options(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a part's source."""
    options = part.get("options") or {}
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of part {name!r} must be a dictionary, got {options!r}.")
    common = sorted(set(options) & set(_COMMON))
    if common:
        raise ValueError(
            f"the options of part {name!r} are those of its source; {', '.join(common)} belong beside them or are the "
            "same for all parts."
        )
    return dict(options)


SOURCE = Source("mixed", list_items, title="mixed")
