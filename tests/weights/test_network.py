from __future__ import annotations

import pytest
import torch

from adaptiveclick_med.networks import AdaptiveClick, SimpleClick, build_network
from adaptiveclick_med.weights import load_network, network_for, save_weights, start_image_size, start_network


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


def test_network_arguments_replace_those_of_the_preset():
    options = {"image_size": 32, "network_arguments": {"num_queries": 5, "click_decoder_layers": 3}}
    network = start_network("AdaptiveClick", "nano", **options)
    assert network.arguments["num_queries"] == 5
    assert network.arguments["click_decoder_layers"] == 3
    assert network.arguments["embed_dim"] == 96
    assert network.arguments["image_size"] == 32
    assert network.predict(torch.zeros(1, 6, 32, 32)).mask_logits.shape == (1, 5, 16, 16)


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_network_arguments_the_network_is_that_of_the_preset(nothing):
    plain = start_network("AdaptiveClick", "nano", image_size=32)
    same = start_network("AdaptiveClick", "nano", image_size=32, network_arguments=nothing)
    assert same.arguments == plain.arguments
    assert plain.arguments["num_queries"] == 10
    states = [each.state_dict() for each in (plain, same)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "AdaptiveClick",
            {"queries": 5},
            r"network_arguments of AdaptiveClick may be .*num_queries.*, got 'queries'\.",
        ),
        (
            "SimpleClick",
            {"num_queries": 5},
            r"network_arguments of SimpleClick may be .*head_dim.*, got 'num_queries'\.",
        ),
        ("AdaptiveClick", {"image_size": 64}, r"got 'image_size'\."),
        ("AdaptiveClick", "num_queries", r"network_arguments must be a dictionary, got 'num_queries'\."),
        ("UNet", {"num_queries": 5}, "name must be one of AdaptiveClick, SimpleClick, got 'UNet'"),
    ],
)
def test_unknown_network_arguments_are_a_clear_error(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        start_network(name, "nano", network_arguments=arguments)


def test_from_a_file_for_training(tmp_path, network):
    path = save_weights(tmp_path / "w.safetensors", network)
    options = {"pretrained_encoder": "mae", "network_arguments": {"num_queries": 5}}
    started = start_network("AdaptiveClick", "base", initial_weights=path, **options)
    assert isinstance(started, SimpleClick)
    assert started.training


def test_initial_weights_for_another_image_size(tmp_path):
    network = build_network("AdaptiveClick", "nano", image_size=64).eval()
    path = save_weights(tmp_path / "w.safetensors", network)
    same, larger = start_network(initial_weights=path), start_network(initial_weights=path, image_size=[64, 128])
    assert (same.image_size, larger.image_size) == ((64, 64), (64, 128))
    assert larger.arguments["image_size"] == [64, 128]
    assert larger.encoder.pos_embed.shape == (1, 8 * 16, 96)
    x = torch.rand(1, 6, 64, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(larger.eval()(x), network(x), rtol=1e-4, atol=1e-4)
    assert load_network(save_weights(tmp_path / "l.safetensors", larger)).image_size == (64, 128)
    with pytest.raises(ValueError, match="patch_size is 8, the image is 100 x 100"):
        start_network(initial_weights=path, image_size=100)


def test_the_image_size_of_a_training(tmp_path):
    network = build_network("SimpleClick", "nano", image_size=(64, 96))
    path = save_weights(tmp_path / "w.safetensors", network)
    assert start_image_size("tiny", path) == [64, 96]
    assert (start_image_size("nano"), start_image_size("tiny"), start_image_size("nano", "w.pth")) == (128, 448, 448)
    with pytest.raises(ValueError, match="preset must be one of"):
        start_image_size("giant")


DEFAULT = {"window": None, "channels": None, "percentiles": [0.5, 99.5], "nan": "raise"}


def test_a_fresh_network_is_told_how_its_images_are_scaled():
    options = {"image_size": 32}
    assert start_network("SimpleClick", "nano", **options).intensity == DEFAULT
    told = start_network("SimpleClick", "nano", intensity_window=(0, 80), channels=[2, 1, 0], **options)
    assert told.intensity == {**DEFAULT, "window": [0.0, 80.0], "channels": [2, 1, 0]}
    with pytest.raises(ValueError, match="window must be one of abdomen"):
        start_network("SimpleClick", "nano", intensity_window="heart", **options)


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"intensity_window": "bone"}, {"window": "bone"}),
        ({"channels": 0}, {"channels": 0}),
        ({"intensity_window": "none", "channels": "none"}, {"window": None, "channels": None}),
    ],
)
def test_initial_weights_carry_it_on_unless_something_is_given(tmp_path, network, given, changed):
    first = start_network("SimpleClick", "nano", image_size=32, intensity_window="lung", channels=3)
    path = save_weights(tmp_path / "w.safetensors", first)
    trained = {**DEFAULT, "window": "lung", "channels": 3}
    assert load_network(path).intensity == trained
    assert start_network(initial_weights=path, **given).intensity == {**trained, **changed}
    unknown = save_weights(tmp_path / "unknown.safetensors", network)
    assert start_network(initial_weights=unknown).intensity == DEFAULT


def test_a_pretrained_encoder(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=96, depth=8, num_heads=3, num_classes=0)
    torch.save({"model": model.state_dict()}, tmp_path / "mae.pth")
    started = start_network("SimpleClick", "nano", image_size=32, pretrained_encoder=tmp_path / "mae.pth")
    assert torch.equal(started.encoder.blocks[3].mlp.fc1.weight, model.blocks[3].mlp.fc1.weight)


def test_the_network_of_a_file(tmp_path, network, caplog):
    path = save_weights(tmp_path / "w.safetensors", network)
    loaded = network_for(path, "base", "AdaptiveClick")
    assert isinstance(loaded, SimpleClick)
    assert not loaded.training
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert caplog.records == []


@pytest.mark.parametrize("name", ["AdaptiveClick", "SimpleClick"])
def test_a_fresh_network_where_there_is_no_file(tmp_path, name, caplog):
    fresh = network_for(tmp_path / "none.safetensors", "nano", name)
    assert type(fresh).__name__ == name
    assert not fresh.training
    assert fresh.arguments["embed_dim"] == 96
    assert f"There is no weight file {tmp_path / 'none.safetensors'}: the network is untrained." in caplog.text
    with pytest.raises(ValueError, match="preset must be one of"):
        network_for(tmp_path / "none.safetensors", "giant")


def test_a_damaged_file_is_no_missing_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="truncated, damaged or no checkpoint"):
        network_for(tmp_path / "w.safetensors", "nano")


def test_a_released_checkpoint_is_loaded_and_moved(tmp_path, released, network):
    torch.save({"state_dict": released(network)}, tmp_path / "released.pth")
    loaded = load_network(tmp_path / "released.pth", device=torch.device("cpu"))
    assert isinstance(loaded, SimpleClick)
    assert loaded.arguments["image_size"] == 448
    x = torch.rand(1, 6, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "released.pth")(x), loaded(x))
    assert torch.equal(loaded.head.classifier.weight, network.head.classifier.weight)
    assert start_network(initial_weights=tmp_path / "released.pth").training
    with pytest.raises(FileNotFoundError, match="There is no weight file"):
        start_network(initial_weights=tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("width", "choice", "expected"),
    [
        (96, None, False),
        (96, True, True),
        (96, "true", True),
        (1024, None, True),
        (1280, "none", True),
        (1024, False, False),
        (1024, "False", False),
    ],
)
def test_activation_checkpointing_is_on_for_large_encoders_unless_chosen(tmp_path, width, choice, expected):
    arguments = {"embed_dim": width, "num_heads": 2, "depth": 1}
    started = start_network(
        "SimpleClick", "nano", image_size=32, network_arguments=arguments, activation_checkpointing=choice
    )
    assert started.encoder.activation_checkpointing is expected
    path = save_weights(tmp_path / "w.safetensors", started)
    again = start_network(initial_weights=path, activation_checkpointing=choice)
    assert again.encoder.activation_checkpointing is expected
    assert load_network(path).encoder.activation_checkpointing is False
    assert "activation_checkpointing" not in again.arguments


def test_an_unknown_choice_of_activation_checkpointing_is_named():
    with pytest.raises(ValueError, match="activation_checkpointing must be true, false or none, got 'yes'"):
        start_network("SimpleClick", "nano", image_size=32, activation_checkpointing="yes")
