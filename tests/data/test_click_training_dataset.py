from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, MapTransform, RandomizableTransform, RandSpatialCropd

from adaptiveclick_med.data import ClickTrainingDataset


class Draw(RandomizableTransform, MapTransform):
    """Copies the item's value into a target, and adds a random number."""

    def __init__(self) -> None:
        MapTransform.__init__(self, "value")
        RandomizableTransform.__init__(self)

    def __call__(self, data: dict) -> dict:
        target = torch.tensor([[float(data["value"]), -1.0]])
        return {**data, "target": target, "random": self.R.random_sample()}


def items(*values: int) -> list[dict]:
    return [{"value": value, "number": number} for number, value in enumerate(values)]


def sampled(dataset: ClickTrainingDataset) -> list[tuple[int, float]]:
    return [(int(sample["number"]), float(sample["random"])) for sample in dataset]


def test_same_seed_and_epoch_same_samples() -> None:
    one, other = (ClickTrainingDataset(items(*[1] * 6), Draw(), seed=4) for _ in range(2))
    first = sampled(one)
    assert [number for number, _ in first] == list(range(6)) and len({random for _, random in first}) == 6
    assert float(other[3]["random"]) == first[3][1]  # whatever was drawn before
    other.set_epoch(1)
    assert other.epoch == 1 and not {random for _, random in sampled(other)} & {random for _, random in first}
    other.set_epoch(0)
    assert sampled(other) == first
    assert sampled(ClickTrainingDataset(items(*[1] * 6), Draw(), seed=5)) != first


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing(persistent: bool) -> None:
    dataset = ClickTrainingDataset(items(*[1, 0] * 5), Draw(), seed=1)
    loader = DataLoader(dataset, batch_size=1, num_workers=2, persistent_workers=persistent)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        found = [(int(batch["number"]), float(batch["random"])) for batch in loader]
        assert found == sampled(dataset)


class Window(Draw):
    """Draws the number of a window."""

    def __call__(self, data: dict) -> dict:
        return {**data, "window": self.R.random_sample()}


def with_windows(*values: int, **options: int) -> ClickTrainingDataset:
    return ClickTrainingDataset(items(*values), Compose([Window(), Draw()]), seed=2, window_transforms=1, **options)


def windows_and_draws(dataset: ClickTrainingDataset, epoch: int) -> tuple[list[float], list[float]]:
    dataset.set_epoch(epoch)
    samples = list(dataset)
    return [sample["window"] for sample in samples], [sample["random"] for sample in samples]


def test_windows_are_kept_for_some_epochs_and_the_rest_is_drawn_anew() -> None:
    dataset = with_windows(*[1] * 9, reuse=3)
    epochs = [windows_and_draws(dataset, epoch) for epoch in range(7)]
    draws = [number for _, numbers in epochs for number in numbers]
    assert len(set(draws)) == len(draws)
    for position in range(9):
        kept = [windows[position] for windows, _ in epochs]
        changes = [epoch for epoch in range(1, 7) if kept[epoch] != kept[epoch - 1]]
        assert changes == [epoch for epoch in range(1, 7) if (epoch + position) % 3 == 0]
    assert windows_and_draws(with_windows(*[1] * 9, reuse=3), 5) == epochs[5]  # whatever was drawn before
    loader = DataLoader(dataset, batch_size=1, num_workers=2)
    assert [float(batch["window"]) for batch in loader] == epochs[6][0]


def test_windows_without_an_object_are_replaced() -> None:
    dataset = with_windows(*[1, 0, 0, 0] * 5, reuse=2, keep_empty=0)
    for epoch in range(4):
        dataset.set_epoch(epoch)
        assert all(bool((sample["target"] == 1).any()) for sample in dataset)


def test_real_transforms_are_seeded() -> None:
    data = [{"image": torch.arange(400).reshape(1, 20, 20), "target": torch.ones(1, 20, 20)}]
    dataset = ClickTrainingDataset(data, [RandSpatialCropd(["image", "target"], (4, 4), random_size=False)])
    corners = []
    for epoch in range(8):
        dataset.set_epoch(epoch)
        corners.append(int(dataset[0]["image"][0, 0, 0]))
    dataset.set_epoch(2)
    assert len(set(corners)) > 4 and int(dataset[0]["image"][0, 0, 0]) == corners[2]


def test_samples_without_an_object_are_replaced() -> None:
    dataset = ClickTrainingDataset(items(0, 1, 0, 1), Draw(), keep_empty=0.0)
    assert all(sample["value"] == 1 for sample in dataset)
    assert [dataset[index]["number"] for index in (1, 3)] == [1, 3]
    assert [s["number"] for s in ClickTrainingDataset(items(0, 1, 0), Draw(), keep_empty=1.0)] == [0, 1, 2]
    assert [s["number"] for s in ClickTrainingDataset(items(0, 1, 0), Draw(), target_key=None)] == [0, 1, 2]


def test_some_are_kept() -> None:
    dataset = ClickTrainingDataset(items(0, 1), Draw(), keep_empty=0.25, samples_per_epoch=2000)
    share = np.mean([sample["value"] == 0 for sample in dataset])
    # an item is empty with p 1/2 and then kept with p 1/4, else drawn again: s = (1/8) / (1/8 + 1/2)
    assert share == pytest.approx(0.2, abs=0.03)


def test_drawing_ends() -> None:
    assert ClickTrainingDataset(items(0, 0), Draw(), keep_empty=0.0, retries=3)[1]["value"] == 0


def test_drawn_with_replacement_and_by_weight() -> None:
    dataset = ClickTrainingDataset(items(1, 1, 1), Draw(), samples_per_epoch=600, weights=[1, 0, 3])
    counts = np.bincount([number for number, _ in sampled(dataset)], minlength=3)
    assert len(dataset) == 600 and counts[1] == 0 and counts[2] / 600 == pytest.approx(0.75, abs=0.06)
    assert len(ClickTrainingDataset(items(1, 1), Draw(), weights=[0, 1])) == 2
    assert {s["number"] for s in ClickTrainingDataset(items(1, 1), Draw(), weights=[1, 0])} == {0}
    even = ClickTrainingDataset(items(1, 1, 1), Draw(), samples_per_epoch=600)
    assert np.bincount([number for number, _ in sampled(even)]).min() > 150


def test_indices() -> None:
    dataset = ClickTrainingDataset(items(1, 1, 1), Draw())
    assert dataset[-1]["number"] == 2 and [s["number"] for s in dataset[1:]] == [1, 2]
    for index in (3, -4):
        with pytest.raises(IndexError, match=str(index)):
            dataset[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": []}, "data is empty"),
        ({"keep_empty": 1.5}, "keep_empty"),
        ({"seed": -1}, "seed"),
        ({"samples_per_epoch": 0}, "samples_per_epoch"),
        ({"reuse": 0}, "reuse must be at least 1, got 0"),
        ({"reuse": 2}, "window_transforms must be at least 1 and leave a transform of a Compose, got 2"),
        ({"weights": [1]}, "weights must be one number for each of the 2"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [1, -1]}, "at least 0"),
        ({"weights": [1, float("nan")]}, "finite"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClickTrainingDataset(**{"data": items(1, 1), "transform": Draw(), **arguments})


def test_missing_target() -> None:
    dataset = ClickTrainingDataset([{"image": 1}], lambda data: data)
    with pytest.raises(KeyError, match=r"no 'target' \(it has: image\)"):
        dataset[0]
    with pytest.raises(ValueError, match="epoch must be 0 or above"):
        dataset.set_epoch(-1)
