"""What an evaluation says of samples that cannot be used, and of those that are unusual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import Dataset
from PIL import Image

from adaptiveclick_med.baselines import DiskSession
from adaptiveclick_med.evaluation import Journal, evaluate_dataset, evaluate_source, mean_object_area
from adaptiveclick_med.inference import InteractiveSession


def sample(name: str, label: np.ndarray) -> dict[str, Any]:
    return {"image": np.zeros((3, *label.shape), np.float32), "label": label[None], "name": name}


def square(size: int = 20, *, number: int = 1, side: int = 8) -> np.ndarray:
    label = np.zeros((size, size), np.int32)
    label[4 : 4 + side, 5 : 5 + side] = number
    return label


def test_all_pixels_ignored() -> None:
    data = [sample("a", square()), sample("b", np.full((20, 20), -1, np.int32))]
    with pytest.raises(ValueError, match=r"^b: all pixels of the label are to be ignored\. Repair it, or pass"):
        evaluate_dataset(data, DiskSession(64))
    result = evaluate_dataset(data, DiskSession(64), on_error="skip")
    assert [item.name for item in result.objects] == ["a#1"]
    assert result.skipped == [("b", "all pixels of the label are to be ignored")]
    assert "1 samples could not be used and were left out:\n  b: all pixels" in result.table()


def test_nothing_can_be_used() -> None:
    with pytest.raises(ValueError, match=r"no object of at least 1 pixels \(1 samples were left out\)"):
        evaluate_dataset([sample("b", np.full((9, 9), -1, np.int32))], DiskSession(64), on_error="skip")


def test_a_sample_that_cannot_be_read() -> None:
    def read(item: dict[str, Any]) -> dict[str, Any]:
        if item["name"] == "b":
            raise ValueError("cannot read b.png: it is truncated.")
        return item

    data = Dataset([sample(name, square()) for name in "abc"], read)
    with pytest.raises(ValueError, match=r"b: cannot read b\.png: it is truncated"):
        evaluate_dataset(data, DiskSession(64))
    result = evaluate_dataset(data, DiskSession(64), on_error="skip", batch_size=2)
    assert [item.name for item in result.objects] == ["a#1", "c#1"]
    assert result.skipped == [("b", "cannot read b.png: it is truncated")]


def test_notes() -> None:
    label = square()
    label[0, 0], label[18, 15:18] = 2, 3
    data = [sample("a", label), sample("empty", np.zeros((20, 20), np.int32))]
    result = evaluate_dataset(data, DiskSession(64), min_area=3)
    assert [item.name for item in result.objects] == ["a#1", "a#3"]
    assert result.notes == [
        "a: 1 object(s) of fewer than 3 pixels left out.",
        "empty: the label has no object.",
    ]
    assert "2 notes in results.json, the first: a: 1 object(s)" in result.table()


def test_objects_smaller_than_a_pixel_of_the_network() -> None:
    def nothing(image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return torch.full_like(previous, -5.0)

    label = np.zeros((320, 320), np.int32)
    label[5:8, 5:8], label[100:200, 100:200] = 1, 2
    session = InteractiveSession(nothing, 32)  # 100 pixels of the image are one of the network
    result = evaluate_dataset([sample("a", label)], session, max_clicks=1)
    assert result.notes == ["a#1: smaller than a pixel of the network's input at the first click."]
    assert len(result.objects) == 2
    assert evaluate_dataset([sample("a", label)], DiskSession(9), max_clicks=1).notes == []


def test_two_samples_of_one_name() -> None:
    data = [sample("a", square()), sample("b", square()), sample("a", square(side=5))]
    with pytest.raises(ValueError, match="two samples have the name 'a': names must be unique"):
        evaluate_dataset(data, DiskSession(9), max_clicks=1)


def test_regions_are_no_objects() -> None:
    label = square()
    label[0, 0], label[18, 15:18] = 2, 3
    data = {**sample("a", label), "num_instances": 1}
    result = evaluate_dataset([data], DiskSession(64), max_clicks=1, min_area=3)
    assert [item.name for item in result.objects] == ["a#1"]
    assert result.notes == []
    assert mean_object_area([data]) == 64


def test_a_sample_that_a_session_refuses_is_told_with_its_files(tmp_path: Path) -> None:
    for kind, value in (("images", 90), ("labels", 1)):
        (tmp_path / kind).mkdir()
        for name, size in (("large", 40), ("small", 6)):
            Image.fromarray(np.full((size, size), value, np.uint8)).save(tmp_path / kind / f"{name}.png")
    options: dict[str, Any] = {"preset": "nano", "device": "cpu", "crop_size": 32, "max_clicks": 1, "min_area": 1}
    with pytest.raises(ValueError, match=r"^small: image must be at least one patch .* \(.*small\.png, .*small\.png\)"):
        evaluate_source("folder", tmp_path, progress=False, **options)
    result = evaluate_source("folder", tmp_path, on_error="skip", progress=False, **options)
    assert [item.name for item in result.objects] == ["large#1"]
    assert str(tmp_path / "images" / "small.png") in result.skipped[0][1]


def test_time_left_does_not_count_what_was_done_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [sample(name, square()) for name in "abcd"]
    with Journal(tmp_path, {}) as journal:
        evaluate_dataset(data[:3], DiskSession(9), max_clicks=1, journal=journal)
    with Journal(tmp_path, {}) as journal:
        evaluate_dataset(data, DiskSession(9), max_clicks=1, journal=journal, progress=True)
    bars = capsys.readouterr().err.split("\r")
    assert "| 3/4 [00:00<?" in bars[1] and "| 4/4 [" in bars[-1]


def test_on_error() -> None:
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        evaluate_dataset([sample("a", square())], DiskSession(9), on_error="ignore")


def test_bad_pictures_among_good_ones(tmp_path: Path) -> None:
    """Found when the set is listed: a damaged file; only when read: an image that is no picture any more."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(4):
        Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(square(30).astype(np.uint8)).save(tmp_path / "labels" / f"{number}.png")
    (tmp_path / "labels" / "1.png").write_bytes(b"damaged")
    whole = (tmp_path / "images" / "2.png").read_bytes()
    (tmp_path / "images" / "2.png").write_bytes(whole[:-30])  # its header is whole
    result = evaluate_source("folder", tmp_path, method="disk", on_error="skip", progress=False, max_clicks=2)
    assert [item.name for item in result.objects] == ["0#1", "3#1"]
    assert [Path(name).name for name, _ in result.skipped] == ["1.png", "2"]
    assert all("png" in reason for _, reason in result.skipped)
