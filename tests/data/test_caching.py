from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.transforms import Compose, EnsureTyped, SelectItemsd

from adaptiveclick_med.data import ClickTrainingDataset, cached_items, get_items
from adaptiveclick_med.data.caching import StoredItems
from adaptiveclick_med.transforms import (
    LoadSampled,
    RandSelectTargetd,
    RandSimulateClicksd,
    ScaleToUnitRGBd,
    augmentation,
)

SMALL: dict[str, Any] = {"num_volumes": 2, "size": (3, 48, 48)}


class Counted(LoadSampled):
    """Counts how often it reads an item."""

    def __init__(self) -> None:
        super().__init__()
        self._count: list[str] = []

    def __call__(self, data: Any) -> Any:
        self._count.append(data["name"])
        return super().__call__(data)


def loading(load: Callable | None = None, **options: Any) -> Compose:
    return Compose([load or LoadSampled(), ScaleToUnitRGBd("image", **options)])


def dataset(items: list[Any], first: Compose, cached: Any = None) -> ClickTrainingDataset:
    keys = ["image", "target", "points"]
    transform = Compose(
        [
            first,
            augmentation("medical", 48),
            RandSelectTargetd(merge_probability=0.5, min_area=10),
            RandSimulateClicksd(required_key="required"),
            SelectItemsd(keys),
            EnsureTyped(keys, track_meta=False),
        ]
    )
    return ClickTrainingDataset(items, transform, seed=3, cached=cached)


def same(one: Any, other: Any) -> None:
    """Equal in type, value and meta data."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(torch.as_tensor(one), torch.as_tensor(other))
        if isinstance(one, MetaTensor):
            same(one.meta, other.meta)
    else:
        assert one == other


@pytest.fixture
def volumes() -> list[Any]:
    return get_items("phantoms", **SMALL)


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("source", ["phantoms", "folder"])
def test_no_sample_changes(tmp_path: Path, picture_folder: Path, cache: str, source: str) -> None:
    items = get_items(source, picture_folder, **(SMALL if source == "phantoms" else {}))
    first = loading(channels=0)
    plain = dataset(items, first)
    cached = dataset(items, first, cached_items(items, first, cache, cache_dir=tmp_path))
    for epoch in (0, 1, 5):
        for each in (plain, cached):
            each.set_epoch(epoch)
        for index in range(len(items)):
            same(plain[index], cached[index])


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cached_item_is_the_decoded_one(tmp_path: Path, volumes: list[Any], cache: str) -> None:
    first = loading()
    found = cached_items(volumes, first, cache, cache_dir=tmp_path)
    assert found is not None
    for _ in range(2):  # made, then read
        for index, item in enumerate(volumes):
            same(found[index], first(item))


def test_workers_share_a_disk_cache(tmp_path: Path, volumes: list[Any]) -> None:
    first = loading()
    cached = dataset(volumes, first, cached_items(volumes, first, "disk", cache_dir=tmp_path))
    loader = DataLoader(cached, batch_size=1, num_workers=2, persistent_workers=True, prefetch_factor=1)
    for epoch in (0, 1):
        cached.set_epoch(epoch)
        plain = dataset(volumes, first)
        plain.set_epoch(epoch)
        for index, batch in enumerate(loader):
            assert torch.equal(batch["image"][0], plain[index]["image"])
            assert torch.equal(batch["points"][0], plain[index]["points"])
    assert len(list(tmp_path.iterdir())) == len(volumes)


def test_every_item_is_decoded_once(tmp_path: Path, volumes: list[Any]) -> None:
    for cache in ("memory", "disk"):
        load = Counted()
        first = loading(load)
        found = dataset(volumes, first, cached_items(volumes, first, cache, cache_dir=tmp_path / cache))
        for epoch in range(3):
            found.set_epoch(epoch)
            for index in range(len(volumes)):
                found[index]
        assert sorted(load._count) == sorted(item["name"] for item in volumes)
    later = Counted()
    first = loading(later)
    stored = cached_items(volumes, first, "disk", cache_dir=tmp_path / "disk")
    assert stored is not None and stored[0]["name"] == volumes[0]["name"]
    assert later._count == []


def test_memory_has_limits(volumes: list[Any]) -> None:
    for limits, kept in (({"cache_rate": 0.5}, len(volumes) // 2), ({"cache_num": 1}, 1), ({"cache_num": 0}, 0)):
        load = Counted()
        found = cached_items(volumes, loading(load), "memory", **limits)
        assert isinstance(found, CacheDataset) and len(load._count) == kept
        for index in range(len(volumes)):
            found[index]
        assert len(load._count) == len(volumes)


def test_another_option_finds_no_older_file(tmp_path: Path, volumes: list[Any]) -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"window": "lung"},
        {"window": (0.0, 1.0)},
        {"channels": 0},
        {"intensity": {"window": "lung"}},
        {"intensity": {"channels": 0}},
    ]
    names = {StoredItems(volumes, loading(**choice), tmp_path).path(0).name for choice in choices}
    assert len(names) == len(choices)
    percentiles = StoredItems(volumes, loading(LoadSampled(percentiles=(1, 99))), tmp_path).path(0).name
    assert percentiles not in names
    assert StoredItems(volumes, loading(), tmp_path).path(0).name in names
    of_items = {StoredItems(volumes, loading(), tmp_path).path(index).name for index in range(len(volumes))}
    assert len(of_items) == len(volumes)


def test_changed_data_finds_no_older_file(tmp_path: Path, picture_folder: Path) -> None:
    items = get_items("folder", picture_folder)
    before = StoredItems(items, loading(), tmp_path).path(0)
    path = Path(items[0]["image"])
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    os.utime(path, ns=(times[0], times[1] + 10**9))
    after = StoredItems(items, loading(), tmp_path).path(0)
    os.utime(path, ns=times)
    assert before != after and StoredItems(items, loading(), tmp_path).path(0) == before
    arrays = get_items("phantoms", **SMALL)
    kept = StoredItems(arrays, loading(), tmp_path).path(0)
    changed = [{**item, "image": item["image"] + np.float32(1)} for item in arrays]
    assert StoredItems(changed, loading(), tmp_path).path(0) != kept


def test_a_cut_off_file_is_made_anew(tmp_path: Path, volumes: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    found = StoredItems(volumes, loading(), tmp_path)
    expected = found[0]
    path = found.path(0)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            same(found[0], expected)
        assert "it is made anew" in caplog.text
        same(torch.load(path, weights_only=True)["tensors"]["image"], expected["image"])
        caplog.clear()


def test_nothing_is_left_of_a_stopped_writing(
    tmp_path: Path, volumes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        StoredItems(volumes, loading(), tmp_path)[0]
    assert list(tmp_path.iterdir()) == []


def test_no_cache(volumes: list[Any]) -> None:
    assert cached_items(volumes, loading()) is None
    assert cached_items(volumes, loading(), None) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cache": "ram"}, "cache must be one of none, memory, disk, got 'ram'"),
        ({"cache": "disk"}, "needs cache_dir"),
        ({"cache": "memory", "cache_rate": 1.5}, r"cache_rate must be in \[0, 1\], got 1.5"),
        ({"cache": "memory", "cache_num": -1}, "cache_num must be 0 or above, or None, got -1"),
    ],
)
def test_bad_arguments(volumes: list[Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cached_items(volumes, loading(), **arguments)


def test_a_cache_of_something_else_is_refused(volumes: list[Any]) -> None:
    first = loading()
    with pytest.raises(ValueError, match="cached must hold the result of the first transform"):
        dataset(volumes, first, cached_items(volumes, loading(), "memory"))
    with pytest.raises(ValueError, match=f"cached must hold the {len(volumes)} items of data, got 1"):
        dataset(volumes, first, cached_items(volumes[:1], first, "memory"))
