from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from adaptiveclick_med.losses import LOSSES, AdaptiveFocalLoss, DiceLoss, MaskAdaptiveLoss, get_loss, mask_adaptive
from adaptiveclick_med.networks.output import AdaptiveClickOutput


def make_output(masks: Tensor, clicks: Tensor) -> AdaptiveClickOutput:
    """An output with the prediction points [P, B, Q, ...], the last one last."""
    auxiliary = tuple(zip(masks[:-1], clicks[:-1], strict=True))
    return AdaptiveClickOutput(masks.new_zeros(masks.shape[1], 1, 8, 8), masks[-1], clicks[-1], auxiliary)


def random_case(
    points: int = 3, batch: int = 2, queries: int = 4, size: int = 4, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask logits, click logits, and a target four times as large."""
    generator = torch.Generator().manual_seed(seed)
    masks = 2 * torch.randn(points, batch, queries, size, size, generator=generator)
    clicks = torch.randn(points, batch, queries, 2, generator=generator)
    coarse = torch.rand(batch, 1, size, size, generator=generator).round()
    return masks, clicks, coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


def cross_entropy(clicks: list[tuple[float, float]], matched: set[int], unclick_weight: float = 0.1) -> float:
    total, weights = 0.0, 0.0
    for index, (unclick, click) in enumerate(clicks):
        chosen, weight = (click, 1.0) if index in matched else (unclick, unclick_weight)
        total += weight * (math.log(math.exp(unclick) + math.exp(click)) - chosen)
        weights += weight
    return total / weights


def test_value_by_hand() -> None:
    masks = 9.0 * torch.tensor([[[[[-1.0, -1.0]], [[1.0, -1.0]], [[1.0, 1.0]]]]])
    clicks = torch.tensor([[[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]]])
    target = torch.tensor([[[[1, 1, 0, 0], [1, 0, 0, 1]]]])
    parts = MaskAdaptiveLoss().components(make_output(masks, clicks), target)
    p = 1 / (1 + math.exp(-9))
    dice = 1 - (2 * p + 1) / (p + (1 - p) + 1 + 1)
    error = 1 - p
    afl = 0.5 * (-math.log(p) / (1 + 0.4 * (2 + error)) + error ** (3 + error))
    click = cross_entropy([(0.0, 0.0), (1.0, 0.0), (0.0, 2.0)], {1})
    assert parts["dice"].item() == pytest.approx(dice, rel=1e-3)
    assert parts["afl"].item() == pytest.approx(afl, rel=1e-3)
    assert parts["click"].item() == pytest.approx(click, rel=1e-6)
    assert parts["total"].item() == pytest.approx(5 * afl + 5 * dice + 2 * click, rel=1e-6)


def test_total_is_the_weighted_sum_of_the_parts() -> None:
    masks, clicks, target = random_case()
    loss = MaskAdaptiveLoss(lambda_mask=0.5, lambda_afl=3.0, lambda_dice=7.0, lambda_click=11.0)
    output = make_output(masks, clicks)
    parts = {name: part.item() for name, part in loss.components(output, target).items()}
    assert parts["total"] == pytest.approx(0.5 * (3 * parts["afl"] + 7 * parts["dice"]) + 11 * parts["click"])
    assert loss(output, target).item() == parts["total"]


def test_the_combined_mask_by_hand() -> None:
    masks = 6.0 * torch.tensor([[[[[-1.0, -1.0]], [[1.0, -1.0]]]]])
    clicks = torch.tensor([[[[0.0, -2.0], [0.0, 1.0]]]])
    target = torch.tensor([[[[1, 1, 0, 0], [1, 1, 0, 0]]]])
    low, high = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))
    logits = torch.tensor([[[[6 * (high - low), -6 * (high + low)]]]])
    truth = torch.tensor([[[[True, False]]]])
    afl = AdaptiveFocalLoss().per_mask(logits, truth, torch.ones_like(truth)).item()
    dice = DiceLoss().per_mask(logits, truth, torch.ones_like(truth)).item()
    output = make_output(masks, clicks)
    plain = MaskAdaptiveLoss().components(output, target)
    parts = MaskAdaptiveLoss(lambda_combined=2.0, lambda_afl=3.0, lambda_dice=4.0).components(output, target)
    assert sorted(parts) == ["afl", "click", "combined", "dice", "total"]
    assert parts["combined"].item() == pytest.approx(3 * afl + 4 * dice, rel=1e-5)
    assert parts["total"].item() == pytest.approx(
        3 * parts["afl"].item() + 4 * parts["dice"].item() + 2 * parts["click"].item() + 2 * parts["combined"].item()
    )
    assert parts["click"].item() == plain["click"].item()


def test_the_combined_mask_teaches_all_candidates() -> None:
    masks, clicks, target = random_case(points=1)
    masks.requires_grad_()
    MaskAdaptiveLoss(lambda_combined=1.0)(make_output(masks, clicks), target).backward()
    assert (masks.grad.abs().sum((-1, -2)) > 0).all()


def test_the_combined_mask_of_empty_and_ignored_targets_adds_nothing() -> None:
    masks, clicks, target = random_case(points=1)
    loss = MaskAdaptiveLoss(lambda_combined=1.0)
    alone = loss.components(make_output(masks[:, :1], clicks[:, :1]), target[:1])["combined"].item()
    for nothing in (0.0, -1.0):
        second = torch.cat([target[:1], torch.full_like(target[:1], nothing)])
        parts = loss.components(make_output(masks, clicks), second)
        assert parts["combined"].item() == pytest.approx(alone)
        empty = loss.components(make_output(masks, clicks), torch.full_like(target, nothing))
        assert empty["combined"].item() == 0.0


def test_every_prediction_point_is_matched_anew_and_summed() -> None:
    masks, clicks, target = random_case(points=4)
    loss = MaskAdaptiveLoss()
    alone = [loss(make_output(masks[p : p + 1], clicks[p : p + 1]), target).item() for p in range(4)]
    assert loss(make_output(masks, clicks), target).item() == pytest.approx(sum(alone), rel=1e-6)
    last = MaskAdaptiveLoss(deep_supervision=False)(make_output(masks, clicks), target).item()
    assert last == pytest.approx(alone[-1], rel=1e-6)


def test_several_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, clicks, target = random_case(points=5)
    expected = MaskAdaptiveLoss()(make_output(masks, clicks), target)
    monkeypatch.setattr(mask_adaptive, "_BLOCK_ELEMENTS", 2 * masks[0].numel())
    torch.testing.assert_close(MaskAdaptiveLoss()(make_output(masks, clicks), target), expected)


def test_mask_losses_are_means_over_the_pairs_of_the_batch() -> None:
    masks, clicks, target = random_case(points=1, batch=3)
    loss = MaskAdaptiveLoss()
    whole = loss.components(make_output(masks, clicks), target)
    alone = [
        loss.components(make_output(masks[:, b : b + 1], clicks[:, b : b + 1]), target[b : b + 1]) for b in (0, 1, 2)
    ]
    for name in ("afl", "dice"):
        assert whole[name].item() == pytest.approx(sum(part[name].item() for part in alone) / 3, rel=1e-6)
    # An empty target makes no pair, and changes no mean.
    target[1] = 0
    empty = loss.components(make_output(masks, clicks), target)
    for name in ("afl", "dice"):
        assert empty[name].item() == pytest.approx((alone[0][name] + alone[2][name]).item() / 2, rel=1e-6)


def test_gradient_reaches_matched_masks_alone_and_all_clicks() -> None:
    masks, clicks, target = random_case(points=2, batch=2)
    masks.requires_grad_(), clicks.requires_grad_()
    loss = MaskAdaptiveLoss()
    loss(make_output(masks, clicks), target).backward()
    assert ((masks.grad != 0).flatten(3).any(3).sum(2) == 1).all()
    assert (clicks.grad != 0).all()


def test_gradcheck() -> None:
    masks, clicks, target = random_case(points=2, queries=2, size=2)
    loss = MaskAdaptiveLoss(mask_loss=get_loss("pl"))
    inputs = (masks.double().requires_grad_(), clicks.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda m, c: loss(make_output(m, c), target), inputs, fast_mode=True)


def test_empty_targets_make_every_candidate_unclick() -> None:
    masks, clicks, target = random_case(points=2, batch=1)
    masks.requires_grad_(), clicks.requires_grad_()
    parts = MaskAdaptiveLoss().components(make_output(masks, clicks), target * 0)
    assert parts["afl"].item() == parts["dice"].item() == 0
    expected = sum(-clicks[p, 0].log_softmax(-1)[:, 0].mean() for p in range(2))
    assert parts["click"].item() == pytest.approx(expected.item(), rel=1e-6)
    parts["total"].backward()
    assert (masks.grad == 0).all()
    assert (clicks.grad[..., 0] < 0).all()


def test_a_target_that_vanishes_at_the_size_of_the_candidates_is_empty() -> None:
    masks, clicks, target = random_case(points=1, batch=1)
    target.zero_()[..., 0, 0] = 1
    parts = MaskAdaptiveLoss().components(make_output(masks, clicks), target)
    assert parts["dice"].item() == 0


def test_ignored_pixels_count_nowhere() -> None:
    masks, clicks, target = random_case(points=2, size=6)
    target[..., 12:] = -1
    target[..., 12:, :] = -1
    expected = MaskAdaptiveLoss()(make_output(masks[..., :3, :3], clicks), target[..., :12, :12])
    torch.testing.assert_close(MaskAdaptiveLoss()(make_output(masks, clicks), target), expected)
    target[target == -1] = 7
    torch.testing.assert_close(MaskAdaptiveLoss(ignore_value=7)(make_output(masks, clicks), target), expected)


def test_a_sample_of_ignored_pixels_adds_nothing() -> None:
    masks, clicks, target = random_case(points=2, batch=2)
    expected = MaskAdaptiveLoss()(make_output(masks[:, :1], clicks[:, :1]), target[:1])
    target[1] = -1
    clicks.requires_grad_()
    value = MaskAdaptiveLoss()(make_output(masks, clicks), target)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert (clicks.grad[:, 1] == 0).all()
    nothing = MaskAdaptiveLoss()(make_output(masks, clicks), target * 0 - 1)
    assert nothing.item() == 0


def test_unclick_weight() -> None:
    masks, clicks, target = random_case(points=1, batch=1)
    matched = MaskAdaptiveLoss()._match([(masks[0], clicks[0])], target[..., ::4, ::4] > 0, target[..., ::4, ::4] >= 0)
    pairs = [tuple(row) for row in clicks[0, 0].tolist()]
    for weight in (0.1, 0.0, 1.0):
        part = MaskAdaptiveLoss(unclick_weight=weight).components(make_output(masks, clicks), target)["click"]
        assert part.item() == pytest.approx(cross_entropy(pairs, {matched.item()}, weight), rel=1e-5)
    empty = MaskAdaptiveLoss(unclick_weight=0.0).components(make_output(masks, clicks), target * 0)
    assert empty["click"].item() == 0


def test_several_targets() -> None:
    masks, clicks, target = random_case(points=1, batch=2)
    other = 1 - target
    other[1] = 0
    parts = MaskAdaptiveLoss().components(make_output(masks, clicks), torch.cat([target, other], 1))
    small = torch.cat([target, other], 1)[..., ::4, ::4] > 0
    matched = MaskAdaptiveLoss()._match([(masks[0], clicks[0])], small, torch.ones_like(small))
    assert matched[1, 1].item() == -1
    assert matched[0, 0].item() != matched[0, 1].item()
    pairs = [(b, t) for b in range(2) for t in range(2) if matched[b, t] >= 0]
    for name, loss in (("afl", AdaptiveFocalLoss()), ("dice", DiceLoss())):
        expected = [loss(masks[0, b, matched[b, t]][None, None], small[b, t][None, None]).item() for b, t in pairs]
        assert parts[name].item() == pytest.approx(sum(expected) / 3, rel=1e-6)


def test_padding_targets_change_nothing() -> None:
    masks, clicks, target = random_case(points=3, batch=2)
    padded = torch.cat([target, torch.full_like(target, -1), target * 0], 1)
    expected = MaskAdaptiveLoss()(make_output(masks, clicks), target)
    torch.testing.assert_close(MaskAdaptiveLoss()(make_output(masks, clicks), padded), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_any_mask_loss(name: str) -> None:
    masks, clicks, target = random_case(points=1, batch=1)
    masks.requires_grad_()
    loss = MaskAdaptiveLoss(mask_loss=get_loss(name, reduction="sum", ignore_value=0))
    parts = loss.components(make_output(masks, clicks), target)
    parts["afl"].backward()
    matched = (masks.grad[0, 0] != 0).flatten(1).any(1).nonzero().item()
    expected = get_loss(name)(masks[0, :, matched : matched + 1], target[..., ::4, ::4])
    assert parts["afl"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_types_of_target_and_half_precision(dtype: torch.dtype) -> None:
    masks, clicks, target = random_case()
    expected = MaskAdaptiveLoss()(make_output(masks.half().float(), clicks.half().float()), target)
    value = MaskAdaptiveLoss()(make_output(masks.half(), clicks.half()), target.to(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(MaskAdaptiveLoss()(make_output(masks.half(), clicks.half()), target), expected)


def test_meta_tensors_are_welcome() -> None:
    masks, clicks, target = random_case()
    value = MaskAdaptiveLoss()(make_output(masks, clicks), MetaTensor(target))
    torch.testing.assert_close(value, MaskAdaptiveLoss()(make_output(masks, clicks), target))


def test_finite_at_saturated_logits() -> None:
    masks, clicks, target = random_case()
    masks, clicks = (1e4 * masks.sign()).requires_grad_(), (1e4 * clicks.sign()).requires_grad_()
    value = MaskAdaptiveLoss()(make_output(masks, clicks), target)
    value.backward()
    assert value.isfinite() and masks.grad.isfinite().all() and clicks.grad.isfinite().all()


def test_one_target_never_waits_for_the_device() -> None:
    # A meta tensor has no values to read: anything that asks for one raises.
    masks = torch.empty(10, 2, 10, 6, 8, device="meta", requires_grad=True)
    clicks = torch.empty(10, 2, 10, 2, device="meta", requires_grad=True)
    MaskAdaptiveLoss()(make_output(masks, clicks), torch.empty(2, 1, 24, 32, device="meta")).backward()


def test_sizes_that_do_not_divide() -> None:
    value = MaskAdaptiveLoss()(make_output(*random_case(size=5)[:2]), torch.ones(2, 1, 19, 23))
    assert value.isfinite()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"lambda_afl": -1.0}, ValueError, "lambda_afl must be at least 0"),
        ({"unclick_weight": -0.1}, ValueError, "unclick_weight must be at least 0"),
        ({"mask_loss": torch.nn.BCEWithLogitsLoss()}, TypeError, "mask_loss must be a MaskLoss.*BCEWithLogitsLoss"),
    ],
)
def test_ill_arguments(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MaskAdaptiveLoss(**kwargs)


def test_ill_input() -> None:
    masks, clicks, target = random_case()
    loss = MaskAdaptiveLoss()
    with pytest.raises(ValueError, match="output must have mask_logits and click_logits"):
        loss(AdaptiveClickOutput(torch.zeros(2, 1, 16, 16)), target)
    with pytest.raises(ValueError, match="target must be of shape"):
        loss(make_output(masks, clicks), target[:, 0])
    with pytest.raises(ValueError, match="target must be of shape"):
        loss(make_output(masks, clicks), target[:1])
    with pytest.raises(ValueError, match="click_logits must be of shape"):
        loss(make_output(masks, clicks[:, :, :3]), target)
    broken = make_output(masks, clicks)._replace(auxiliary=((masks[0, :, :, :2], clicks[0]),))
    with pytest.raises(ValueError, match="auxiliary"):
        loss(broken, target)


def reference_output(case: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mask and click logits with the last prediction point last, as there, and the target."""
    masks, clicks = tensors[f"{case['id']}/mask_logits"], tensors[f"{case['id']}/class_logits"]
    return masks.requires_grad_(), clicks.requires_grad_(), tensors[f"{case['id']}/gt"][:, None]


@pytest.mark.parity
def test_parity_of_the_criterion_where_its_matching_agrees(golden: Any) -> None:
    # One object and one empty target: the reference matches as we do. Its click weights are 0.1 for "click" and 1 for
    # "unclick", which is 10 for "unclick", and it mixes the weighted parts 0.3, 0.3 and 0.4.
    description, tensors = golden("g2_set_criterion")
    (case,) = (case for case in description["cases"] if case["name"] == "one_empty")
    masks, clicks, target = reference_output(case, tensors)
    parts = MaskAdaptiveLoss(unclick_weight=10.0).components(make_output(masks, clicks), target)
    for part, name in (("click", "loss_ce"), ("afl", "loss_mask"), ("dice", "loss_dice")):
        expected = sum(value for key, value in case["losses"].items() if key.startswith(name))
        assert parts[part].item() == pytest.approx(expected, rel=1e-5), part
    total = 0.3 * 2 * parts["click"] + 0.3 * 5 * parts["dice"] + 0.4 * 5 * parts["afl"]
    torch.testing.assert_close(total[None], tensors[f"{case['id']}/total"], rtol=1e-5, atol=1e-6)
    mask_gradient, click_gradient = torch.autograd.grad(total, (masks, clicks))
    for ours, name in (
        (mask_gradient[-1], "grad_mask_logits_last"),
        (mask_gradient[0], "grad_mask_logits_aux0"),
        (click_gradient, "grad_class_logits"),
    ):
        torch.testing.assert_close(ours, tensors[f"{case['id']}/{name}"], rtol=1e-4, atol=1e-6)


@pytest.mark.parity
def test_parity_of_the_losses_of_pairs_that_the_reference_chose(golden: Any) -> None:
    description, tensors = golden("g2_set_criterion")
    (case,) = (case for case in description["cases"] if case["name"] == "binary_b2")
    masks, _, target = reference_output(case, tensors)
    for point, indices in enumerate(case["indices"]["values"]):
        # There the last prediction point comes first, and its losses have no number.
        layer, suffix = (9, "") if point == 0 else (point - 1, f"_{point - 1}")
        chosen = torch.stack([masks[layer, b, indices[b][0][0]] for b in range(2)])[:, None]
        for name, loss in (("loss_mask", AdaptiveFocalLoss()), ("loss_dice", DiceLoss())):
            assert loss(chosen, target).item() == pytest.approx(case["losses"][name + suffix], rel=1e-5)


def test_any_object_with_the_fields_will_do() -> None:
    masks, clicks, target = random_case(points=1)
    output: Any = SimpleNamespace(mask_logits=masks[0], click_logits=clicks[0], auxiliary=())
    assert MaskAdaptiveLoss()(output, target).item() == MaskAdaptiveLoss()(make_output(masks, clicks), target).item()
