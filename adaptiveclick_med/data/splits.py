"""Splits into training and validation that keep a group (case, section, picture) on one side, and sub-samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["SECTIONS", "contiguous_groups", "shuffled_groups", "split_items", "spread_samples", "validation_count"]

SECTIONS = ("training", "validation", "all")


def validation_count(groups: int, val_fraction: float) -> int:
    """Return how many of ``groups`` groups validate.

    It is ``round(groups * val_fraction)``, at least 1 and at most ``groups - 1`` when there are two or more groups.
    """
    count = round(groups * val_fraction)
    return min(max(count, 1), groups - 1) if groups > 1 else count


def _groups(items: Sequence[dict[str, Any]]) -> list[str]:
    """Return the distinct groups in the order of the items."""
    return list(dict.fromkeys(item["group"] for item in items))


def shuffled_groups(items: Sequence[dict[str, Any]], val_fraction: float, seed: int) -> set[str]:
    """Return the validation groups of a seeded shuffle of the sorted groups."""
    groups = sorted(_groups(items))
    order = np.random.RandomState(seed).permutation(len(groups))
    return {groups[index] for index in order[: validation_count(len(groups), val_fraction)]}


def contiguous_groups(items: Sequence[dict[str, Any]], val_fraction: float, seed: int) -> set[str]:
    """Return the last groups in listing order as validation groups; ``seed`` has no effect.

    For series whose neighbours are near copies of each other, where a shuffled split would leak.
    """
    groups = _groups(items)
    return set(groups[len(groups) - validation_count(len(groups), val_fraction) :])


def split_items(
    items: Sequence[dict[str, Any]], section: str, validation_groups: set[str] | frozenset[str]
) -> list[dict[str, Any]]:
    """Return the items of one section, in listing order.

    Args:
        items: all items.
        section: ``"training"``, ``"validation"`` or ``"all"``.
        validation_groups: the groups that validate; all others train.

    Raises:
        ValueError: when ``section`` is unknown, or has no item.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    if section == "all":
        return list(items)
    chosen = [item for item in items if (item["group"] in validation_groups) == (section == "validation")]
    if not chosen:
        groups = len(_groups(items))
        raise ValueError(
            f"the {section} section is empty: the data set has {groups} group{'s' if groups != 1 else ''} "
            "(case, section or picture) to split. Use section='all', or add data."
        )
    return chosen


def spread_samples(items: Sequence[dict[str, Any]], max_samples: int | None, seed: int) -> list[dict[str, Any]]:
    """Return at most ``max_samples`` items, spread over the groups.

    The items of each group are shuffled with ``seed``; then each group, in listing order, gives one item in turn until
    there are enough. The result is in listing order. With fewer samples than groups, the groups are shuffled too.

    Raises:
        ValueError: when ``max_samples`` is below 1.
    """
    if max_samples is None:
        return list(items)
    if max_samples < 1:
        raise ValueError(f"max_samples must be at least 1 or None, got {max_samples}.")
    if max_samples >= len(items):
        return list(items)
    random = np.random.RandomState(seed)
    groups = _groups(items)
    place = {group: rank for rank, group in enumerate(groups)}
    if max_samples < len(groups):
        place = {group: int(rank) for group, rank in zip(groups, random.permutation(len(groups)), strict=True)}
    members: dict[str, list[int]] = {group: [] for group in groups}
    for index, item in enumerate(items):
        members[item["group"]].append(index)
    turns = []
    for group in groups:
        for turn, member in enumerate(random.permutation(len(members[group]))):
            turns.append((turn, place[group], members[group][member]))
    return [items[index] for index in sorted(index for _, _, index in sorted(turns)[:max_samples])]
