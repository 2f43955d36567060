from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from adaptiveclick_med.clicks import Click, points_tensor
from adaptiveclick_med.simulation import (
    click_count_probabilities,
    inner_region,
    next_click_candidates,
    next_training_clicks,
    outer_border,
    sample_initial_clicks,
)


def block(size, rows, columns, value=1, dtype=int):
    array = np.zeros(size, dtype=dtype)
    array[slice(*rows), slice(*columns)] = value
    return array


class TestInitialClicks:
    @pytest.mark.parity
    def test_reference_regions_and_counts(self, golden):
        description, tensors = golden("g3_points_sampler")
        for count in (24, 25):
            expected = tensors[f"generate_probs_{count}_0.80"].numpy()
            np.testing.assert_allclose(click_count_probabilities(count - 1, 0.8), expected, rtol=1e-14)
        for case in description["cases"]:
            mask, border, eroded = (
                tensors[f"{case['id']}/{name}"].numpy().astype(bool) for name in ("mask", "border_mask", "eroded")
            )
            np.testing.assert_array_equal(outer_border(mask), border)
            np.testing.assert_array_equal(inner_region(mask), eroded)

    def test_count_probabilities(self):
        np.testing.assert_allclose(click_count_probabilities(2, 0.5), [4 / 7, 2 / 7, 1 / 7])
        assert click_count_probabilities(0).tolist() == [1.0]
        with pytest.raises(ValueError, match="maximum"):
            click_count_probabilities(-1)
        with pytest.raises(ValueError, match="decay"):
            click_count_probabilities(3, 0.0)

    def test_inner_region(self):
        inner = inner_region(block((30, 30), (5, 20), (8, 24), dtype=bool))
        np.testing.assert_array_equal(inner, block((30, 30), (8, 17), (11, 21), dtype=bool))
        corner = inner_region(block((30, 30), (0, 10), (0, 10), dtype=bool))
        np.testing.assert_array_equal(corner, block((30, 30), (0, 7), (0, 7), dtype=bool))
        small = block((30, 30), (4, 13), (4, 13), dtype=bool)
        np.testing.assert_array_equal(inner_region(small), small)
        assert inner_region(np.ones((5, 5), dtype=bool)).all()

    def test_outer_border(self):
        border = outer_border(block((40, 40), (10, 25), (10, 25), dtype=bool))
        assert border.sum() == 19**2 - 15**2
        assert border[8, 8] and not border[7, 8] and not border[10, 10]
        assert not outer_border(np.zeros((4, 4), dtype=bool)).any()
        assert not outer_border(np.ones((4, 4), dtype=bool)).any()
        assert outer_border(block((5, 5), (2, 3), (2, 3), dtype=bool)).sum() == 8

    def test_clicks_are_on_the_right_side(self):
        target = block((50, 60), (10, 30), (15, 40)).astype(np.float32)
        target[25:35, 10:30] = -1
        R = np.random.RandomState(1)
        seen = []
        for _ in range(200):
            clicks = sample_initial_clicks(target, None, R)
            assert clicks.positive and clicks[0].positive
            assert [click.positive for click in clicks] == sorted((click.positive for click in clicks), reverse=True)
            assert all(target[click.row, click.column] == (1 if click.positive else 0) for click in clicks)
            seen.append((len(clicks.positive), len(clicks.negative)))
        positive, negative = np.array(seen).T
        assert positive.min() == 1 and positive.max() <= 24
        assert negative.min() == 0 and negative.max() <= 24

    def test_distribution_of_counts(self):
        R, target = np.random.RandomState(2), block((20, 20), (5, 15), (5, 15))
        counts = [sample_initial_clicks(target, None, R, max_clicks=4) for _ in range(3000)]
        positive = np.bincount([len(clicks.positive) for clicks in counts], minlength=6) / 3000
        negative = np.bincount([len(clicks.negative) for clicks in counts], minlength=6) / 3000
        np.testing.assert_allclose(positive[1:5], click_count_probabilities(3), atol=0.03)
        np.testing.assert_allclose(negative[:5], click_count_probabilities(4), atol=0.03)
        assert positive[0] == positive[5] == negative[5] == 0

    def test_distribution_of_places(self):
        R = np.random.RandomState(3)
        target = block((100, 100), (0, 40), (0, 40))
        others = block((100, 100), (60, 70), (60, 70), dtype=bool)
        clicks = [click for _ in range(600) for click in sample_initial_clicks(target, others, R)]
        inner = inner_region(target == 1)
        off_inner = np.mean([not inner[click.row, click.column] for click in clicks if click.positive])
        assert off_inner == pytest.approx(0.1 * (1 - inner.sum() / 1600), abs=0.02)
        negative = [click for click in clicks if not click.positive]
        in_others = np.mean([others[click.row, click.column] for click in negative])
        in_border = np.mean([click.row < 44 and click.column < 44 for click in negative])
        assert in_others == pytest.approx(0.4 + 0.1 * 100 / 8400, abs=0.03)
        assert in_border == pytest.approx(0.5 + 0.1 * 336 / 8400, abs=0.03)

    def test_without_others_everything_outside_is_drawn(self):
        R = np.random.RandomState(4)
        target = block((100, 100), (0, 40), (0, 40))
        for others in (None, np.zeros((100, 100), dtype=np.uint8), target > 0):
            clicks = [click for _ in range(300) for click in sample_initial_clicks(target, others, R).negative]
            far = np.mean([click.row >= 44 or click.column >= 44 for click in clicks])
            assert far == pytest.approx(0.5 * (1 - 336 / 8400), abs=0.05)

    def test_single_pixel(self):
        clicks = sample_initial_clicks(block((9, 9), (4, 5), (4, 5)), None, np.random.RandomState(0))
        assert {(click.row, click.column) for click in clicks.positive} == {(4, 4)}

    def test_object_fills_the_image(self):
        for seed in range(5):
            clicks = sample_initial_clicks(np.ones((12, 12)), np.zeros((12, 12)), np.random.RandomState(seed))
            assert clicks.positive and not clicks.negative

    def test_empty_target_gets_negative_clicks_only(self):
        R, others = np.random.RandomState(0), block((12, 12), (3, 5), (3, 5))
        drawn = [sample_initial_clicks(np.zeros((12, 12)), others, R) for _ in range(50)]
        assert not any(clicks.positive for clicks in drawn)
        assert any(clicks.negative for clicks in drawn)
        assert len(sample_initial_clicks(np.full((5, 5), -1), None, R)) == 0

    def test_border_of_ignore_falls_back_to_outside(self):
        target = np.full((20, 20), -1)
        target[8:11, 8:11] = 1
        target[0, 0] = 0
        R = np.random.RandomState(0)
        clicks = [click for _ in range(30) for click in sample_initial_clicks(target, None, R).negative]
        assert {(click.row, click.column) for click in clicks} == {(0, 0)}

    def test_required_region_gets_the_first_negative_click(self):
        target = block((40, 40), (5, 20), (5, 20))
        required = block((40, 40), (15, 25), (15, 25), dtype=bool)
        R = np.random.RandomState(0)
        counts = []
        for _ in range(300):
            negative = sample_initial_clicks(target, None, R, required=required, max_clicks=5).negative
            assert required[negative[0].row, negative[0].column] and not target[negative[0].row, negative[0].column]
            counts.append(len(negative))
        assert min(counts) == 1 and max(counts) == 5
        assert any(not sample_initial_clicks(target, None, R, required=np.zeros((40, 40))).negative for _ in range(30))

    def test_same_seed_same_clicks(self):
        target = block((30, 30), (5, 20), (5, 20))
        first, second = (sample_initial_clicks(target, None, np.random.RandomState(seed)) for seed in (7, 7))
        assert first == second
        assert first != sample_initial_clicks(target, None, np.random.RandomState(8))

    def test_bad_input(self):
        R, target = np.random.RandomState(0), np.zeros((4, 4))
        with pytest.raises(ValueError, match=r"target must be of shape \[H, W\]"):
            sample_initial_clicks(target[None], None, R)
        with pytest.raises(ValueError, match="others must have the shape of target"):
            sample_initial_clicks(target, np.zeros((4, 5)), R)
        with pytest.raises(ValueError, match="required must have the shape of target"):
            sample_initial_clicks(target, None, R, required=np.zeros((4, 5)))
        with pytest.raises(ValueError, match="max_clicks"):
            sample_initial_clicks(target, None, R, max_clicks=0)
        with pytest.raises(ValueError, match="inner_probability"):
            sample_initial_clicks(target, None, R, inner_probability=1.5)
        with pytest.raises(ValueError, match="negative_probabilities"):
            sample_initial_clicks(target, None, R, negative_probabilities=(0.5, 0.4, 0.5))


def no_points(batch: int, places: int = 3) -> Tensor:
    return torch.full((batch, 2 * places, 3), -1.0)


class TestNextTrainingClicks:
    @pytest.mark.parity
    def test_reference_candidates(self, golden):
        description, tensors = golden("g3_next_points")
        differing = []
        for case in description["cases"]:
            prediction, target, inner = (tensors[f"{case['id']}/{name}"] for name in ("pred", "gt", "inner_mask"))
            candidates, positive, any_error = next_click_candidates(prediction, target)
            assert positive.tolist() == case["is_positive"]
            assert any_error.tolist() == [count > 0 for count in case["n_candidates"]]
            same = (candidates == inner.bool()).flatten(1).all(1)
            differing += [name for name, agrees in zip(case["names"], same.tolist(), strict=True) if not agrees]
        assert differing == ["whole_image"]  # its threshold differs in the reference's approximate transform

    @pytest.mark.parity
    def test_reference_places(self, golden):
        description, tensors = golden("g3_next_points")
        for case in description["cases"]:
            prediction, target, points, inner = (
                tensors[f"{case['id']}/{name}"] for name in ("pred", "gt", "points_in", "inner_mask")
            )
            after = next_training_clicks(prediction, target, points, torch.Generator().manual_seed(0))
            changed = (after != points).any(-1)
            assert changed.sum(1).tolist() == [int(count > 0) for count in case["n_candidates"]]
            for sample, place in changed.nonzero().tolist():
                assert (place < case["num_points"]) == case["is_positive"][sample]
                row, column, order = after[sample, place].int().tolist()
                assert order == points[sample, :, 2].max() + 1
                if case["names"][sample] != "whole_image":
                    assert inner[sample, row, column]

    def test_deeper_half_of_the_larger_region(self):
        target = torch.zeros(3, 1, 20, 20)
        target[0, 0, 2:11, 2:11] = 1
        prediction = torch.zeros(3, 1, 20, 20)
        prediction[0, 0, 14:19, 14:19] = 0.9
        prediction[1, 0, 4:9, 5:10] = 0.6
        candidates, positive, any_error = next_click_candidates(prediction, target)
        assert positive.tolist() == [True, False, False]
        assert any_error.tolist() == [True, True, False]
        expected = torch.zeros(3, 20, 20, dtype=torch.bool)
        expected[0, 4:9, 4:9] = True  # deepest 5, so at least 3 deep
        expected[1, 5:8, 6:9] = True  # deepest 3, so at least 2 deep
        assert torch.equal(candidates, expected)

    def test_ties_are_negative(self):
        target = torch.zeros(1, 1, 12, 12)
        target[0, 0, 1:4, 1:4] = 1
        prediction = torch.zeros(1, 1, 12, 12)
        prediction[0, 0, 6:9, 6:9] = 1
        candidates, positive, _ = next_click_candidates(prediction, target)
        assert not positive
        assert candidates.nonzero().tolist() == [[0, 7, 7]]

    def test_threshold(self):
        target = torch.zeros(2, 1, 3, 3)
        target[0] = 1
        for threshold, value, errors in ((0.49, 0.489, [True, False]), (0.49, 0.491, [False, True])):
            assert next_click_candidates(torch.full((2, 1, 3, 3), value), target, threshold)[2].tolist() == errors
        assert next_click_candidates(torch.full((2, 1, 3, 3), 0.49), target)[2].tolist() == [False, False]

    def test_ignore_pixels_count_nowhere(self):
        target = torch.full((2, 1, 9, 9), -1)
        target[0, 0, 4:7, 4:7] = 1
        prediction = torch.zeros(2, 1, 9, 9)
        prediction[1] = 1.0
        candidates, positive, any_error = next_click_candidates(prediction, target)
        assert candidates.nonzero().tolist() == [[0, 5, 5]]
        assert any_error.tolist() == [True, False]
        assert positive.tolist() == [True, False]

    def test_click_takes_the_first_empty_place_of_its_sign(self):
        target = torch.zeros(4, 1, 9, 9)
        target[:2, 0, 3:6, 2:5] = 1
        prediction = torch.zeros(4, 1, 9, 9)
        prediction[2, 0, 0, 8] = 1
        points = points_tensor(
            [[], [Click(1, 1), Click(2, 2, positive=False)], [Click(7, 7), Click(6, 5, positive=False)], [Click(1, 0)]],
            capacity=3,
        )
        before = points.clone()
        after = next_training_clicks(prediction, target, points, torch.Generator().manual_seed(0))
        assert torch.equal(points, before)
        expected = points.clone()
        expected[0, 0] = torch.tensor([4.0, 3.0, 0.0])
        expected[1, 1] = torch.tensor([4.0, 3.0, 2.0])
        expected[2, 4] = torch.tensor([0.0, 8.0, 2.0])
        assert torch.equal(after, expected)

    def test_click_with_one_negative_coordinate_occupies_its_place(self):
        points = no_points(1)
        points[0, 0] = torch.tensor([-2.0, 4.0, 7.0])
        after = next_training_clicks(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), points, None)
        assert after[0, :2].tolist() == [[-2.0, 4.0, 7.0], [0.0, 0.0, 8.0]]

    def test_full_half_stays(self):
        points = points_tensor([[Click(0, 0), Click(0, 1)]] * 2, capacity=2)
        target = torch.ones(2, 1, 3, 3)
        target[1] = 0
        prediction = 1 - target
        after = next_training_clicks(prediction, target, points, torch.Generator().manual_seed(0))
        assert torch.equal(after[0], points[0])
        assert after[1, 2].tolist() == [1.0, 1.0, 2.0]

    def test_uniform_over_candidates(self):
        target = torch.zeros(4000, 1, 6, 8)
        target[:, 0, 1:5, 2:6] = 1
        prediction = torch.zeros_like(target)
        clicks = next_training_clicks(prediction, target, no_points(4000, 1), torch.Generator().manual_seed(0))[:, 0]
        counts = torch.zeros(6, 8)
        counts.index_put_((clicks[:, 0].long(), clicks[:, 1].long()), torch.ones(4000), accumulate=True)
        assert counts[2:4, 3:5].sum() == 4000
        assert torch.allclose(counts[2:4, 3:5] / 4000, torch.tensor(0.25), atol=0.03)

    def test_same_seed_same_clicks(self):
        target = torch.ones(8, 1, 30, 30)
        first, second, other = (
            next_training_clicks(torch.zeros_like(target), target, no_points(8), torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, second)
        assert not torch.equal(first, other)

    def test_rounds_correct_what_is_left(self):
        target = torch.zeros(2, 1, 16, 16, dtype=torch.int64)
        target[:, 0, 2:9, 2:9] = 1
        points, generator = no_points(2), torch.Generator().manual_seed(0)
        prediction = torch.zeros(2, 1, 16, 16)
        points = next_training_clicks(prediction, target, points, generator)
        prediction[0] = target[0]
        prediction[0, 0, 12:15, 12:15] = 0.8
        points = next_training_clicks(prediction, target, points, generator)
        assert points[0, 3].tolist() == [13.0, 13.0, 1.0]
        assert points[1, :2, 2].tolist() == [0.0, 1.0]

    def test_half_precision_meta_tensors_and_gradients(self):
        target = MetaTensor(torch.ones(1, 1, 3, 3))
        prediction = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16, requires_grad=True)
        after = next_training_clicks(prediction, target, MetaTensor(no_points(1)), torch.Generator().manual_seed(0))
        assert type(after) is Tensor
        assert not after.requires_grad
        assert after[0, 0].tolist() == [1.0, 1.0, 0.0]

    def test_nothing_is_read_back_from_the_device(self):
        # tensors of the meta device have no values, so reading one would fail
        prediction, target = torch.zeros(2, 1, 6, 5, device="meta"), torch.zeros(2, 1, 6, 5, device="meta")
        points = no_points(2).to("meta")
        after = next_training_clicks(prediction, target, points, torch.Generator().manual_seed(0))
        assert after.device.type == "meta"
        assert after.shape == points.shape

    def test_bad_input(self):
        prediction = torch.zeros(2, 1, 4, 4)
        with pytest.raises(ValueError, match="prediction must be of shape"):
            next_click_candidates(prediction[0], prediction[0])
        with pytest.raises(ValueError, match="target must have the shape of prediction"):
            next_click_candidates(prediction, prediction[:1])
        with pytest.raises(ValueError, match=r"points must be of shape \[2, 2N, 3\], got \[1, 6, 3\]"):
            next_training_clicks(prediction, prediction, no_points(1), None)
        with pytest.raises(ValueError, match="floating dtype"):
            next_training_clicks(prediction, prediction, no_points(2).long(), None)
