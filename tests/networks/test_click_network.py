"""What holds for every network and preset."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from adaptiveclick_med.networks import AdaptiveClick, AdaptiveClickOutput, ClickNetwork, SimpleClick, build_network
from adaptiveclick_med.networks.click_network import IMAGENET_MEAN, IMAGENET_STD, as_size, upsample_to

NETWORKS = ("AdaptiveClick", "SimpleClick")
SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "window_size": 2,
    "pyramid_channels": (8, 12, 16, 20),
}
DECODERS = {
    "decoder_dim": 64,
    "decoder_heads": 4,
    "pixel_decoder_layers": 1,
    "pixel_feedforward_dim": 32,
    "num_queries": 4,
    "click_decoder_layers": 3,
    "click_feedforward_dim": 32,
}


def small(name, seed=0, **options):
    torch.manual_seed(seed)
    if name == "AdaptiveClick":
        return AdaptiveClick(**{**SMALL, **DECODERS, **options}).eval()
    return SimpleClick(**{**SMALL, "head_dim": 16, **options}).eval()


def clicked(*size, batch=2, seed=0):
    """[B, 6, H, W] with an image, a previous mask and two disks."""
    x = torch.rand(batch, 6, *size, generator=torch.Generator().manual_seed(seed))
    x[:, 4:] = (x[:, 4:] > 0.9).float()
    return x


def disturb(network):
    """Move every weight off its fresh value, so that nothing is zero by initialisation."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("preset", "size"), [("nano", 32), ("tiny", 32), ("small", 32)])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_backward_and_export(name, preset, size):
    torch.manual_seed(0)
    network = disturb(build_network(name, preset, image_size=size))
    x = clicked(size, size)

    network.train()
    output = network(x)
    if name == "AdaptiveClick":
        assert isinstance(output, AdaptiveClickOutput)
        layers = network.arguments["click_decoder_layers"]
        stride = network.arguments["patch_size"] // 4
        assert output.logits.shape == (2, 1, size, size)
        assert output.mask_logits.shape == (2, 10, size // stride, size // stride)
        assert output.click_logits.shape == (2, 10, 2)
        assert len(output.auxiliary) == layers
        assert {masks.shape for masks, _ in output.auxiliary} == {output.mask_logits.shape}
        assert {clicks.shape for _, clicks in output.auxiliary} == {output.click_logits.shape}
        assert output.features is None
        parts = [output.logits, output.mask_logits, output.click_logits]
        parts += [tensor for pair in output.auxiliary for tensor in pair]
    else:
        assert isinstance(output, torch.Tensor)
        assert output.shape == (2, 1, size, size)
        parts = [output]
    sum(part.square().mean() for part in parts).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name

    network.eval()
    with torch.no_grad():
        logits = network(x)
        assert isinstance(logits, torch.Tensor)
        assert logits.shape == (2, 1, size, size)
        traced = torch.jit.trace(network, clicked(size, size, seed=1), check_trace=False)
        torch.testing.assert_close(traced(x), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (24, 40), (8, 72), (56, 16)])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_any_multiple_of_the_patch(name, size):
    network = small(name)
    output = network.predict(clicked(*size), return_features=True)
    assert output.logits.shape == (2, 1, *size)
    assert output.logits.isfinite().all()
    grid = (size[0] // 8, size[1] // 8)
    assert output.features["encoder"].shape == (2, 32, *grid)
    assert output.features["pyramid_0"].shape == (2, 8, 4 * grid[0], 4 * grid[1])
    assert output.features["pyramid_3"].shape == (2, 20, -(-grid[0] // 2), -(-grid[1] // 2))
    assert network(clicked(*size, batch=1)).shape == (1, 1, *size)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_patch_14(name):
    network = small(name, patch_size=14, image_size=(28, 56))
    output = network.predict(clicked(42, 28))
    assert output.logits.shape == (2, 1, 42, 28)
    if name == "AdaptiveClick":
        assert output.mask_logits.shape == (2, 4, 12, 8)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_samples_of_a_batch_are_independent(name):
    network, x = small(name), clicked(24, 40, batch=3)
    together = network(x)
    for index in range(3):
        torch.testing.assert_close(together[index], network(x[index, None])[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(x.flip(0)), together.flip(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_predict_is_the_same_in_both_modes_and_equals_forward(name):
    network, x = small(name, **({"dropout": 0.0} if name == "SimpleClick" else {})), clicked(24, 40)
    inference = network.predict(x)
    quick = network.predict(x, auxiliary=False)  # the projection of the pixels is moved to the queries
    assert torch.equal(network(x), quick.logits)
    torch.testing.assert_close(quick.logits, inference.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(network.predict(x, return_features=True).logits, inference.logits)
    network.train()
    training = network.predict(x)
    for ours, theirs in zip(inference[:3], training[:3], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(training.auxiliary) == len(inference.auxiliary)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_channel_matters(name):
    network, x = disturb(small(name)), clicked(32, 32)
    before = network(x)
    for channel in range(6):
        changed = x.clone()
        changed[:, channel] = 1 - changed[:, channel]
        assert not torch.allclose(network(changed), before)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_image_is_normalised_inside(name):
    network, x = small(name), clicked(32, 32)
    plain = small(name, image_mean=(0, 0, 0), image_std=(1, 1, 1))
    assert network.arguments["image_mean"] == list(IMAGENET_MEAN)
    normalised = x.clone()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised[:, :3] = (x[:, :3] - mean) / std
    torch.testing.assert_close(network(x), plain(normalised))
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_other_precisions(name, dtype):
    network, x = small(name), clicked(32, 32)
    if dtype != torch.float64:
        with torch.autocast("cpu", dtype):
            assert network(x).isfinite().all()
    logits = copy.deepcopy(network).to(dtype)(x.to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()
    if dtype == torch.float64:
        torch.testing.assert_close(logits.float(), network(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 32, 32), r"shape \[B, 6, H, W\], got \[1, 5, 32, 32\]"),
        ((6, 32, 32), r"shape \[B, 6, H, W\], got \[6, 32, 32\]"),
        ((1, 6, 32, 30), "patch_size is 8, the image is 32 x 30 pixels"),
        ((1, 6, 4, 32), "patch_size is 8, the image is 4 x 32 pixels"),
        ((1, 6, 0, 32), "patch_size is 8, the image is 0 x 32 pixels"),
    ],
)
def test_input_shape(name, shape, message):
    network = small(name)
    for mode in (True, False):
        with pytest.raises(ValueError, match=message):
            network.train(mode)(torch.zeros(shape))
    with pytest.raises(ValueError, match=message):
        network.predict(torch.zeros(shape))


class TestSize:
    @pytest.mark.parametrize(
        ("given", "expected"), [(448, (448, 448)), ((32, 64), (32, 64)), ([8, 8], (8, 8)), (np.int64(16), (16, 16))]
    )
    def test_one_number_or_two(self, given, expected):
        size = as_size(given)
        assert size == expected
        assert all(type(side) is int for side in size)

    @pytest.mark.parametrize("given", [0, -16, (32,), (32, 32, 32), (32, 0), 32.0, (32.5, 32), "32", "ab", None])
    def test_anything_else(self, given):
        with pytest.raises(ValueError, match="image_size must be one positive whole number or"):
            as_size(given)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_recorded_in_plain_types(self, name):
        assert small(name, image_size=(32, 64)).arguments["image_size"] == [32, 64]
        assert small(name, image_size=np.int64(32)).arguments["image_size"] == [32, 32]


@torch.no_grad()
def test_upsampling_aligns_corners():
    small_map = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    result = upsample_to(small_map, torch.zeros(1, 6, 3, 5))
    assert result[0, 0].tolist() == [[0, 0.25, 0.5, 0.75, 1], [1, 1.25, 1.5, 1.75, 2], [2, 2.25, 2.5, 2.75, 3]]


def test_the_base_class_has_no_answer():
    network = ClickNetwork(
        8,
        encoder={"patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1},
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )
    with pytest.raises(NotImplementedError, match="ClickNetwork must define predict"):
        network.predict(torch.zeros(1, 6, 8, 8))
