from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks import AdaptiveClick, AdaptiveClickOutput

SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "pyramid_channels": (8, 8, 8, 8),
    "decoder_dim": 64,
    "decoder_heads": 4,
    "pixel_decoder_layers": 1,
    "pixel_feedforward_dim": 16,
    "num_queries": 5,
    "click_decoder_layers": 4,
    "click_feedforward_dim": 16,
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return AdaptiveClick(**SMALL).eval()


@pytest.fixture(scope="module")
def x():
    return torch.rand(2, 6, 32, 48, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_logits_are_the_candidates_weighted_by_their_confidence(network, x):
    output = network.predict(x)
    confidence = output.click_logits[..., 1].sigmoid()
    combined = sum(confidence[:, q, None, None, None] * output.mask_logits[:, q, None] for q in range(5))
    expected = F.interpolate(combined, (32, 48), mode="bilinear", align_corners=True)
    torch.testing.assert_close(output.logits, expected)


@torch.no_grad()
def test_features(network, x):
    features = network.predict(x, return_features=True).features
    assert network.predict(x).features is None
    assert {name: tuple(tensor.shape[1:]) for name, tensor in features.items()} == {
        "encoder": (32, 4, 6),
        "pyramid_0": (8, 16, 24),
        "pyramid_1": (8, 8, 12),
        "pyramid_2": (8, 4, 6),
        "pyramid_3": (8, 2, 3),
        "pixel_0": (64, 2, 3),
        "pixel_1": (64, 4, 6),
        "pixel_2": (64, 8, 12),
        "pixel_embedding": (64, 16, 24),
        "blocked_0": (5, 6),
        "blocked_1": (5, 24),
        "blocked_2": (5, 96),
        "blocked_3": (5, 6),
    }


@torch.no_grad()
def test_auxiliary_predictions_only_where_asked_for(network, x):
    assert len(network.predict(x).auxiliary) == 4
    short = network.predict(x, auxiliary=False)
    assert short.auxiliary == ()
    assert short.mask_logits.shape == (2, 5, 16, 24)


@torch.no_grad()
def test_the_gate_sees_the_positive_map_only(network, x):
    seen = []
    original = network.click_decoder.forward

    def spy(levels, embedding, positive, **options):
        seen.append(positive)
        return original(levels, embedding, positive, **options)

    network.click_decoder.forward = spy
    try:
        network(x)
    finally:
        del network.click_decoder.forward
    assert torch.equal(seen[0], x[:, 4:5])


def test_training_gives_the_whole_answer(network, x):
    try:
        output = network.train()(x)
    finally:
        network.eval()
    assert isinstance(output, AdaptiveClickOutput)
    assert len(output.auxiliary) == 4
    assert AdaptiveClick.has_candidates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_dim": 48}, "dim must be a multiple of 32, got 48"),
        ({"decoder_heads": 5}, "embed_dim must be a multiple of num_heads, got 64 and 5"),
        ({"num_heads": 5}, "embed_dim must be a multiple of num_heads, got 32 and 5"),
        ({"pyramid_channels": (8, 8, 8)}, "out_channels must be four numbers"),
        ({"image_size": 30}, "patch_size is 8, the image is 30 x 30 pixels"),
        ({"image_size": (32, 32, 32)}, "image_size must be one positive whole number"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveClick(**{**SMALL, **options})
