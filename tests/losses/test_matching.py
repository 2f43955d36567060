from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptiveclick_med.losses import AdaptiveFocalLoss, DiceLoss, match_candidates
from adaptiveclick_med.losses.matching import assign, downsample_target, matching_cost


def candidates(*masks: list[int], confidence: float = 9.0) -> Tensor:
    """Mask logits [1, Q, 1, w] of sure candidates."""
    return confidence * (2.0 * torch.tensor([masks], dtype=torch.float32)[:, :, None] - 1)


def random_case(batch: int, queries: int, targets: int, size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = 2 * torch.randn(batch, queries, size, size, generator=generator)
    clicks = torch.randn(batch, queries, 2, generator=generator)
    return masks, clicks, torch.rand(batch, targets, size, size, generator=generator).round()


class TestDownsampleTarget:
    def test_half_of_the_area_is_foreground(self) -> None:
        target = torch.tensor([[[[1, 1, 1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]]]])
        small, valid = downsample_target(target, (1, 4))
        assert small.tolist() == [[[[True, False, False, True]]]]
        assert valid.all()

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float16, torch.float64])
    def test_any_type(self, dtype: torch.dtype) -> None:
        target = torch.zeros(1, 1, 8, 12).to(dtype)
        target[..., :4, 4:] = 1
        small, _ = downsample_target(target, (2, 3))
        assert small.tolist() == [[[[False, True, True], [False, False, False]]]]

    def test_height_and_width_keep_their_order(self) -> None:
        target = torch.zeros(1, 1, 8, 16)
        target[..., 4:, :] = 1
        small, _ = downsample_target(target, (2, 4))
        assert small.tolist() == [[[[False] * 4, [True] * 4]]]

    def test_ignored_pixels_count_nowhere(self) -> None:
        # Four pixels each: of the valid ones 1/2, 0/2, 1/1, 1/3 and none are foreground.
        target = torch.tensor([[[[1, 0, 0, 0, 1, -1, 1, 0, -1, -1], [-1, -1, -1, -1, -1, -1, 0, -1, -1, -1]]]])
        small, valid = downsample_target(target, (1, 5))
        assert valid.tolist() == [[[[True, True, False, True, False]]]]
        assert small.tolist() == [[[[True, False, False, False, False]]]]

    def test_no_ignore_value(self) -> None:
        small, valid = downsample_target(torch.tensor([[[[1, 1, -1, 1]]]]), (1, 2), ignore_value=None)
        assert small.tolist() == [[[[True, False]]]]
        assert valid.all()

    def test_at_the_same_size(self) -> None:
        small, valid = downsample_target(torch.tensor([[[[0.0, 0.4, 0.5, 1.0, -1.0]]]]), (1, 5))
        assert small.tolist() == [[[[False, False, True, True, False]]]]
        assert valid.tolist() == [[[[True, True, True, True, False]]]]

    def test_a_size_that_does_not_divide(self) -> None:
        target = torch.zeros(1, 1, 450, 450)
        target[..., :225, :] = 1
        small, _ = downsample_target(target, (113, 113))
        assert small[..., :56, :].all()
        assert not small[..., 57:, :].any()


class TestMatchCandidates:
    def test_the_best_mask_wins(self) -> None:
        masks = candidates([0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1])
        target = torch.tensor([[[[1, 1, 0, 0]]]])
        assert match_candidates(masks, torch.zeros(1, 5, 2), target).tolist() == [[2]]

    def test_the_click_decides_between_equal_masks(self) -> None:
        masks = candidates([1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1])
        clicks = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 5.0]]])
        assert match_candidates(masks, clicks, torch.tensor([[[[1, 1, 0, 0]]]])).tolist() == [[1]]
        assert match_candidates(
            masks, clicks, torch.tensor([[[[1, 1, 0, 0]]]]), lambda_afl=0.0, lambda_dice=0.0
        ).tolist() == [[2]]

    def test_samples_are_matched_apart(self) -> None:
        masks = candidates([1, 1, 0, 0], [0, 0, 1, 1]).repeat(3, 1, 1, 1)
        target = torch.tensor([[[[0, 0, 1, 1]]], [[[1, 1, 0, 0]]], [[[0, 0, 0, 0]]]])
        assert match_candidates(masks, torch.zeros(3, 2, 2), target).tolist() == [[1], [0], [-1]]

    def test_ignored_pixels_do_not_decide(self) -> None:
        masks = candidates([1, 1, 1, 0], [1, 0, 0, 0])
        target = torch.tensor([[[[1, 0, -1, 0]]]])
        assert match_candidates(masks, torch.zeros(1, 2, 2), target).tolist() == [[1]]
        target = torch.tensor([[[[1, 1, -1, 0]]]])
        assert match_candidates(masks, torch.zeros(1, 2, 2), target).tolist() == [[0]]

    def test_targets_take_different_candidates(self) -> None:
        # Both targets like the first candidate best; the second target has the closer second choice.
        masks = candidates([1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1])
        target = torch.tensor([[[[1, 1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0, 0]]]])
        assert match_candidates(masks, torch.zeros(1, 3, 2), target).tolist() == [[0, 1]]
        assert match_candidates(masks, torch.zeros(1, 3, 2), target.flip(1)).tolist() == [[1, 0]]

    def test_empty_targets_among_several_are_dropped(self) -> None:
        masks = candidates([1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0])
        target = torch.tensor([[[[0, 0, 0, 0]], [[0, 0, 1, 1]], [[-1, -1, -1, -1]]], [[[0, 0, 0, 0]]] * 3])
        clicks = torch.zeros(2, 3, 2)
        assert match_candidates(masks.repeat(2, 1, 1, 1), clicks, target).tolist() == [[-1, 1, -1], [-1, -1, -1]]

    def test_more_targets_than_candidates(self) -> None:
        masks = candidates([0, 0, 1, 1])
        target = torch.tensor([[[[1, 1, 0, 0]], [[0, 0, 1, 1]]]])
        assert match_candidates(masks, torch.zeros(1, 1, 2), target).tolist() == [[-1, 0]]

    @pytest.mark.parametrize("seed", range(3))
    def test_the_total_cost_is_least(self, seed: int) -> None:
        masks, clicks, target = random_case(2, 4, 3, seed=seed)
        cost = matching_cost(
            masks, clicks, target.bool(), target >= 0, AdaptiveFocalLoss(), lambda_afl=5, lambda_dice=5, lambda_click=2
        )
        for sample, matched in enumerate(match_candidates(masks, clicks, target).tolist()):
            least = min(permutations(range(4), 3), key=lambda q: sum(cost[sample, q[t], t].item() for t in range(3)))
            assert tuple(matched) == least

    def test_one_target_gives_what_several_would(self) -> None:
        masks, clicks, target = random_case(4, 6, 1)
        empty = torch.zeros_like(target)
        several = match_candidates(masks, clicks, torch.cat([target, empty], 1))
        assert several[:, :1].tolist() == match_candidates(masks, clicks, target).tolist()
        assert several[:, 1].tolist() == [-1] * 4

    def test_the_cost_is_that_of_eq_7(self) -> None:
        masks, clicks, target = random_case(2, 3, 2)
        valid = torch.ones_like(target, dtype=torch.bool)
        cost = matching_cost(masks, clicks, target.bool(), valid, AdaptiveFocalLoss(), 3.0, 4.0, 0.5)
        assert cost.shape == (2, 3, 2)
        mask, truth = masks[1:, 2:], target[1:, :1]
        expected = 3 * AdaptiveFocalLoss()(mask, truth) + 4 * DiceLoss()(mask, truth) - 0.5 * clicks[1, 2].softmax(0)[1]
        torch.testing.assert_close(cost[1, 2, 0], expected)

    def test_another_mask_loss(self) -> None:
        masks = candidates([1, 1, 0, 0], [0, 0, 1, 1])
        target = torch.tensor([[[[0, 0, 1, 1]]]])
        kwargs: dict[str, Any] = {"lambda_dice": 1.0, "mask_loss": DiceLoss(reduction="sum", ignore_value=1)}
        assert match_candidates(masks, torch.zeros(1, 2, 2), target, **kwargs).tolist() == [[1]]

    def test_numbers_gone_wrong_do_not_stop_it(self) -> None:
        masks, clicks, target = random_case(1, 3, 2)
        matched = match_candidates(masks * torch.nan, clicks, target)
        assert sorted(set(matched[0].tolist()) - {-1}) == sorted(matched[0].tolist())

    @pytest.mark.parametrize(
        ("masks", "clicks", "target", "message"),
        [
            ((2, 3, 4), (2, 3, 2), (2, 1, 4, 4), "mask_logits must be"),
            ((2, 0, 4, 4), (2, 0, 2), (2, 1, 4, 4), "mask_logits must be"),
            ((2, 3, 4, 4), (2, 4, 2), (2, 1, 4, 4), "click_logits must be"),
            ((2, 3, 4, 4), (2, 3), (2, 1, 4, 4), "click_logits must be"),
            ((2, 3, 4, 4), (2, 3, 2), (2, 4, 4), "target must be"),
            ((2, 3, 4, 4), (2, 3, 2), (1, 1, 4, 4), "target must be"),
            ((2, 3, 4, 4), (2, 3, 2), (2, 0, 4, 4), "target must be"),
        ],
    )
    def test_ill_shapes(self, masks: tuple, clicks: tuple, target: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            match_candidates(torch.zeros(masks), torch.zeros(clicks), torch.zeros(target))


def test_assign_gives_no_candidate_to_absent_targets() -> None:
    cost = torch.tensor([[[3.0], [1.0]], [[0.0], [2.0]]])
    assert assign(cost, torch.tensor([[True], [False]])).tolist() == [[1], [-1]]


@pytest.mark.parity
def test_parity_of_the_parts_of_the_matcher_that_agree(golden: Any) -> None:
    description, tensors = golden("g2_matcher")
    compared = 0
    for case in description["cases"]:
        if not case["M"]:
            continue
        masks, clicks, target = (
            tensors[f"{case['id']}/{name}"][None] for name in ("mask_logits", "class_logits", "targets")
        )
        valid = torch.ones_like(target, dtype=torch.bool)
        parts = {
            "dice": matching_cost(masks, clicks, target.bool(), valid, AdaptiveFocalLoss(), 0.0, 1.0, 0.0),
            "click": matching_cost(masks, clicks, target.bool(), valid, AdaptiveFocalLoss(), 0.0, 0.0, 1.0),
        }
        expected = tensors[f"{case['id']}/batch_dice_loss"]
        torch.testing.assert_close(parts["dice"][0], expected, rtol=1e-4, atol=1e-5)
        # The reference's own total, with the reference's focal part taken away, leaves ours.
        labels = torch.tensor(case["labels"])
        rest = tensors[f"{case['id']}/cost"] - 5 * tensors[f"{case['id']}/batch_sigmoid_adaptive_focal_loss"]
        ours = (2 * parts["click"] + 5 * parts["dice"])[0]
        torch.testing.assert_close(ours[:, labels == 1], rest[:, labels == 1], rtol=1e-4, atol=1e-4)
        # Its choice, made by its cost.
        matched = assign(tensors[f"{case['id']}/cost"][None], torch.ones(1, case["M"], dtype=torch.bool))
        assert matched[0, case["tgt"]].tolist() == case["src"]
        compared += 1
    assert compared == 5
