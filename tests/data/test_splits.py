from __future__ import annotations

import pytest

from adaptiveclick_med.data.splits import (
    contiguous_groups,
    shuffled_groups,
    split_items,
    spread_samples,
    validation_count,
)

ITEMS = [{"group": f"case{case}", "name": f"{case}/{slice_}"} for case in range(10) for slice_ in range(case + 1)]


@pytest.mark.parametrize(
    ("groups", "fraction", "count"),
    [(14, 0.3, 4), (10, 0.3, 3), (10, 0.01, 1), (2, 0.99, 1), (2, 0.01, 1), (1, 0.3, 0), (1, 0.9, 1), (5, 0.99, 4)],
)
def test_validation_count(groups: int, fraction: float, count: int) -> None:
    assert validation_count(groups, fraction) == count


def test_shuffled_split_keeps_groups_whole_and_is_seeded() -> None:
    groups = shuffled_groups(ITEMS, 0.3, 0)
    assert len(groups) == 3
    assert groups == shuffled_groups(ITEMS[::-1], 0.3, 0)
    assert len({frozenset(shuffled_groups(ITEMS, 0.3, seed)) for seed in range(5)}) > 1
    training, validation = (split_items(ITEMS, section, groups) for section in ("training", "validation"))
    assert {item["group"] for item in validation} == groups
    assert not groups & {item["group"] for item in training}
    assert sorted(training + validation, key=ITEMS.index) == ITEMS
    assert split_items(ITEMS, "all", set()) == ITEMS


def test_contiguous_split_validates_on_the_last() -> None:
    assert contiguous_groups(ITEMS, 0.3, 5) == {"case7", "case8", "case9"}


def test_split_errors() -> None:
    with pytest.raises(ValueError, match="training, validation, all"):
        split_items(ITEMS, "test", set())
    with pytest.raises(ValueError, match=r"validation section is empty.*1 group "):
        split_items(ITEMS[:1], "validation", set())


def test_samples_are_spread_over_groups() -> None:
    chosen = spread_samples(ITEMS, 20, 0)
    counts = [sum(item["group"] == f"case{case}" for item in chosen) for case in range(10)]
    assert sum(counts) == 20 and counts[0] == 1 and max(counts) - min(counts[2:]) <= 1
    assert chosen == sorted(chosen, key=ITEMS.index)
    assert chosen == spread_samples(ITEMS, 20, 0) != spread_samples(ITEMS, 20, 1)


def test_fewer_samples_than_groups() -> None:
    drawn = [{item["group"] for item in spread_samples(ITEMS, 3, seed)} for seed in range(20)]
    assert all(len(groups) == 3 for groups in drawn)
    assert len(set.union(*drawn)) == 10


def test_sample_limits() -> None:
    assert spread_samples(ITEMS, None, 0) == spread_samples(ITEMS, 999, 0) == ITEMS
    with pytest.raises(ValueError, match="max_samples must be at least 1"):
        spread_samples(ITEMS, 0, 0)
