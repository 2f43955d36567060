"""Several data sources together, each with its share of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.data.registry import Item, Source

__all__ = ["SOURCE", "list_items"]

_KEYS = ("dataset", "dataset_dir", "options", "weight", "name", "max_samples")


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
        problems: says what to do with files that cannot be used.
        section: ``"training"``, ``"validation"`` or ``"all"``.
        val_fraction: share of the groups that validate, where the publisher fixed no sections.
        parts: a dictionary each: ``dataset`` and ``dataset_dir`` as for :func:`adaptiveclick_med.data.get_items`;
            ``options`` of that source; ``weight``: share of the training samples, by default 1; ``max_samples``;
            ``name``: begins the names of its items, by default the name of the source.

    Raises:
        ValueError: when there is no part, two have the same name, or a part has an unknown key or a weight that is not
            positive.
    """
    from adaptiveclick_med.data import get_items

    if not parts:
        raise ValueError("the dataset 'mixed' needs parts: a list of {'dataset': ..., 'dataset_dir': ...}.")
    names = [str(part.get("name", part.get("dataset"))) for part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"parts of a mixed data set need different names, got {', '.join(names)}; pass name.")
    items: list[Item] = []
    for name, part in zip(names, parts, strict=True):
        unknown = sorted(set(part) - set(_KEYS))
        weight = float(part.get("weight", 1.0))
        if unknown or "dataset" not in part:
            raise ValueError(f"a part must have dataset and may have {', '.join(_KEYS[1:])}; got {', '.join(part)}.")
        if not weight > 0:
            raise ValueError(f"the weight of part {name!r} must be positive, got {weight}.")
        folder = part.get("dataset_dir")
        found = get_items(
            part["dataset"],
            Path(dataset_dir or "") / folder if folder else None,
            section=section,
            val_fraction=val_fraction,
            seed=seed,
            max_samples=part.get("max_samples"),
            on_error=problems.on_error,
            **part.get("options", {}),
        )
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


SOURCE = Source("mixed", list_items)
