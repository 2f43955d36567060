from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.weights import convert_released, load_released, load_weights, save_weights

RESNET = {
    "conv1.weight": torch.ones(64, 3, 7, 7),
    "bn1.weight": torch.ones(64),
    "layer1.0.conv1.weight": torch.ones(1),
}
ENCODER = {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3, "mlp_ratio": 2.0}


def make(name: str) -> Any:
    torch.manual_seed(0)
    if name == "SimpleClick":
        return SimpleClick(32, **ENCODER, pyramid_channels=(8, 12, 16, 20), head_dim=8).eval()
    return AdaptiveClick(
        32,
        **ENCODER,
        pyramid_channels=(8, 12, 16, 20),
        decoder_dim=64,
        decoder_heads=4,
        pixel_decoder_layers=2,
        pixel_feedforward_dim=24,
        num_queries=3,
        click_decoder_layers=3,
        click_feedforward_dim=40,
    ).eval()


@pytest.fixture(params=["AdaptiveClick", "SimpleClick"])
def network(request):
    return make(request.param)


@torch.no_grad()
def test_equal_outputs(network, released):
    x = torch.rand(2, 6, 32, 32)
    loaded = load_released(released(network), 32)
    assert type(loaded) is type(network)
    assert not loaded.training
    assert loaded.arguments == network.arguments
    assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "config": {"class": "os.system", "params": {}}}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@torch.no_grad()
def test_from_a_file(tmp_path, network, wrap, prefix, suffix, released):
    state = {prefix + key: value.clone() for key, value in released(network).items()}
    path = tmp_path / f"checkpoint.{suffix}"
    if suffix == "pth":
        torch.save(wrap(state), path)
    else:
        import safetensors.torch

        safetensors.torch.save_file(state, path)
    x = torch.rand(1, 6, 32, 32)
    assert torch.equal(load_released(path, 32)(x), network(x))


@torch.no_grad()
def test_round_trip_through_our_own_file(tmp_path, network, released):
    loaded = load_weights(save_weights(tmp_path / "w.safetensors", load_released(released(network), (32, 64))))
    x = torch.rand(1, 6, 32, 32)
    torch.testing.assert_close(loaded(x), load_released(released(network), (32, 64))(x))


@pytest.mark.parametrize(("size", "grid"), [(48, (6, 6)), ((24, 64), (3, 8)), ((16, 64), (2, 8)), ((64, 16), (8, 2))])
@torch.no_grad()
def test_the_position_embedding_is_resampled_bicubically(network, size, grid, released):
    kept = network.encoder.pos_embed.reshape(1, 4, 4, 96).permute(0, 3, 1, 2)
    expected = F.interpolate(kept, grid, mode="bicubic", align_corners=False).permute(0, 2, 3, 1).flatten(1, 2)
    loaded = load_released(released(network), size)
    torch.testing.assert_close(loaded.encoder.pos_embed, expected)
    assert loaded.encoder.grid_size == grid
    height, width = (side * 8 for side in grid)
    x = torch.rand(1, 6, height, width)
    torch.testing.assert_close(loaded(x), network(x))


def test_the_report_names_what_is_not_used(network, caplog, released):
    state = {**released(network), "criterion.empty_weight": torch.ones(2), "criterion.x": torch.ones(1)}
    with caplog.at_level(logging.INFO):
        load_released(state, 32)
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert "4 without effect" in caplog.text
    assert "without effect: backbone.cls_token" in caplog.text
    caplog.clear()
    conversion = convert_released({**state, "extra.weight": torch.ones(1)}, 32)
    assert conversion.left_over == ["extra.weight"]
    assert sorted(conversion.used + conversion.unused) == sorted(state)
    with caplog.at_level(logging.WARNING):
        load_released(
            {**state, "extra.weight": torch.ones(1), "pixel_decoder.input_proj.9.0.weight": torch.ones(1)}, 32
        )
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "left over: extra.weight" in caplog.text
    assert "left over: pixel_decoder.input_proj.9.0.weight" in caplog.text


def test_missing_tensors_are_named(network, released):
    state = released(network)
    removed = ["backbone.blocks.2.norm1.bias", "patch_embed_coords.proj.weight"]
    for key in removed:
        del state[key]
    with pytest.raises(ValueError, match="The checkpoint lacks tensors") as error:
        load_released(state, 32)
    assert "missing: encoder.blocks.2.norm1.bias" in str(error.value)
    assert "missing: encoder.click_embed.weight" in str(error.value)
    assert convert_released(state, 32).missing == []


@pytest.mark.parametrize(
    "key", ["backbone.patch_embed.proj.weight", "backbone.pos_embed", "backbone.blocks.0.mlp.fc1.weight"]
)
def test_a_tensor_that_tells_the_size_is_missing(network, key, released):
    state = released(network)
    del state[key]
    with pytest.raises(ValueError, match="The checkpoint lacks "):
        load_released(state, 32)


def test_shapes_that_contradict_each_other(network, released):
    state = released(network)
    state["backbone.blocks.1.norm1.bias"] = torch.ones(3)
    with pytest.raises(ValueError, match="shapes do not fit the arguments"):
        load_released(state, 32)
    state = released(network)
    state["backbone.pos_embed"] = torch.ones(1, 1 + 8, 96)
    with pytest.raises(ValueError, match="must be of a square grid, it has 8 places"):
        load_released(state, 32)


class TestAliases:
    def test_contradicting(self, released):
        state = released(make("AdaptiveClick"))
        key = "pixel_decoder.lateral_convs.0.0.bias"
        state[key] = state[key] + 1
        with pytest.raises(ValueError, match=r"two different tensors for pixel_decoder\.lateral\.0\.bias"):
            convert_released(state)

    @pytest.mark.parametrize(
        "prefixes",
        [
            ("pixel_decoder.adapter_1.", "pixel_decoder.layer_1."),
            ("pixel_decoder.lateral_convs.0.", "pixel_decoder.output_convs.0."),
        ],
    )
    def test_one_of_the_two_names_is_enough(self, prefixes, released):
        network = make("AdaptiveClick")
        state = {key: value for key, value in released(network).items() if not key.startswith(prefixes)}
        x = torch.rand(1, 6, 32, 32)
        with torch.no_grad():
            assert torch.equal(load_released(state, 32)(x), network(x))


class TestHeads:
    @torch.no_grad()
    def test_heads_of_the_decoders_are_told_from_the_shapes(self, released):
        assert convert_released(released(make("AdaptiveClick"))).arguments["decoder_heads"] == 4

    def test_heads_of_the_encoder_come_from_the_preset_of_that_width(self, network, released):
        assert convert_released(released(network)).arguments["num_heads"] == 3
        assert convert_released(released(network), num_heads=6).arguments["num_heads"] == 6

    def test_unknown_width(self, released):
        torch.manual_seed(0)
        odd = SimpleClick(
            32, patch_size=8, embed_dim=40, depth=4, num_heads=5, pyramid_channels=(8, 8, 8, 8), head_dim=8
        ).eval()
        state = released(odd)
        with pytest.raises(ValueError, match="num_heads must be given: no preset has the encoder width 40"):
            load_released(state, 32)
        x = torch.rand(1, 6, 32, 32)
        with torch.no_grad():
            assert torch.equal(load_released(state, 32, num_heads=5)(x), odd(x))


class TestOtherArchitectures:
    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}])
    def test_a_resnet(self, tmp_path, wrap):
        torch.save(wrap(RESNET), tmp_path / "resnet.pth")
        with pytest.raises(ValueError, match=r"neither a released AdaptiveClick .* nor SimpleClick .*'conv1\.weight'"):
            load_released(tmp_path / "resnet.pth")

    def test_our_own_file(self, tmp_path, network):
        path = save_weights(tmp_path / "w.safetensors", network)
        with pytest.raises(ValueError, match="neither a released AdaptiveClick"):
            load_released(path)

    @pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3}])
    def test_nothing(self, content):
        with pytest.raises(ValueError, match="neither a released AdaptiveClick"):
            load_released(content)

    @pytest.mark.parametrize("content", [None, [1], torch.ones(1)])
    def test_no_dictionary(self, content):
        with pytest.raises(ValueError, match="state_dict must be a dictionary, it is a"):
            load_released({"state_dict": content})

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no weight file"):
            load_released(tmp_path / "missing.pth")

    def test_truncated_file(self, tmp_path, network, released):
        path = tmp_path / "c.pth"
        torch.save({"state_dict": released(network)}, path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ValueError, match=r"c\.pth is truncated, damaged or no checkpoint"):
            load_released(path)

    def test_image_size_must_be_a_multiple_of_the_patch(self, network, released):
        with pytest.raises(ValueError, match="patch_size is 8, the image is 30 x 30 pixels"):
            load_released(released(network), 30)
