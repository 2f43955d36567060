"""The networks against the reference's vectors, stage by stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import load_released

pytestmark = pytest.mark.parity

RELATIVE = 1e-4


def released(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    state = {key.removeprefix("state/"): value for key, value in tensors.items() if key.startswith("state/")}
    return {"state_dict": state, "config": {"class": "os.system", "params": {}}}


def network_input(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    image, previous = tensors["image_u8"].float() / 255, tensors["prev_u8"].float() / 255
    return torch.cat([image, previous, click_maps(tensors["points"], tuple(image.shape[-2:]))], dim=1)


def assert_stage(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert ours.shape == theirs.shape, name
    assert error < RELATIVE, f"{name}: {error}"


@pytest.mark.parametrize("case", ["g1_adaptive_a", "g1_adaptive_b"])
@torch.no_grad()
def test_adaptive_click(golden: Any, case: str) -> None:
    facts, tensors = golden(case)
    model = facts["config"]["MODEL"]
    network = load_released(
        released(tensors),
        num_heads=model["BACKBONE"]["NUM_HEADS"],
        decoder_heads=model["MASK_FORMER"]["NHEADS"],
    )
    assert isinstance(network, AdaptiveClick)
    x = network_input(tensors)
    disks = torch.zeros_like(x[:, 4:])
    disks[tuple(tensors["click_disks_nonzero"].long().T)] = 1
    assert torch.equal(x[:, 4:], disks)

    output = network.predict(x, return_features=True)
    features = output.features
    assert features is not None
    assert_stage("encoder", features["encoder"].flatten(2).transpose(1, 2), tensors["backbone_features"])
    for index, mean in enumerate(facts["fpn_abs_mean"]):
        assert features[f"pyramid_{index}"].abs().mean().item() == pytest.approx(mean, rel=RELATIVE)
        assert list(features[f"pyramid_{index}"].shape) == facts["fpn_shapes"][index]
    checked = 0
    for key, stage, step in [
        ("mask_features_s2", "pixel_embedding", 2),
        ("mask_features_s4", "pixel_embedding", 4),
        ("multi_scale_0", "pixel_0", 1),
        ("multi_scale_1", "pixel_1", 1),
        ("multi_scale_2", "pixel_2", 1),
        ("multi_scale_2_s2", "pixel_2", 2),
    ]:
        if key in tensors:
            assert_stage(key, features[stage][:, :, ::step, ::step], tensors[key])
            checked += 1
    assert checked == 4
    statistics = facts["mask_features_stats"]
    assert features["pixel_embedding"].abs().mean().item() == pytest.approx(statistics["abs_mean"], rel=RELATIVE)
    for index in range(9):
        assert torch.equal(features[f"blocked_{index}"], tensors[f"attn_mask_{index}"].bool()), index
    assert output.mask_logits is not None
    assert output.click_logits is not None
    assert_stage("pred_masks", output.mask_logits, tensors["pred_masks"])
    assert_stage("pred_logits", output.click_logits, tensors["pred_logits"])
    assert_stage("aux_pred_logits", torch.stack([c for _, c in output.auxiliary]), tensors["aux_pred_logits"])
    for (masks, _), mean in zip(output.auxiliary, facts["aux_pred_masks_abs_mean"], strict=True):
        assert masks.abs().mean().item() == pytest.approx(mean, rel=RELATIVE)
    assert_stage("instances", output.logits, tensors["instances"])
    torch.testing.assert_close(network(x), output.logits)


@pytest.mark.parametrize("case", ["g1_simpleclick_a", "g1_simpleclick_b"])
@torch.no_grad()
def test_simple_click(golden: Any, case: str) -> None:
    facts, tensors = golden(case)
    network = load_released(released(tensors), num_heads=facts["config"]["backbone_params"]["num_heads"])
    assert isinstance(network, SimpleClick)
    x = network_input(tensors)
    output = network.predict(x, return_features=True)
    features = output.features
    assert features is not None
    assert_stage("encoder", features["encoder"].flatten(2).transpose(1, 2), tensors["backbone_features"])
    for index in range(4):
        for suffix, step in (("", 1), ("_s2", 2)):
            key = f"fpn_{index}{suffix}"
            if key in tensors:
                assert_stage(key, features[f"pyramid_{index}"][:, :, ::step, ::step], tensors[key])
    assert_stage("head_logits", features["head"], tensors["head_logits"])
    assert_stage("instances", output.logits, tensors["instances"])
    assert output.mask_logits is None
    torch.testing.assert_close(network(x), output.logits)
