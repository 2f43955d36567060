from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks.feature_pyramid import FeaturePyramid


@pytest.mark.parametrize("grid", [(4, 6), (3, 5), (1, 1), (2, 7)])
@torch.no_grad()
def test_sizes(grid):
    height, width = grid
    maps = FeaturePyramid(16, (4, 6, 8, 10))(torch.randn(2, 16, height, width))
    assert [tuple(each.shape) for each in maps] == [
        (2, 4, 4 * height, 4 * width),
        (2, 6, 2 * height, 2 * width),
        (2, 8, height, width),
        (2, 10, -(-height // 2), -(-width // 2)),
    ]


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "wide"),
    [(768, (256, 512, 1024, 2048), (512, 512, 2048)), (768, (128, 256, 512, 1024), (384, 384, 1536))],
)
def test_widths(in_channels, out_channels, wide):
    with torch.device("meta"):
        pyramid = FeaturePyramid(in_channels, out_channels)
    assert pyramid.stride4[0].weight.shape == (in_channels, wide[0], 2, 2)
    assert pyramid.stride4[3].weight.shape == (wide[0], wide[0] // 2, 2, 2)
    assert pyramid.stride4[5].weight.shape == (out_channels[0], wide[0] // 2, 1, 1)
    assert pyramid.stride8[0].weight.shape == (in_channels, wide[1], 2, 2)
    assert pyramid.stride16[0].weight.shape == (out_channels[2], in_channels, 1, 1)
    assert pyramid.stride32[0].weight.shape == (wide[2], in_channels, 2, 2)
    assert pyramid.stride32[2].weight.shape == (out_channels[3], wide[2], 1, 1)


@torch.no_grad()
def test_stride_16_by_hand():
    torch.manual_seed(0)
    pyramid, x = FeaturePyramid(8, (4, 4, 6, 4)), torch.randn(2, 8, 3, 4)
    convolution = pyramid.stride16[0]
    mixed = torch.einsum("oc,bchw->bohw", convolution.weight[:, :, 0, 0], x) + convolution.bias[:, None, None]
    mean = mixed.mean((1, 2, 3), keepdim=True)
    variance = mixed.var((1, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(pyramid(x)[2], F.gelu((mixed - mean) / (variance + 1e-5).sqrt()))


@torch.no_grad()
def test_an_odd_grid_is_extended_by_its_last_row_and_column():
    pyramid, x = FeaturePyramid(8, (4, 4, 4, 4)), torch.randn(1, 8, 3, 5)
    longer = torch.cat([x, x[:, :, -1:]], dim=2)
    extended = torch.cat([longer, longer[..., -1:]], dim=3)
    torch.testing.assert_close(pyramid(x)[3], pyramid.stride32(extended))


@pytest.mark.parametrize("out_channels", [(1, 2, 3), (1, 2, 3, 4, 5), ()])
def test_out_channels_must_be_four(out_channels):
    with pytest.raises(ValueError, match="out_channels must be four numbers"):
        FeaturePyramid(8, out_channels)


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_products_of_tokens_equal_the_convolutions(size):
    pyramid, x = FeaturePyramid(8, (8, 12, 16, 24)), torch.randn(2, 8, *size)
    for found, layers in zip(pyramid(x)[:3], (pyramid.stride4, pyramid.stride8, pyramid.stride16), strict=True):
        torch.testing.assert_close(found, layers(x), atol=1e-5, rtol=1e-5)
