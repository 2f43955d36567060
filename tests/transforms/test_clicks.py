from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from adaptiveclick_med.transforms.clicks import RandSelectTargetd, RandSimulateClicksd, SelectTargetd


def two_layer_label() -> np.ndarray:
    """Objects 3 (25 px), 5 (8 px, below 20), 9 (30 px, in the second layer, over a corner of 3), and ignore pixels."""
    label = np.zeros((2, 20, 24), dtype=np.int32)
    label[0, 2:7, 2:7] = 3
    label[0, 15, 4:12] = 5
    label[1, 6:11, 6:12] = 9
    label[0, 8:13, 11:14] = -1
    label[1, 0:2, 0:24] = -1
    return label


def others_of(label: np.ndarray, *numbers: int) -> np.ndarray:
    return np.isin(label, numbers).any(0)


class TestRandSelectTarget:
    def test_target_others_and_ignore(self):
        label = two_layer_label()
        select = RandSelectTargetd(merge_probability=0.0).set_random_state(0)
        seen = set()
        for _ in range(20):
            item = select({"label": label, "name": "a"})
            target, others = item["target"], item["others"]
            assert target.shape == others.shape == (1, 20, 24)
            assert target.dtype == torch.float32 and others.dtype == torch.uint8
            area = int((target == 1).sum())
            number = {25: 3, 30: 9}[area]
            seen.add(number)
            wanted = others_of(label, number)
            np.testing.assert_array_equal(target[0].numpy() == 1, wanted)
            np.testing.assert_array_equal(target[0].numpy() == -1, (label == -1).any(0) & ~wanted)
            np.testing.assert_array_equal(others[0].numpy() == 1, others_of(label, 12 - number) & ~wanted)
        assert seen == {3, 9}
        assert item["name"] == "a" and item["label"] is label

    def test_object_over_ignore_wins(self):
        label = two_layer_label()
        target = SelectTargetd()({"label": label, "object_id": 9})["target"]
        assert target[0, 9, 11] == 1 and label[0, 9, 11] == -1
        assert target[0, 9, 12] == -1

    def test_small_objects_may_stay_among_the_others(self):
        label = two_layer_label()
        for drop, expected in ((True, False), (False, True)):
            item = RandSelectTargetd(merge_probability=0.0, drop_small=drop).set_random_state(0)({"label": label})
            assert bool(item["others"][0, 15, 5]) is expected
            assert item["target"][0, 15, 5] == 0

    def test_the_object_that_the_sample_was_cut_around(self):
        label = two_layer_label()
        for probability, often in ((1.0, 1.0), (0.75, 0.875), (0.0, 0.5)):
            select = RandSelectTargetd(merge_probability=0.0, focus_probability=probability).set_random_state(0)
            areas = [int((select({"label": label, "focus": 9})["target"] == 1).sum()) for _ in range(300)]
            assert np.mean([area == 30 for area in areas]) == pytest.approx(often, abs=0.07)
        small = RandSelectTargetd(merge_probability=0.0, focus_probability=1.0, min_area=26).set_random_state(0)
        assert int((small({"label": label, "focus": 3})["target"] == 1).sum()) == 30
        both = RandSelectTargetd(merge_probability=1.0, focus_probability=1.0).set_random_state(0)
        np.testing.assert_array_equal(
            both({"label": label, "focus": 3})["target"][0].numpy() == 1, others_of(label, 3, 9)
        )

    def test_union_of_two(self):
        label = two_layer_label()
        item = RandSelectTargetd(merge_probability=1.0).set_random_state(0)({"label": label})
        np.testing.assert_array_equal(item["target"][0].numpy() == 1, others_of(label, 3, 9))
        assert not item["others"].any()
        alone = RandSelectTargetd(merge_probability=1.0, min_area=26).set_random_state(0)({"label": label})
        np.testing.assert_array_equal(alone["target"][0].numpy() == 1, others_of(label, 9))

    def test_how_often_objects_and_unions_are_chosen(self):
        label = np.repeat(np.repeat(np.array([[[1, 2, 3, 0]]]), 5, 1), 5, 2)
        select = RandSelectTargetd().set_random_state(1)
        chosen: Counter = Counter()
        for _ in range(1500):
            target = select({"label": label})["target"][0].numpy() == 1
            chosen[tuple(np.unique(label[0][target]).tolist())] += 1
        singles = [chosen[(number,)] / 1500 for number in (1, 2, 3)]
        pairs = [chosen[pair] / 1500 for pair in ((1, 2), (1, 3), (2, 3))]
        np.testing.assert_allclose(singles, 0.85 / 3, atol=0.035)
        np.testing.assert_allclose(pairs, 0.05, atol=0.02)

    def test_objects_that_fill_little_of_their_box_are_dropped(self):
        label = np.zeros((1, 30, 30), dtype=np.int32)
        label[0, np.arange(30), np.arange(30)] = 4
        label[0, 0:5, 20:25] = 6
        select = RandSelectTargetd(min_box_fraction=0.08, merge_probability=0.0).set_random_state(0)
        for _ in range(5):
            item = select({"label": label})
            assert (item["target"] == 1).sum() == 25
            assert not item["others"].any()

    def test_no_object_large_enough(self):
        label = two_layer_label()
        item = RandSelectTargetd(min_area=1000).set_random_state(0)({"label": label})
        assert item["target"].max() == 0 and item["target"].min() == -1
        assert not item["others"].any()
        item = RandSelectTargetd()({"label": np.zeros((1, 4, 4), dtype=np.int32)})
        assert not item["target"].any()

    def test_large_ids(self):
        label = np.zeros((1, 10, 12), dtype=np.int32)
        label[0, :5, :5] = 16_000_000
        label[0, 5:, 6:] = 70_000
        label[0, 0, 11] = -1
        item = RandSelectTargetd(min_area=28, merge_probability=0.0, drop_small=False)({"label": label})
        np.testing.assert_array_equal(item["target"][0].numpy() == 1, label[0] == 70_000)
        np.testing.assert_array_equal(item["others"][0].numpy() == 1, label[0] == 16_000_000)

    def test_one_object_filling_the_image(self):
        item = RandSelectTargetd()({"label": torch.full((1, 5, 5), 2)})
        assert torch.equal(item["target"], torch.ones(1, 5, 5))

    def test_meta_tensor_keeps_its_affine(self):
        affine = torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0], dtype=torch.float64))
        label = MetaTensor(two_layer_label(), affine=affine, meta={"source": "here"})
        item = RandSelectTargetd().set_random_state(0)({"label": label})
        for key in ("target", "others"):
            assert isinstance(item[key], MetaTensor)
            assert torch.equal(item[key].affine, affine)
            assert item[key].meta["source"] == "here"
        assert item["target"].dtype == torch.float32 and item["others"].dtype == torch.uint8
        assert type(RandSelectTargetd()({"label": two_layer_label()})["target"]) is torch.Tensor

    def test_same_seed_same_target(self):
        label, select = two_layer_label(), RandSelectTargetd()
        runs = []
        for _ in range(2):
            select.set_random_state(seed=5)
            runs.append([float((select({"label": label})["target"] == 1).sum()) for _ in range(10)])
        assert runs[0] == runs[1]
        assert len(set(runs[0])) > 1

    def test_missing_keys_and_bad_input(self):
        assert RandSelectTargetd(allow_missing_keys=True)({"name": "a"}) == {"name": "a"}
        with pytest.raises(KeyError):
            RandSelectTargetd()({"name": "a"})
        with pytest.raises(ValueError, match=r"'label' must be of shape \[L, H, W\], got \[4, 4\]"):
            RandSelectTargetd()({"label": np.zeros((4, 4), dtype=int)})
        with pytest.raises(ValueError, match="merge_probability"):
            RandSelectTargetd(merge_probability=1.5)
        with pytest.raises(ValueError, match="min_box_fraction"):
            RandSelectTargetd(min_box_fraction=-0.1)
        with pytest.raises(ValueError, match="min_area"):
            RandSelectTargetd(min_area=0)


class TestSelectTarget:
    def test_by_id(self):
        label = two_layer_label()
        item = SelectTargetd()({"label": label, "object_id": np.int64(5)})
        np.testing.assert_array_equal(item["target"][0].numpy() == 1, others_of(label, 5))
        np.testing.assert_array_equal(item["others"][0].numpy() == 1, others_of(label, 3, 9))

    def test_unknown_or_missing_id(self):
        with pytest.raises(ValueError, match=r"'object_id' is 4, but 'label' holds the objects \[3, 5, 9\]"):
            SelectTargetd()({"label": two_layer_label(), "object_id": 4})
        with pytest.raises(KeyError, match="object_id"):
            SelectTargetd()({"label": two_layer_label()})


class TestRandSimulateClicks:
    def test_points(self):
        label = two_layer_label()
        item = SelectTargetd()({"label": MetaTensor(label), "object_id": 3})
        simulate = RandSimulateClicksd().set_random_state(0)
        for _ in range(20):
            points = simulate(item)["points"]
            assert points.shape == (48, 3) and points.dtype == torch.float32
            placed = points[:, 0] >= 0
            assert placed[0]
            assert torch.equal(points[~placed], torch.full((int((~placed).sum()), 3), -1.0))
            assert points[placed][:, 2].tolist() == list(range(int(placed.sum())))
            rows, columns = points[:, 0].long(), points[:, 1].long()
            values = item["target"][0].as_tensor()[rows, columns]
            assert (values[:24][placed[:24]] == 1).all()
            assert (values[24:][placed[24:]] == 0).all()

    def test_room_for_later_clicks(self):
        points = RandSimulateClicksd(max_clicks=3, capacity=5).set_random_state(0)({"target": np.ones((1, 8, 8))})[
            "points"
        ]
        assert points.shape == (10, 3)
        assert (points[3:] == -1).all()

    def test_empty_target(self):
        simulate = RandSimulateClicksd().set_random_state(0)
        drawn = torch.stack([simulate({"target": torch.zeros(1, 8, 8)})["points"] for _ in range(30)])
        assert (drawn[:, :24] == -1).all()
        assert (drawn[:, 24:] >= 0).any()

    def test_required_region(self):
        required = torch.zeros(1, 9, 9)
        required[0, 8, 8] = 1
        target = torch.zeros(1, 9, 9)
        target[0, 2:5, 2:5] = 1
        simulate = RandSimulateClicksd(required_key="required").set_random_state(0)
        for _ in range(5):
            points = simulate({"target": target, "required": required})["points"]
            assert points[24, :2].tolist() == [8.0, 8.0]
        assert "points" in simulate({"target": target})

    def test_same_seed_same_points(self):
        pipeline = Compose([RandSelectTargetd(), RandSimulateClicksd()])
        runs = []
        for _ in range(2):
            pipeline.set_random_state(seed=3)
            runs.append(torch.stack([pipeline({"label": two_layer_label()})["points"] for _ in range(5)]))
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0][0], runs[0][1])

    def test_missing_keys_and_bad_input(self):
        assert RandSimulateClicksd(allow_missing_keys=True)({"name": "a"}) == {"name": "a"}
        with pytest.raises(ValueError, match=r"max_clicks must be between 1 and capacity \(10\), got 24"):
            RandSimulateClicksd(capacity=10)
        with pytest.raises(ValueError, match=r"'target' must be of shape \[1, H, W\], got \[8, 8\]"):
            RandSimulateClicksd()({"target": np.ones((8, 8))})
