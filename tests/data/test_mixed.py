from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import MapTransform, RandomizableTransform
from PIL import Image

from adaptiveclick_med.data import (
    ClickTrainingDataset,
    DataSetError,
    Source,
    get_items,
    get_source,
    register_source,
    registry,
)


class Pass(RandomizableTransform, MapTransform):
    """Gives the item back, with a target that is never empty."""

    def __init__(self) -> None:
        MapTransform.__init__(self, "name")
        RandomizableTransform.__init__(self)

    def __call__(self, data: dict) -> dict:
        return {"name": data["name"], "target": torch.ones(1, 1)}


def list_numbers(
    dataset_dir: Any, *, seed: int, problems: Any, count: int = 4, weights: Any = None, bad: int = 0
) -> list[dict[str, Any]]:
    for number in range(bad):
        problems.add(f"{dataset_dir}/file{number}", "it is damaged")
    items = [{"name": str(n), "group": f"g{n // 2}", "source": "numbers", "dir": dataset_dir} for n in range(count)]
    for item, weight in zip(items, weights or [], strict=False):
        item["weight"] = weight
    return items


def list_published(dataset_dir: Any, *, seed: int, problems: Any, section: str = "all") -> list[dict[str, Any]]:
    names = {"training": "abc", "validation": "de", "all": "abcde"}[section]
    return [{"name": name, "group": name, "source": "published"} for name in names]


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {})
    register_source(Source("numbers", list_numbers))
    register_source(Source("published", list_published))


PARTS = [
    {"dataset": "numbers", "options": {"count": 8}, "weight": 3},
    {"dataset": "published", "name": "other"},
]


def shares(items: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in items:
        part = item["name"].split("/")[0]
        found[part] = found.get(part, 0.0) + item["weight"]
    return found


def test_names_and_groups_begin_with_the_part() -> None:
    items = get_items("mixed", parts=PARTS)
    assert [item["name"] for item in items] == [f"numbers/{n}" for n in range(8)] + [f"other/{n}" for n in "abcde"]
    assert [item["group"] for item in items[:3]] == ["numbers/g0", "numbers/g0", "numbers/g1"]
    assert [items[0]["source"], items[-1]["source"]] == ["numbers", "published"]


def test_a_part_has_its_share_whatever_its_size() -> None:
    items = get_items("mixed", parts=PARTS)
    assert shares(items) == pytest.approx({"numbers": 3.0, "other": 1.0})
    assert {item["weight"] for item in items[8:]} == {0.2}
    fewer = get_items("mixed", parts=[{**PARTS[0], "max_samples": 2}, PARTS[1]])
    assert len(fewer) == 7 and shares(fewer) == pytest.approx({"numbers": 3.0, "other": 1.0})


def test_weights_of_the_items_are_kept_in_proportion() -> None:
    part = {"dataset": "numbers", "options": {"weights": [1.0, 1.0, 6.0]}, "weight": 2.0}
    items = get_items("mixed", parts=[part])  # the fourth has weight 1
    assert [item["weight"] for item in items] == pytest.approx([2 / 9, 2 / 9, 12 / 9, 2 / 9])


def test_each_part_is_split_by_its_own_rule() -> None:
    sections = {name: get_items("mixed", parts=PARTS, section=name, seed=3) for name in ("training", "validation")}
    for name, items in sections.items():
        own = get_items("numbers", section=name, count=8, seed=3)
        published = {"training": "abc", "validation": "de"}[name]
        assert [item["name"] for item in items] == [f"numbers/{item['name']}" for item in own] + [
            f"other/{letter}" for letter in published
        ]
        assert shares(items) == pytest.approx({"numbers": 3.0, "other": 1.0})
    assert not {item["group"] for item in sections["training"]} & {item["group"] for item in sections["validation"]}


def test_training_draws_by_weight() -> None:
    items = get_items("mixed", parts=PARTS)
    dataset = ClickTrainingDataset(items, Pass(), samples_per_epoch=1000)
    counts = Counter(sample["name"].split("/")[0] for sample in dataset)
    assert counts["numbers"] / 1000 == pytest.approx(0.75, abs=0.05)
    assert len(ClickTrainingDataset(items, Pass())) == 13


def test_folders(tmp_path: Path) -> None:
    absolute, relative = {"dataset_dir": tmp_path / "a", "name": "a"}, {"dataset_dir": "b", "name": "b"}
    parts = [{"dataset": "numbers", "options": {"count": 1}, **more} for more in (absolute, relative, {"name": "c"})]
    found = [item["dir"] for item in get_items("mixed", tmp_path / "base", parts=parts)]
    assert found == [tmp_path / "a", tmp_path / "base" / "b", None]
    assert get_items("mixed", parts=parts)[1]["dir"] == Path("b")


def test_real_sources_together(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / kind / "a.png")
    parts = [
        {"dataset": "phantoms", "options": {"num_volumes": 1, "size": (2, 32, 32)}},
        {"dataset": "folder", "dataset_dir": str(tmp_path), "weight": 0.5},
    ]
    items = get_items("mixed", parts=parts)
    assert items[-1]["name"] == "folder/a" and items[-1]["weight"] == 0.5
    assert shares(items) == pytest.approx({"phantoms": 1.0, "folder": 0.5})


def test_problems_of_all_parts_come_in_one_error(caplog: pytest.LogCaptureFixture) -> None:
    parts = [
        {"dataset": "numbers", "dataset_dir": "/a", "options": {"bad": 2}, "name": "a"},
        {"dataset": "numbers", "dataset_dir": "/b", "options": {"bad": 1}, "name": "b"},
    ]
    with pytest.raises(DataSetError) as caught:
        get_items("mixed", parts=parts)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 problems in the data set mixed:"
    assert [line.split(":")[0] for line in lines[1:4]] == ["  - /a/file0", "  - /a/file1", "  - /b/file0"]
    with caplog.at_level(logging.WARNING):
        assert len(get_items("mixed", parts=parts, on_error="skip")) == 8
    assert [record.getMessage() for record in caplog.records] == [
        f"mixed: left out {file}: it is damaged." for file in ("/a/file0", "/a/file1", "/b/file0")
    ]


def test_a_part_without_a_usable_item() -> None:
    parts = [{"dataset": "numbers", "options": {"count": 0, "bad": 1}}, {"dataset": "published"}]
    with pytest.raises(DataSetError, match=r"file0: it is damaged(.|\n)*part 'numbers': the data set .*no usable item"):
        get_items("mixed", parts=parts)
    with pytest.raises(DataSetError, match="no usable item"):
        get_items("mixed", parts=parts, on_error="skip")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "the dataset 'mixed' needs parts: a list of"),
        ("numbers", "needs parts: a list of .* got numbers"),
        ({"dataset": "numbers"}, "needs parts: a list of"),
        (["numbers"], "needs parts: a list of"),
        ([{"dataset_dir": "x"}], "a part must have dataset and may have .*; got dataset_dir"),
        ([{"dataset": "numbers", "section": "all"}], "a part must have dataset and may have .*; got dataset, section"),
        ([{"dataset": "numbers"}, {"dataset": "numbers"}], "need different names, got numbers, numbers; pass name"),
        ([{"dataset": "numbers", "weight": 0}], "the weight of part 'numbers' must be a positive number, got 0"),
        ([{"dataset": "numbers", "weight": "2"}], "must be a positive number, got '2'"),
        ([{"dataset": "numbers", "weight": float("nan")}], "must be a positive number, got nan"),
        ([{"dataset": "numbers", "weight": float("inf")}], "must be a positive number, got inf"),
        ([{"dataset": "numbers", "options": [1]}], r"the options of part 'numbers' must be a dictionary, got \[1\]"),
        ([{"dataset": "numbers", "options": {"seed": 1}}], "options of part 'numbers' are those of its source; seed"),
        ([{"dataset": "numbers", "options": {"colour": 1}}], "unknown option colour for dataset 'numbers'"),
        ([{"dataset": "imagenet"}], "unknown dataset 'imagenet'"),
    ],
)
def test_bad_parts(parts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_items("mixed", parts=parts)


def test_its_options() -> None:
    assert get_source("mixed").options == ["parts"]
