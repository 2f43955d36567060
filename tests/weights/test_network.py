from __future__ import annotations

import pytest
import torch

from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import load_network, save_weights, start_network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SimpleClick.from_preset("nano", image_size=32).eval()


def test_our_own_file_and_a_released_one_are_told_apart(tmp_path, network):
    path = save_weights(tmp_path / "w.safetensors", network)
    x = torch.rand(1, 6, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_network(path)(x), network(x))
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match="neither a released AdaptiveClick"):
        load_network(tmp_path / "resnet.pth")
    with pytest.raises(FileNotFoundError, match="There is no weight file"):
        load_network(tmp_path / "missing.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated, damaged or no checkpoint"):
        load_network(path)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state():
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    first = start_network("SimpleClick", "nano", image_size=32, seed=4)
    assert torch.equal(torch.rand(1), expected)
    again = start_network("SimpleClick", "nano", image_size=32, seed=4)
    other = start_network("SimpleClick", "nano", image_size=32, seed=5)
    states = [each.state_dict() for each in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["encoder.patch_embed.weight"], states[2]["encoder.patch_embed.weight"])


def test_fresh_by_name_and_preset():
    network = start_network("AdaptiveClick", "nano", image_size=(32, 64))
    assert isinstance(network, AdaptiveClick)
    assert network.training
    assert network.encoder.grid_size == (4, 8)
    with pytest.raises(ValueError, match="name must be one of"):
        start_network("UNet", "nano")
    with pytest.raises(ValueError, match="preset must be one of"):
        start_network("SimpleClick", "giant")


def test_from_a_file_for_training(tmp_path, network):
    path = save_weights(tmp_path / "w.safetensors", network)
    started = start_network("AdaptiveClick", "base", pretrained_encoder="mae", initial_weights=path)
    assert isinstance(started, SimpleClick)
    assert started.training


def test_a_pretrained_encoder(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=96, depth=8, num_heads=3, num_classes=0)
    torch.save({"model": model.state_dict()}, tmp_path / "mae.pth")
    started = start_network("SimpleClick", "nano", image_size=32, pretrained_encoder=tmp_path / "mae.pth")
    assert torch.equal(started.encoder.blocks[3].mlp.fc1.weight, model.blocks[3].mlp.fc1.weight)
