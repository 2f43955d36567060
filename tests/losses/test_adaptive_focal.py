from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor

from adaptiveclick_med.losses import AdaptiveFocalLoss


def random_case(*shape: int, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
    target = torch.rand(*shape, generator=generator, dtype=torch.float64).round()
    return logits, target


def plain_formula(
    logits: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    delta: float = 0.4,
    alpha: float = 1.0,
    adaptive_difficulty: bool = True,
    adaptive_gradient: bool = True,
    class_balance: float | None = 0.5,
) -> Tensor:
    """The loss of one mask, as the equations stand, in probabilities."""
    z, y = logits.flatten(), target.flatten()
    p = z.sigmoid()
    error = 1 - (y * p + (1 - y) * (1 - p))
    if adaptive_difficulty:
        foreground = error[y > 0.5].detach()
        gamma = gamma + (foreground.mean().item() if foreground.numel() else 1.0)
    scale = 1.0
    if adaptive_gradient:
        scale = (z.numel() / (error**gamma * (1 + delta * gamma)).sum()).item()
    loss = -scale * error**gamma * (y * p.log() + (1 - y) * (1 - p).log()) + alpha * error ** (gamma + 1)
    if class_balance is not None:
        loss = loss * (class_balance * y + (1 - class_balance) * (1 - y))
    return loss.mean()


VARIANTS: list[dict[str, Any]] = [
    {},
    {"gamma": 0.0},
    {"gamma": 0.5, "delta": 1.0, "alpha": 0.3},
    {"gamma": 3.0, "alpha": 0.0, "class_balance": 0.75},
    {"class_balance": None},
    {"adaptive_difficulty": False},
    {"adaptive_gradient": False},
    {"adaptive_difficulty": False, "adaptive_gradient": False, "gamma": 1.5},
]


def test_value_by_hand() -> None:
    # p_t: 3/4 and 1/4 in the foreground, 1/2 in the background, so gamma_a = 1/2 and gamma_d = 5/2.
    logits = torch.tensor([[[math.log(3), -math.log(3), 0.0]]], dtype=torch.float64)
    target = torch.tensor([[[1, 1, 0]]])
    powers = [0.25**2.5, 0.75**2.5, 0.5**2.5]
    mu = 3 / (sum(powers) * (1 + 0.4 * 2.5))
    logs = [-math.log(0.75), -math.log(0.25), -math.log(0.5)]
    errors = [0.25, 0.75, 0.5]
    expected = sum(0.5 * (mu * w * e + q * w) for w, e, q in zip(powers, logs, errors, strict=True)) / 3
    assert AdaptiveFocalLoss()(logits, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["hard", "soft", "empty", "full"])
def test_value_and_gradient_are_those_of_the_equations(variant: dict[str, Any], kind: str) -> None:
    logits, target = random_case(1, 1, 5, 6)
    if kind == "soft":
        target = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    elif kind != "hard":
        target = torch.full_like(target, float(kind == "full"))
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = AdaptiveFocalLoss(**variant)(ours, target), plain_formula(theirs, target, **variant)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    # The formula holds gamma_d and mu as plain numbers: neither carries a gradient.
    torch.testing.assert_close(
        torch.autograd.grad(value, ours), torch.autograd.grad(expected, theirs), rtol=1e-8, atol=1e-12
    )


def test_each_sample_and_channel_is_a_mask_of_its_own() -> None:
    logits, target = random_case(2, 3, 4, 5)
    values = AdaptiveFocalLoss(reduction="none")(logits, target)
    expected = [[plain_formula(logits[b, c], target[b, c]) for c in range(3)] for b in range(2)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(AdaptiveFocalLoss()(logits, target), values.mean())
    torch.testing.assert_close(AdaptiveFocalLoss(reduction="sum")(logits, target), values.sum())


@pytest.mark.parametrize("shape", [(2, 1, 30), (2, 1, 5, 6), (2, 1, 2, 3, 5), (2, 1, 1, 2, 3, 5)])
def test_any_number_of_spatial_dimensions(shape: tuple[int, ...]) -> None:
    logits, target = random_case(2, 1, 30)
    expected = AdaptiveFocalLoss()(logits, target)
    torch.testing.assert_close(AdaptiveFocalLoss()(logits.reshape(shape), target.reshape(shape)), expected)


def off(**kwargs: Any) -> AdaptiveFocalLoss:
    return AdaptiveFocalLoss(adaptive_difficulty=False, adaptive_gradient=False, **kwargs)


def test_without_adaption_and_alpha_it_is_the_focal_loss() -> None:
    logits, target = random_case(2, 1, 5, 6)
    p_t = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    for gamma in (0.5, 1.0, 2.0):
        focal = -((1 - p_t) ** gamma) * p_t.log()
        torch.testing.assert_close(
            off(gamma=gamma, alpha=0.0, class_balance=None)(logits, target), focal.mean(), rtol=1e-12, atol=0
        )
        weight = torch.where(target > 0, 0.25, 0.75)
        torch.testing.assert_close(
            off(gamma=gamma, alpha=0.0, class_balance=0.25)(logits, target), (weight * focal).mean(), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_gamma_zero_it_is_binary_cross_entropy(dtype: torch.dtype) -> None:
    logits, target = random_case(2, 1, 5, 6, scale=20)
    logits, target = logits.to(dtype), target.to(dtype)
    target[0, 0, 0] = 0.3
    for delta in (0.0, 0.4):  # delta belongs to AGR
        value = off(gamma=0.0, alpha=0.0, delta=delta, class_balance=None)(logits, target)
        torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(logits, target), rtol=1e-6, atol=0)


def test_without_adaption_it_is_the_poly_loss() -> None:
    logits, target = random_case(2, 1, 5, 6)
    p_t = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    for gamma, alpha in ((2.0, 1.0), (1.0, 0.5), (0.0, 2.0)):
        poly = -((1 - p_t) ** gamma) * p_t.log() + alpha * (1 - p_t) ** (gamma + 1)
        value = off(gamma=gamma, alpha=alpha)(logits, target)
        torch.testing.assert_close(value, 0.5 * poly.mean(), rtol=1e-12, atol=0)


def test_with_scaling_alone_it_is_the_normalised_focal_loss() -> None:
    logits, target = random_case(1, 1, 5, 6)
    p_t = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    weight = (1 - p_t) ** 2
    expected = (-weight * p_t.log()).sum() / weight.sum()
    loss = AdaptiveFocalLoss(adaptive_difficulty=False, delta=0.0, alpha=0.0, class_balance=None)
    torch.testing.assert_close(loss(logits, target), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("ignore_value", [None, -1])
def test_gradcheck(gamma: float, ignore_value: float | None) -> None:
    logits, target = random_case(2, 1, 3, 4)
    if ignore_value is not None:
        target[:, :, 0] = ignore_value
    loss = off(gamma=gamma, ignore_value=ignore_value, reduction="none")
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_finite_at_saturated_logits(variant: dict[str, Any], dtype: torch.dtype, size: float) -> None:
    right = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    signs = [right, -right, right * torch.tensor([1.0, -1.0, 1.0, -1.0]), right * torch.tensor([1.0, 1.0, 1.0, -1.0])]
    logits = (size * torch.stack([*signs, right * 0])).to(dtype).requires_grad_()
    target = torch.tensor([[[1, 1, 0, 0]]]).expand(5, 1, 4)
    for truth in (target, target * 0, target * 0 + 1, 0.3 * target, torch.where(target > 0, -1, target)):
        loss = AdaptiveFocalLoss(**variant, ignore_value=-1, reduction="none")
        values = loss(logits, truth)
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert values.isfinite().all()
        assert gradient.isfinite().all()
        assert (values >= 0).all()
    perfect = AdaptiveFocalLoss(**variant, reduction="none")(logits, target)[0]
    assert perfect.item() == pytest.approx(0, abs=1e-6)


def test_hard_pixels_keep_their_gradient_at_saturated_logits() -> None:
    # One wrong pixel takes the whole scale: with gamma_d -> gamma, mu -> N / (1 + delta gamma).
    logits = torch.tensor([[[1e4, -1e4, -1e4, 1e4]]], requires_grad=True)
    target = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    value = AdaptiveFocalLoss()(logits, target)
    assert value.item() == pytest.approx(0.5 * (1e4 / 1.8 + 1 / 4), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.tensor([[[0.0, 0.0, 0.0, 0.5 / 1.8]]]))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("ignore_value", [-1, 255])
def test_ignored_pixels_count_nowhere(variant: dict[str, Any], ignore_value: int) -> None:
    logits, target = random_case(2, 1, 6, 7)
    expected = AdaptiveFocalLoss(**variant)(logits[..., 1:4, 2:6], target[..., 1:4, 2:6])
    bordered = torch.full_like(target, ignore_value)
    bordered[..., 1:4, 2:6] = target[..., 1:4, 2:6]
    logits = logits.masked_fill(bordered == ignore_value, float("nan")).requires_grad_()
    value = AdaptiveFocalLoss(**variant, ignore_value=ignore_value)(logits, bordered)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.isfinite().all()
    assert (gradient[bordered == ignore_value] == 0).all()
    assert (gradient[bordered != ignore_value] != 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mask_of_ignored_pixels_only_is_zero(variant: dict[str, Any]) -> None:
    logits, target = random_case(2, 1, 4, 4)
    target[0] = -1
    logits.requires_grad_()
    values = AdaptiveFocalLoss(**variant, ignore_value=-1, reduction="none")(logits, target)
    assert values[0].item() == 0
    assert values[1].item() == pytest.approx(plain_formula(logits[1], target[1], **variant).item())
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert (gradient[0] == 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, target = random_case(2, 1, 5, 6)
    logits = logits.to(dtype).requires_grad_()
    value = AdaptiveFocalLoss()(logits, target.to(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, AdaptiveFocalLoss()(logits.detach().float(), target))
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(AdaptiveFocalLoss()(logits, target), value)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_any_type_of_target(dtype: torch.dtype) -> None:
    logits, target = random_case(2, 1, 5, 6)
    expected = AdaptiveFocalLoss()(logits, target)
    torch.testing.assert_close(AdaptiveFocalLoss(ignore_value=-1)(logits, target.to(dtype)), expected)


def test_meta_tensors_are_welcome() -> None:
    logits, target = random_case(2, 1, 5, 6)
    value = AdaptiveFocalLoss()(MetaTensor(logits), MetaTensor(target))
    assert value.item() == pytest.approx(AdaptiveFocalLoss()(logits, target).item())


def test_nothing_waits_for_the_device() -> None:
    # A meta tensor has no values to read: anything that asks for one raises.
    logits = torch.empty(2, 1, 5, 6, device="meta", requires_grad=True)
    value = AdaptiveFocalLoss(ignore_value=-1)(logits, torch.empty(2, 1, 5, 6, device="meta"))
    value.backward()
    assert value.shape == ()


@pytest.mark.parametrize("variant", [*VARIANTS, {"ignore_value": -1}, {"reduction": "none"}])
def test_script_save(variant: dict[str, Any]) -> None:
    logits, target = random_case(2, 1, 5, 6)
    loss = AdaptiveFocalLoss(**variant)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(loss), buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(logits, target), loss(logits, target))


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((2, 1, 4, 4), (2, 1, 4, 5), "target must be of the shape of logits"),
        ((2, 1, 4, 4), (2, 4, 4), "target must be of the shape of logits"),
        ((2, 3, 4, 4), (2, 1, 4, 4), "target must be of the shape of logits"),
        ((4, 4), (4, 4), "logits must be of shape"),
    ],
)
def test_ill_shapes(logits: tuple[int, ...], target: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveFocalLoss()(torch.zeros(logits), torch.zeros(target))


def test_per_mask_with_ill_shapes() -> None:
    with pytest.raises(ValueError, match="target must be of the shape of logits"):
        AdaptiveFocalLoss().per_mask(torch.zeros(1, 3, 4), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="valid must be of the shape of target"):
        AdaptiveFocalLoss().per_mask(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0"),
        ({"delta": -0.1}, "delta must be at least 0"),
        ({"gamma": math.nan}, "gamma must be at least 0"),
        ({"class_balance": 1.5}, "class_balance must be in"),
        ({"reduction": "median"}, "median"),
    ],
)
def test_ill_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveFocalLoss(**kwargs)
