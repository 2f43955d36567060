from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptiveclick_med.losses import (
    LOSSES,
    AdaptiveFocalLoss,
    BalancedCrossEntropyLoss,
    BinaryCrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    MaskLoss,
    NormalizedFocalLoss,
    PolyLoss,
    SoftIoULoss,
    WeightedCrossEntropyLoss,
    get_loss,
)

# p = 3/4, 1/2, 1/4 for y = 1, 1, 0: p_t = 3/4, 1/2, 3/4.
LOGITS = torch.tensor([[[math.log(3), 0.0, -math.log(3)]]], dtype=torch.float64)
TARGET = torch.tensor([[[1.0, 1.0, 0.0]]], dtype=torch.float64)
EASY, HARD = -math.log(0.75), -math.log(0.5)
BY_HAND = {
    "bce": (2 * EASY + HARD) / 3,
    "wbce": (3 * EASY + 3 * HARD + EASY) / 3,
    "bce_balanced": (3 * EASY + 3 * HARD + EASY) / 3,
    "fl": 0.5 * (2 * 0.25**2 * EASY + 0.5**2 * HARD) / 3,
    "nfl": 0.5 * (2 * 0.25**2 * EASY + 0.5**2 * HARD) / (2 * 0.25**2 + 0.5**2),
    "pl": 0.5 * (2 * (0.25**2 * EASY + 0.25**3) + 0.5**2 * HARD + 0.5**3) / 3,
    "iou": 1 - 1.25 / (1.5 + 2 - 1.25),
    "dice": 1 - (2 * 1.25 + 1) / (1.5 + 2 + 1),
}


def random_case(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits, torch.rand(*shape, generator=generator, dtype=torch.float64).round()


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name: str) -> None:
    assert get_loss(name)(LOGITS, TARGET).item() == pytest.approx(BY_HAND[name], rel=1e-7)


def test_short_names() -> None:
    expected = {
        "bce": BinaryCrossEntropyLoss,
        "wbce": WeightedCrossEntropyLoss,
        "bce_balanced": BalancedCrossEntropyLoss,
        "iou": SoftIoULoss,
        "fl": FocalLoss,
        "nfl": NormalizedFocalLoss,
        "pl": PolyLoss,
        "afl": AdaptiveFocalLoss,
        "dice": DiceLoss,
    }
    assert expected == LOSSES
    loss = get_loss("nfl", gamma=1.0, ignore_value=-1)
    assert isinstance(loss, NormalizedFocalLoss)
    assert (loss.gamma, loss.ignore_value) == (1.0, -1.0)


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match=r"'afl', 'bce', 'bce_balanced', 'dice', 'fl', 'iou', 'nfl', 'pl', 'wbce'.*'x'"
    ):
        get_loss("x")
    with pytest.raises(TypeError, match="delta"):
        get_loss("fl", delta=1.0)


def test_cross_entropies_are_torchs() -> None:
    logits, target = random_case(2, 1, 5, 6)
    target[0, 0, 0] = 0.3
    assert get_loss("bce")(logits, target).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-12
    )
    weighted = F.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(2.0)).item()
    assert get_loss("wbce", positive_weight=2.0)(logits, target).item() == pytest.approx(weighted, rel=1e-12)
    balanced = BalancedCrossEntropyLoss(positive_weight=1.0, negative_weight=0.5)
    assert balanced(logits, target).item() == pytest.approx(0.5 * weighted, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("fl", {"delta": 0, "alpha": 0, "adaptive_difficulty": False, "adaptive_gradient": False}),
        ("nfl", {"delta": 0, "alpha": 0, "adaptive_difficulty": False}),
        ("pl", {"adaptive_difficulty": False, "adaptive_gradient": False}),
        (
            "bce",
            {
                "gamma": 0,
                "alpha": 0,
                "adaptive_difficulty": False,
                "adaptive_gradient": False,
                "class_balance": None,
            },
        ),
    ],
)
def test_special_cases_of_the_adaptive_focal_loss(name: str, kwargs: dict[str, Any]) -> None:
    logits, target = random_case(2, 1, 5, 6)
    assert torch.equal(get_loss(name)(logits, target), AdaptiveFocalLoss(**kwargs)(logits, target))


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_reductions_and_channels(self, name: str) -> None:
        logits, target = random_case(2, 3, 4, 5)
        values = get_loss(name, reduction="none")(logits, target)
        assert values.shape == (2, 3)
        alone = get_loss(name)(logits[1:, 2:], target[1:, 2:])
        torch.testing.assert_close(values[1, 2], alone)
        torch.testing.assert_close(get_loss(name)(logits, target), values.mean())
        torch.testing.assert_close(get_loss(name, reduction="sum")(logits, target), values.sum())

    def test_one_target_for_all_channels(self, name: str) -> None:
        logits, target = random_case(2, 3, 4, 5)
        valid = random_case(2, 1, 4, 5)[0] > 0
        valid[1] = False
        loss = get_loss(name)
        expected = loss.per_mask(logits, target[:, :1].expand(2, 3, 4, 5), valid.expand(2, 3, 4, 5))
        torch.testing.assert_close(loss.per_mask(logits, target[:, :1], valid), expected)
        torch.testing.assert_close(
            loss.per_mask(logits, target[:, :1]), loss.per_mask(logits, target[:, :1].expand(2, 3, 4, 5))
        )

    @pytest.mark.parametrize("shape", [(2, 1, 30), (2, 1, 2, 3, 5)])
    def test_any_number_of_spatial_dimensions(self, name: str, shape: tuple[int, ...]) -> None:
        logits, target = random_case(2, 1, 5, 6)
        torch.testing.assert_close(
            get_loss(name)(logits.reshape(shape), target.reshape(shape)), get_loss(name)(logits, target)
        )

    def test_ignored_pixels_count_nowhere(self, name: str) -> None:
        logits, target = random_case(2, 1, 6, 7)
        expected = get_loss(name)(logits[..., 1:4, 2:6], target[..., 1:4, 2:6])
        bordered = torch.full_like(target, 255)
        bordered[..., 1:4, 2:6] = target[..., 1:4, 2:6]
        logits = logits.masked_fill(bordered == 255, float("nan")).requires_grad_()
        value = get_loss(name, ignore_value=255)(logits, bordered)
        torch.testing.assert_close(value, expected)
        (gradient,) = torch.autograd.grad(value, logits)
        assert (gradient[bordered == 255] == 0).all()

    def test_a_mask_of_ignored_pixels_only_is_zero(self, name: str) -> None:
        logits, target = random_case(2, 1, 4, 4)
        target[0] = -1
        logits.requires_grad_()
        values = get_loss(name, ignore_value=-1, reduction="none")(logits, target)
        assert values[0].item() == 0
        assert values[1].item() > 0
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert (gradient[0] == 0).all()
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("size", [30.0, 1e4])
    def test_finite_at_saturated_logits(self, name: str, size: float) -> None:
        logits = size * torch.tensor([[[1.0, 1.0, -1.0]], [[-1.0, -1.0, 1.0]], [[1.0, -1.0, -1.0]]])
        logits.requires_grad_()
        for truth in ([1, 1, 0], [0, 0, 0], [1, 1, 1]):
            values = get_loss(name, reduction="none")(logits, torch.tensor([[truth]]).expand(3, 1, 3))
            (gradient,) = torch.autograd.grad(values.sum(), logits)
            assert values.isfinite().all()
            assert gradient.isfinite().all()
        perfect = get_loss(name)(logits[:1], torch.tensor([[[1, 1, 0]]]))
        assert perfect.item() == pytest.approx(0, abs=1e-6)

    def test_gradcheck(self, name: str) -> None:
        # What the adaptive losses hold constant has a gradient all the same: compare them without it.
        switches = {"adaptive_difficulty": False, "adaptive_gradient": False}
        kwargs = {"afl": switches, "nfl": {"gamma": 0.0}}.get(name, {})
        logits, target = random_case(2, 1, 3, 4)
        loss = get_loss(name, **kwargs)
        assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_(), fast_mode=True)

    def test_half_precision_is_computed_in_float32(self, name: str) -> None:
        logits, target = random_case(1, 1, 5, 6)
        value = get_loss(name)(logits.half(), target.bool())
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, get_loss(name)(logits.half().float(), target))

    def test_script_save(self, name: str) -> None:
        logits, target = random_case(2, 1, 5, 6)
        target[:, :, 0] = -1
        loss = get_loss(name, ignore_value=-1)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(loss), buffer)
        buffer.seek(0)
        torch.testing.assert_close(torch.jit.load(buffer)(logits, target), loss(logits, target))

    def test_nothing_waits_for_the_device(self, name: str) -> None:
        logits = torch.empty(2, 1, 5, 6, device="meta", requires_grad=True)
        get_loss(name, ignore_value=-1)(logits, torch.empty(2, 1, 5, 6, device="meta")).backward()

    def test_ill_shapes(self, name: str) -> None:
        with pytest.raises(ValueError, match="target must be of the shape of logits"):
            get_loss(name)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 3))
        with pytest.raises(ValueError, match="logits must be of shape"):
            get_loss(name)(torch.zeros(4, 4), torch.zeros(4, 4))
        with pytest.raises(ValueError, match="median"):
            get_loss(name, reduction="median")


def test_soft_iou_of_soft_targets() -> None:
    target = torch.full_like(TARGET, 0.5)
    assert SoftIoULoss()(LOGITS, target).item() == pytest.approx(1 - 0.75 / (1.5 + 1.5 - 0.75), rel=1e-7)


def test_overlap_losses_of_empty_targets() -> None:
    logits = torch.full((1, 1, 4), -20.0, requires_grad=True)
    target = torch.zeros(1, 1, 4)
    assert DiceLoss()(logits, target).item() == pytest.approx(0, abs=1e-6)
    for loss in (DiceLoss(), SoftIoULoss()):
        (gradient,) = torch.autograd.grad(loss(logits, target), logits)
        assert gradient.isfinite().all()


def test_negative_weights() -> None:
    with pytest.raises(ValueError, match="positive_weight must be at least 0"):
        WeightedCrossEntropyLoss(positive_weight=-1.0)
    with pytest.raises(ValueError, match="negative_weight must be at least 0"):
        BalancedCrossEntropyLoss(negative_weight=-1.0)


def test_a_loss_must_say_its_values() -> None:
    with pytest.raises(NotImplementedError):
        MaskLoss()(LOGITS, TARGET)


def reference_criterion(case: dict[str, Any]) -> MaskLoss:
    """Our loss for a function of the reference; it divides the sum over masks by a number of its own."""
    kwargs = dict(case["kwargs"])
    common: dict[str, Any] = {"reduction": "sum"}
    if case["function"] == "sigmoid_ce_loss":
        return BinaryCrossEntropyLoss(**common)
    if case["function"] == "dice_loss":
        return DiceLoss(**common)
    if case["function"] == "sigmoid_adaptive_focal_loss":
        balance = kwargs.pop("epsilon", 0.5)
        return AdaptiveFocalLoss(**kwargs, **common, class_balance=balance if balance >= 0 else None)
    balance = kwargs.pop("alpha", 0.25)  # the class balance of the focal losses there
    common["class_balance"] = balance if balance >= 0 else None
    kind = {"sigmoid_focal_loss": FocalLoss, "sigmoid_normalized_focal_loss": NormalizedFocalLoss}[case["function"]]
    return kind(**kwargs, **common)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity_of_the_criterion_losses(golden: Any, dtype: torch.dtype) -> None:
    description, tensors = golden("g2_criterion_losses")
    assert len(description["cases"]) == 56
    for case in description["cases"]:
        key = case["id"]
        # At saturated logits the reference is exact in float64 only.
        suffix = "64" if dtype == torch.float64 or case["target_kind"] == "extreme" else ""
        logits = tensors[f"{case['input']}/logits"][:, None].to(dtype).requires_grad_()
        target = tensors[f"{case['input']}/targets"][:, None].to(dtype)
        value = reference_criterion(case)(logits, target) / case["num_masks"]
        (gradient,) = torch.autograd.grad(value, logits)
        expected = tensors[f"{key}/loss{suffix}"].to(dtype)
        expected_gradient = tensors[f"{key}/grad{suffix}"].to(dtype)[:, None]
        torch.testing.assert_close(value[None], expected, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
        assert expected_gradient.isfinite().all()
        torch.testing.assert_close(
            gradient, expected_gradient, rtol=1e-4, atol=1e-6, msg=lambda m, k=key: f"{k} gradient: {m}"
        )


def reference_module(case: dict[str, Any]) -> MaskLoss | None:
    """Our loss for a module of the reference with default flags, else ``None``."""
    kwargs = dict(case["kwargs"])
    if case["label_kind"] == "extreme" or not kwargs.keys() <= {"gamma", "alpha", "delta"}:
        return None
    common: dict[str, Any] = {"ignore_value": -1, "reduction": "none"}
    if case["cls"] == "AdaptiveFocalLossSigmoid":
        return AdaptiveFocalLoss(**kwargs, **common, class_balance=None)
    if case["cls"] == "NormalizedFocalLossSigmoid":
        return NormalizedFocalLoss(**common, gamma=kwargs.get("gamma", 2), class_balance=kwargs.get("alpha", 0.25))
    if case["cls"] == "SoftIoU":
        return SoftIoULoss(**common)
    return None


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity_of_the_loss_modules(golden: Any, dtype: torch.dtype) -> None:
    description, tensors = golden("g2_module_losses")
    suffix = "64" if dtype == torch.float64 else ""
    compared = 0
    for case in description["cases"]:
        loss = reference_module(case)
        if loss is None:
            continue
        key = case["id"]
        logits = tensors[f"{case['input']}/logits"].to(dtype).requires_grad_()
        values = loss(logits, tensors[f"{case['input']}/labels"])
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        torch.testing.assert_close(
            values[:, 0], tensors[f"{key}/loss{suffix}"], rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
        )
        torch.testing.assert_close(
            gradient, tensors[f"{key}/grad{suffix}"], rtol=1e-4, atol=1e-6, msg=lambda m, k=key: f"{k} gradient: {m}"
        )
        compared += 1
    assert compared == 16  # AFL 6, NFL 7, soft IoU 3
