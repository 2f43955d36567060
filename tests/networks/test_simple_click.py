from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks import SimpleClick

SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "pyramid_channels": (8, 12, 16, 20),
    "head_dim": 16,
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SimpleClick(**SMALL).eval()


@pytest.fixture(scope="module")
def x():
    return torch.rand(2, 6, 32, 48, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_head_by_hand(network, x):
    output = network.predict(x, return_features=True)
    maps = []
    for index in range(4):
        project = network.head.projections[index]
        level = torch.einsum("oc,bchw->bohw", project.weight[:, :, 0, 0], output.features[f"pyramid_{index}"])
        level = (level + project.bias[:, None, None]).relu()
        maps.append(F.interpolate(level, (16, 24), mode="bilinear", align_corners=False))
    expected = network.head.classifier(network.head.fusion(torch.cat(maps, 1)).relu())
    torch.testing.assert_close(output.features["head"], expected)
    torch.testing.assert_close(output.logits, F.interpolate(expected, (32, 48), mode="bilinear", align_corners=True))


@torch.no_grad()
def test_no_candidates(network, x):
    output = network.predict(x)
    assert output.mask_logits is None
    assert output.click_logits is None
    assert output.auxiliary == ()
    assert output.features is None
    assert not SimpleClick.has_candidates


@torch.no_grad()
def test_dropout_in_training_only(x):
    torch.manual_seed(0)
    network = SimpleClick(**SMALL, dropout=0.5)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_arguments_of_the_click_decoder_are_unknown():
    with pytest.raises(TypeError, match="decoder_dim"):
        SimpleClick.from_preset("nano", decoder_dim=64)
