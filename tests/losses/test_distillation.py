"""Distillation: values by hand, pairing of candidates, ignored pixels, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.losses import DistillationLoss
from adaptiveclick_med.networks import AdaptiveClickOutput


def answer(seed: int, queries: int = 3, batch: int = 2, side: int = 8, full: int = 16) -> AdaptiveClickOutput:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, 1, full, full), (batch, queries, side, side), (batch, queries, 2))
    return AdaptiveClickOutput(*(3 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


def binary_kl(teacher: float, student: float) -> float:
    """KL of two Bernoulli distributions, from their logits."""
    p, q = (1 / (1 + math.exp(-logit)) for logit in (teacher, student))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def filled(logits: list[float], clicks: list[float], combined: float = 0.0) -> AdaptiveClickOutput:
    """One sample, candidates of one value each, click logits (0, click)."""
    masks = torch.tensor(logits, dtype=torch.float64).reshape(1, -1, 1, 1).expand(-1, -1, 4, 4).clone()
    scores = torch.tensor([[0.0, click] for click in clicks], dtype=torch.float64)[None]
    return AdaptiveClickOutput(torch.full((1, 1, 8, 8), combined, dtype=torch.float64), masks, scores)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_mask_part_is_the_divergence_of_the_pixels(temperature: float) -> None:
    student = AdaptiveClickOutput(torch.tensor([[[[0.5, -1.0], [3.0, 0.0]]]], dtype=torch.float64))
    teacher = AdaptiveClickOutput(torch.tensor([[[[2.0, -1.0], [-4.0, 1.0]]]], dtype=torch.float64))
    parts = DistillationLoss(temperature, lambda_mask=3.0).components(student, teacher)
    pairs = [(2.0, 0.5), (-1.0, -1.0), (-4.0, 3.0), (1.0, 0.0)]
    expected = temperature**2 * sum(binary_kl(t / temperature, s / temperature) for t, s in pairs) / 4
    assert parts["mask"].item() == pytest.approx(expected, rel=1e-12)
    assert parts["total"].item() == pytest.approx(3 * expected, rel=1e-12)
    assert parts["candidates"].item() == parts["click"].item() == 0.0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_candidates_and_clicks_by_hand(temperature: float) -> None:
    student = filled([3.0, -2.0], [1.0, 0.0])
    teacher = filled([-1.0, 2.0], [-1.0, 2.0])  # its second candidate goes with the student's first
    confident, doubtful = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(1.0))
    t = temperature
    masks = [t * t * binary_kl(2.0 / t, 3.0 / t), t * t * binary_kl(-1.0 / t, -2.0 / t)]
    clicks = [t * t * binary_kl(2.0 / t, 1.0 / t), t * t * binary_kl(-1.0 / t, 0.0)]
    parts = DistillationLoss(t, unclick_weight=0.1).components(student, teacher)
    weights = [confident, doubtful]
    expected = sum(w * kl for w, kl in zip(weights, masks, strict=True)) / sum(weights)
    assert sum(weights) > 1
    assert parts["candidates"].item() == pytest.approx(expected, rel=1e-12)
    weights = [w + 0.1 * (1 - w) for w in weights]
    expected = sum(w * kl for w, kl in zip(weights, clicks, strict=True)) / sum(weights)
    assert parts["click"].item() == pytest.approx(expected, rel=1e-12)
    assert parts["mask"].item() == 0.0


def test_a_teacher_without_a_click_teaches_little() -> None:
    student, teacher = filled([1.0], [0.0]), filled([-1.0], [-3.0])
    weight = 1 / (1 + math.exp(3.0))
    part = DistillationLoss().components(student, teacher)["candidates"]
    assert part.item() == pytest.approx(weight * binary_kl(-1.0, 1.0), rel=1e-12)


def test_the_parts_add_up_by_their_weights() -> None:
    loss = DistillationLoss(1.5, lambda_mask=2.0, lambda_candidates=3.0, lambda_click=0.5)
    parts = loss.components(answer(0), answer(1, queries=4))
    expected = 2 * parts["mask"] + 3 * parts["candidates"] + 0.5 * parts["click"]
    assert parts["total"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert all(float(part) > 0.01 for part in parts.values())
    assert loss(answer(0), answer(1, queries=4)).item() == parts["total"].item()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(temperature: float) -> None:
    teacher = answer(0, queries=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    student = AdaptiveClickOutput(
        teacher.logits.clone().requires_grad_(),
        teacher.mask_logits[:, order].clone().requires_grad_(),
        teacher.click_logits[:, order].clone().requires_grad_(),
    )
    total = DistillationLoss(temperature)(student, teacher)
    assert total.item() == pytest.approx(0.0, abs=1e-12)
    for gradient in torch.autograd.grad(total, student[:3]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-15, rtol=0)


def test_the_order_of_the_teachers_candidates_does_not_matter() -> None:
    student, teacher = answer(0), answer(1, queries=4)
    assert teacher.mask_logits is not None and teacher.click_logits is not None
    order = torch.tensor([2, 0, 3, 1])
    shuffled = teacher._replace(mask_logits=teacher.mask_logits[:, order], click_logits=teacher.click_logits[:, order])
    loss = DistillationLoss()
    before, after = loss.components(student, teacher), loss.components(student, shuffled)
    assert {name: part.item() for name, part in after.items()} == pytest.approx(
        {name: part.item() for name, part in before.items()}, rel=1e-12
    )


def test_a_student_with_fewer_candidates_learns_the_confident_ones() -> None:
    student = filled([4.0], [0.0])
    teacher = filled([4.0, -4.0, 3.5], [-6.0, 0.0, 3.0])
    parts = DistillationLoss().components(student, teacher)
    assert parts["click"].item() == pytest.approx(binary_kl(3.0, 0.0), rel=1e-12)
    more = DistillationLoss().components(filled([4.0, -4.0, 1.0], [0.0] * 3), filled([-4.0], [3.0]))
    assert more["candidates"].item() == pytest.approx(0.0, abs=1e-12)


def test_the_students_own_click_decides_between_equal_masks() -> None:
    student, teacher = filled([2.0, 2.0], [-1.0, 1.0]), filled([2.0, 2.0], [3.0, -3.0])
    matched = DistillationLoss(click_match=0.4).components(student, teacher)["click"].item()
    weights = [w + 0.1 * (1 - w) for w in (1 / (1 + math.exp(-3.0)), 1 / (1 + math.exp(3.0)))]
    kls = [binary_kl(3.0, 1.0), binary_kl(-3.0, -1.0)]
    assert matched == pytest.approx(sum(w * kl for w, kl in zip(weights, kls, strict=True)) / sum(weights), rel=1e-12)


def test_the_teachers_masks_are_resized_to_the_students() -> None:
    student, teacher = answer(0), answer(1, side=4, full=12)
    resized = AdaptiveClickOutput(
        F.interpolate(teacher.logits, (16, 16), mode="bilinear", align_corners=True),
        F.interpolate(teacher.mask_logits, (8, 8), mode="bilinear", align_corners=False),
        teacher.click_logits,
    )
    loss = DistillationLoss()
    assert loss(student, teacher).item() == pytest.approx(loss(student, resized).item(), rel=1e-12)


def test_ignored_pixels_count_nowhere() -> None:
    student, teacher = answer(0), answer(1)
    valid = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    valid[0, :, :8] = False
    student_mask, teacher_mask = student.mask_logits, teacher.mask_logits
    assert student_mask is not None and teacher_mask is not None
    expected = DistillationLoss().components(student, teacher, valid)
    changed = [output._replace(logits=output.logits.clone()) for output in (student, teacher)]
    for number, (output, masks) in enumerate(zip(changed, (student_mask, teacher_mask), strict=True)):
        output.logits[0, :, :8] = 50.0 * (-1) ** number
        changed[number] = output._replace(mask_logits=masks.clone())
        changed[number].mask_logits[0, :, :4] = -50.0 * (-1) ** number
    got = DistillationLoss().components(changed[0], changed[1], valid)
    assert {name: part.item() for name, part in got.items()} == pytest.approx(
        {name: part.item() for name, part in expected.items()}, rel=1e-12
    )
    assert DistillationLoss()(changed[0], changed[1]).item() > 2 * expected["total"].item()

    # Each pixel is worth the same within a sample, whatever their number.
    half, whole = answer(2, batch=1), answer(3, batch=1)
    only = DistillationLoss(lambda_mask=1.0).components(half, whole, valid[:1])["mask"]
    cut = AdaptiveClickOutput(half.logits[:, :, 8:]), AdaptiveClickOutput(whole.logits[:, :, 8:])
    assert only.item() == pytest.approx(DistillationLoss().components(*cut)["mask"].item(), rel=1e-12)


def test_a_sample_of_ignored_pixels_adds_nothing() -> None:
    student, teacher = answer(0), answer(1)
    valid = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    valid[1] = False
    alone = DistillationLoss().components(student.sample(0), teacher.sample(0))
    both = DistillationLoss().components(student, teacher, valid)
    assert {name: part.item() for name, part in both.items()} == pytest.approx(
        {name: part.item() for name, part in alone.items()}, rel=1e-12
    )
    nothing = DistillationLoss().components(student, teacher, torch.zeros_like(valid))
    assert all(part.item() == 0.0 for part in nothing.values())


@pytest.mark.parametrize("missing", ["student", "teacher"])
def test_without_candidates_only_the_mask_takes_part(missing: str) -> None:
    outputs = {"student": answer(0), "teacher": answer(1)}
    whole = DistillationLoss().components(**outputs)
    outputs[missing] = AdaptiveClickOutput(outputs[missing].logits)
    parts = DistillationLoss().components(**outputs)
    assert parts["mask"].item() == whole["mask"].item()
    assert parts["candidates"].item() == parts["click"].item() == 0.0


def test_gradients() -> None:
    teacher = AdaptiveClickOutput(*(tensor.requires_grad_() for tensor in answer(1, side=4, full=6)[:3]))
    valid = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    valid[0, :, :2] = False

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        return DistillationLoss(1.7)(AdaptiveClickOutput(*tensors), teacher, valid)

    tensors = [tensor.requires_grad_() for tensor in answer(0, side=4, full=6)[:3]]
    assert torch.autograd.gradcheck(loss, tensors)
    loss(*tensors).backward()
    assert tensors[0].grad is not None and float(tensors[0].grad[0, :, :2].abs().max()) == 0.0
    assert all(tensor.grad is None for tensor in teacher[:3])


@pytest.mark.parametrize("size", [1e3, 1e-4])
def test_half_precision_and_extreme_logits_stay_finite(size: float) -> None:
    student = AdaptiveClickOutput(*((size * t).half().requires_grad_() for t in answer(0)[:3]))
    teacher = AdaptiveClickOutput(*((size * t).half() for t in answer(1)[:3]))
    total = DistillationLoss()(student, teacher)
    assert total.dtype == torch.float32
    assert bool(total.isfinite())
    total.backward()
    assert all(bool(t.grad.isfinite().all()) for t in student[:3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0 and finite, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0 and finite, got nan"),
        ({"lambda_mask": -1.0}, "lambda_mask must be at least 0, got -1.0"),
        ({"lambda_candidates": -1.0}, "lambda_candidates must be at least 0"),
        ({"lambda_click": math.nan}, "lambda_click must be at least 0, got nan"),
        ({"unclick_weight": -0.1}, "unclick_weight must be at least 0"),
        ({"click_match": -0.1}, "click_match must be at least 0"),
        ({"match_size": 0}, "match_size must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationLoss(**arguments)


def test_wrong_shapes_are_named() -> None:
    student, teacher = answer(0), answer(1)
    loss = DistillationLoss()
    with pytest.raises(ValueError, match=r"teacher.logits must be of shape \[2, 1, H, W\], got \[3, 1, 16, 16\]"):
        loss(student, answer(1, batch=3))
    with pytest.raises(ValueError, match=r"student.logits must be of shape \[2, 1, H, W\], got \[2, 16, 16\]"):
        loss(student._replace(logits=student.logits[:, 0]), teacher)
    with pytest.raises(ValueError, match=r"teacher.mask_logits must be of shape \[2, Q, h, w\], got \[2, 0, 8, 8\]"):
        loss(student, teacher._replace(mask_logits=torch.zeros(2, 0, 8, 8)))
    with pytest.raises(ValueError, match=r"student.click_logits must be of shape \[2, 3, 2\], got \[2, 4, 2\]"):
        loss(student._replace(click_logits=torch.zeros(2, 4, 2)), teacher)
    with pytest.raises(ValueError, match=r"valid must be of shape \[2, 1, H, W\], got \[1, 1, 16, 16\]"):
        loss(student, teacher, torch.ones(1, 1, 16, 16, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"valid must be boolean, got torch\.float32"):
        loss(student, teacher, torch.ones(2, 1, 16, 16))
