from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.metrics import NumberOfClicks, click_curve, intersection_over_union


class TestIntersectionOverUnion:
    def test_by_hand(self):
        prediction = np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
        target = np.array([[1, 0, 0], [0, 1, 1]])
        assert intersection_over_union(prediction, target) == 2 / 4
        assert intersection_over_union(target > 0, prediction.astype(int)) == 2 / 4

    def test_ignored_pixels_count_nowhere(self):
        prediction = np.array([[1, 1, 1, 0]], dtype=bool)
        assert intersection_over_union(prediction, np.array([[1, -1, 0, 1]])) == 1 / 3
        assert intersection_over_union(prediction, np.array([[1, -1, -1, -1]])) == 1
        assert intersection_over_union(prediction, np.array([[-1, -1, -1, -1]])) == 1

    def test_two_empty_masks_agree(self):
        empty = np.zeros((3, 3), dtype=int)
        assert intersection_over_union(empty, empty) == 1
        assert intersection_over_union(empty, empty + 1) == 0
        assert intersection_over_union(empty + 1, empty) == 0

    def test_tensors_and_lists(self):
        assert intersection_over_union([[True, False]], torch.tensor([[1, 1]])) == 0.5

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"differ in shape: \(2, 3\) and \(3, 2\)"):
            intersection_over_union(np.zeros((2, 3)), np.zeros((3, 2)))


class TestClickCurve:
    def test_the_last_value_is_held(self):
        assert click_curve([0.1, 0.7], 5).tolist() == [0.1, 0.7, 0.7, 0.7, 0.7]
        assert click_curve([0.1, 0.2], 2).tolist() == [0.1, 0.2]
        assert click_curve([1], 1).dtype == torch.float64

    @pytest.mark.parametrize("ious", [[], [0.1, 0.2, 0.3]])
    def test_length(self, ious):
        with pytest.raises(ValueError, match=f"1 to 2 IoUs for an object, got {len(ious)}"):
            click_curve(ious, 2)


class TestNumberOfClicks:
    CURVES = ([0.5, 0.86, 0.91], [0.95], [0.2, 0.3, 0.4, 0.5], [0.1, 0.87, 0.6, 0.9])

    def test_by_hand(self):
        metric = NumberOfClicks(max_clicks=4, mean_iou_at=(1, 3, 4, 10))
        metric(self.CURVES)
        assert metric.aggregate() == pytest.approx(
            {
                "NoC@85": (2 + 1 + 4 + 2) / 4,
                "NoF@85": 1,
                ">=4@85": 1,
                "NoC@90": (3 + 1 + 4 + 4) / 4,
                "NoF@90": 1,
                ">=4@90": 2,
                "mIoU@1": (0.5 + 0.95 + 0.2 + 0.1) / 4,
                "mIoU@3": (0.91 + 0.95 + 0.4 + 0.6) / 4,
                "mIoU@4": (0.91 + 0.95 + 0.5 + 0.9) / 4,
            }
        )

    def test_reaching_the_threshold_exactly_counts(self):
        metric = NumberOfClicks(thresholds=(0.9,), max_clicks=3, mean_iou_at=())
        metric([[0.5, 0.9, 0.95]])
        assert metric.aggregate() == {"NoC@90": 2, "NoF@90": 0, ">=3@90": 0}

    def test_the_first_click_that_reaches_it_counts_even_when_it_is_lost_again(self):
        metric = NumberOfClicks(thresholds=(0.9,), max_clicks=4, mean_iou_at=())
        metric([[0.91, 0.2, 0.92, 0.1]])
        assert metric.aggregate()["NoC@90"] == 1

    def test_batches_add_up_and_reset_forgets(self):
        together, one_by_one = NumberOfClicks(max_clicks=4), NumberOfClicks(max_clicks=4)
        together(self.CURVES)
        for curve in self.CURVES:
            assert one_by_one([curve]).shape == (1, 4)
        assert together.aggregate() == pytest.approx(one_by_one.aggregate())
        together.reset()
        with pytest.raises(ValueError, match="No object was evaluated"):
            together.aggregate()
        together([[1.0]])
        assert together.aggregate()["NoC@90"] == 1

    def test_a_tensor_of_whole_curves(self):
        metric = NumberOfClicks(thresholds=(0.5,), max_clicks=3, mean_iou_at=(2,))
        result = metric(torch.tensor([[0.1, 0.6, 0.7], [0.2, 0.3, 0.4]]))
        assert result.shape == (2, 3)
        assert metric.aggregate() == pytest.approx({"NoC@50": 2.5, "NoF@50": 1, ">=3@50": 1, "mIoU@2": 0.45})

    def test_names_of_fractional_thresholds(self):
        metric = NumberOfClicks(thresholds=(0.29, 0.925, 1), max_clicks=1, mean_iou_at=())
        metric([[0.95]])
        assert {name for name in metric.aggregate() if name.startswith("NoC")} == {"NoC@29", "NoC@92.5", "NoC@100"}

    def test_too_many_clicks(self):
        with pytest.raises(ValueError, match="1 to 2 IoUs"):
            NumberOfClicks(max_clicks=2)([[0.1, 0.2, 0.3]])

    @pytest.mark.parametrize("thresholds", [(0.0,), (85,), (-0.1, 0.9)])
    def test_thresholds(self, thresholds):
        with pytest.raises(ValueError, match=r"thresholds must lie in \(0, 1\]"):
            NumberOfClicks(thresholds)

    @pytest.mark.parametrize("options", [{"max_clicks": 0}, {"mean_iou_at": (0, 1)}, {"mean_iou_at": (-1,)}])
    def test_numbers_of_clicks(self, options):
        with pytest.raises(ValueError, match="max_clicks and mean_iou_at must be at least 1"):
            NumberOfClicks(**options)
