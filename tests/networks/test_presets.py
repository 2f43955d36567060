from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from adaptiveclick_med.networks import NETWORKS, PRESETS, AdaptiveClick, SimpleClick, build_network, preset_arguments
from adaptiveclick_med.weights import convert_released

MANIFESTS = {
    "adaptiveclick_vit_b": ("AdaptiveClick", "base", {"pixel_decoder_layers": 4}),
    "adaptiveclick_vit_h": ("AdaptiveClick", "huge", {"pixel_decoder_layers": 4}),
    "simpleclick_vit_b": ("SimpleClick", "base", {}),
    "simpleclick_vit_l": ("SimpleClick", "large", {}),
    "simpleclick_vit_h": ("SimpleClick", "huge", {}),
}


def on_meta(name: str, preset: str, **options: Any) -> Any:
    with torch.device("meta"):
        return build_network(name, preset, **options)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "preset", "options", "expected"),
    [
        ("AdaptiveClick", "base", {"pixel_decoder_layers": 4}, 121_114_242),
        ("AdaptiveClick", "base", {}, 121_114_242 + 2 * 732_192),
        ("AdaptiveClick", "huge", {"pixel_decoder_layers": 4}, 706_771_586),
        ("SimpleClick", "base", {}, 97_067_969),
        ("SimpleClick", "large", {}, 322_991_809),
        ("SimpleClick", "huge", {}, 660_713_201),
    ],
)
def test_number_of_parameters(name, preset, options, expected):
    """The released counts less what has no effect: class token, its position, classification head, up-sampling."""
    assert parameters(on_meta(name, preset, **options)) == expected


@pytest.mark.parametrize("name", list(NETWORKS))
def test_presets_grow(name):
    sizes = [parameters(on_meta(name, preset)) for preset in PRESETS]
    assert sizes == sorted(sizes)
    assert list(PRESETS) == ["nano", "tiny", "small", "base", "large", "huge"]


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("preset", list(PRESETS))
def test_arguments_are_recorded_and_build_the_same_network(name, preset):
    network = on_meta(name, preset, image_size=224)
    with torch.device("meta"):
        again = NETWORKS[name](**network.arguments)
    assert again.arguments == network.arguments
    shapes = [{key: tensor.shape for key, tensor in each.state_dict().items()} for each in (network, again)]
    assert shapes[0] == shapes[1]
    for argument, value in preset_arguments(preset, plain_head=name == "SimpleClick").items():
        if argument != "image_size":
            assert network.arguments[argument] == (list(value) if isinstance(value, tuple) else value)


def test_a_preset_can_be_changed_without_changing_it():
    arguments = preset_arguments("nano")
    arguments["embed_dim"] = 1
    assert preset_arguments("nano")["embed_dim"] == 96
    with torch.device("meta"):
        network = AdaptiveClick.from_preset("nano", embed_dim=48, num_queries=None)
    assert network.arguments["embed_dim"] == 48
    assert network.arguments["num_queries"] == 10


@pytest.mark.parametrize("call", [AdaptiveClick.from_preset, SimpleClick.from_preset, preset_arguments])
def test_unknown_preset(call):
    with pytest.raises(ValueError, match="preset must be one of nano, tiny, small, base, large, huge, got 'giant'"):
        call("giant")


def test_unknown_network():
    with pytest.raises(ValueError, match="name must be one of AdaptiveClick, SimpleClick, got 'UNet'"):
        build_network("UNet", "nano")


@pytest.mark.parity
@pytest.mark.parametrize("model", list(MANIFESTS))
def test_released_names_and_shapes(golden: Any, shared: Any, model: str):
    manifest = json.loads((shared / "golden" / f"manifest_{model}.json").read_text())
    name, preset, options = MANIFESTS[model]
    network = on_meta(name, preset, **options)
    state = {key: torch.zeros(()).expand(shape) for key, (shape, _) in manifest["keys"].items()}
    conversion = convert_released(state)
    assert conversion.network == name
    assert conversion.left_over == []
    assert {key: value for key, value in conversion.arguments.items() if key != "image_size"} == {
        key: value for key, value in network.arguments.items() if key in conversion.arguments and key != "image_size"
    }
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    theirs = {key: list(tensor.shape) for key, tensor in conversion.state.items()}
    theirs["encoder.pos_embed"][1] -= 1
    assert ours == theirs
    aliases = len(manifest["shared_storage_keys"])
    assert len(conversion.used) == len(ours) + aliases
    without_effect = sum(
        math.prod(manifest["keys"][key][0]) for key in conversion.unused if not key.startswith("criterion.")
    )
    class_position = manifest["keys"]["backbone.pos_embed"][0][2]
    assert parameters(network) == manifest["n_parameters"] - without_effect - class_position
