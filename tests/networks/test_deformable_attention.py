from __future__ import annotations

import math

import pytest
import torch

from adaptiveclick_med.networks.deformable_attention import MultiScaleDeformableAttention, reference_points

SIZES = [(2, 3), (4, 5), (7, 6)]


def bilinear(plane: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """Sample [C, H, W] at pixel coordinates; everything outside is zero."""
    total = torch.zeros(plane.shape[0], dtype=plane.dtype)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < plane.shape[1] and 0 <= c < plane.shape[2]:
                total += plane[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def slow(attention: MultiScaleDeformableAttention, query, reference, values, sizes):
    """The same in loops over everything."""
    batch, length, width = query.shape
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    each = width // heads
    result = torch.zeros(batch, length, width, dtype=query.dtype)
    projected = attention.value_proj(values)
    for b in range(batch):
        for q in range(length):
            offsets = attention.sampling_offsets(query[b, q]).reshape(heads, levels, points, 2)
            weights = attention.attention_weights(query[b, q]).reshape(heads, levels * points)
            weights = weights.softmax(-1).reshape(heads, levels, points)
            for h in range(heads):
                start = 0
                for level, (height, columns) in enumerate(sizes):
                    plane = projected[b, start : start + height * columns, h * each : (h + 1) * each]
                    plane = plane.T.reshape(each, height, columns)
                    start += height * columns
                    for p in range(points):
                        x = reference[q, 0] + offsets[h, level, p, 0] / columns
                        y = reference[q, 1] + offsets[h, level, p, 1] / height
                        sampled = bilinear(plane, float(y * height - 0.5), float(x * columns - 0.5))
                        result[b, q, h * each : (h + 1) * each] += weights[h, level, p] * sampled
    return attention.output_proj(result)


@torch.no_grad()
def test_equals_the_slow_loop():
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=3, num_points=2).double()
    for parameter in attention.parameters():
        parameter.normal_()
    length = sum(height * width for height, width in SIZES)
    query, values = torch.randn(2, 9, 8).double(), torch.randn(2, length, 8).double()
    reference = torch.rand(9, 2).double()
    expected = slow(attention, query, reference, values, SIZES)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(attention(query, reference, values, SIZES), expected)


def test_reference_points_are_pixel_centres_with_x_first():
    points = reference_points([(1, 2), (2, 1)], device=torch.device("cpu"), dtype=torch.float64)
    assert points.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


@torch.no_grad()
def test_fresh_weights_look_along_rays_with_equal_weights():
    attention = MultiScaleDeformableAttention(16, num_heads=4, num_levels=3, num_points=4)
    query = torch.randn(1, 5, 16)
    offsets = attention.sampling_offsets(query).reshape(5, 4, 3, 4, 2)
    for head, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        for point in range(4):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            torch.testing.assert_close(offsets[:, head, :, point], expected.expand(5, 3, 2), atol=1e-6, rtol=0)
    assert (attention.attention_weights(query) == 0).all()


def test_gradients():
    torch.manual_seed(1)
    attention = MultiScaleDeformableAttention(4, num_heads=2, num_levels=2, num_points=2).double()
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.rand_like(attention.sampling_offsets.bias))
    sizes = [(2, 2), (3, 2)]
    reference = reference_points(sizes, device=torch.device("cpu"), dtype=torch.float64)
    query = torch.randn(1, 10, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 10, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, v: attention(q, reference, v, sizes), (query, values))


def test_width_must_be_a_multiple_of_the_heads():
    with pytest.raises(ValueError, match="embed_dim must be a multiple of num_heads, got 10 and 4"):
        MultiScaleDeformableAttention(10, num_heads=4)


@torch.no_grad()
@pytest.mark.parametrize("spread", [0.5, 3.0, 40.0])
def test_both_ways_to_sample_agree(spread):
    torch.manual_seed(1)
    attention = MultiScaleDeformableAttention(16, num_heads=4, num_levels=3, num_points=4)
    attention.sampling_offsets.bias.mul_(spread)
    for layer in (attention.sampling_offsets, attention.attention_weights):
        layer.weight.normal_()
    length = sum(height * width for height, width in SIZES)
    query, values = torch.randn(2, length, 16), torch.randn(2, length, 16)
    reference = reference_points(SIZES, device=query.device, dtype=torch.float32)
    gathered = attention(query, reference, values, SIZES)
    with torch.enable_grad():
        sampled = attention(query, reference, values, SIZES)
    torch.testing.assert_close(gathered, sampled, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_infinite_and_distant_places_find_nothing():
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=1, num_points=1)
    attention.sampling_offsets.bias.copy_(torch.tensor([1e9, 0.0, 0.0, -1e9]))
    found = attention(torch.zeros(1, 4, 8), torch.full((4, 2), 0.5), torch.ones(1, 4, 8), [(2, 2)])
    torch.testing.assert_close(found, attention.output_proj.bias.expand(1, 4, 8))


@torch.no_grad()
def test_nan_goes_on():
    """It ends a training with a message of its own, not with an index out of range."""
    query, sizes = torch.randn(1, 20, 64), [(2, 2), (4, 4)]
    attention = MultiScaleDeformableAttention(64, num_heads=4, num_levels=2)
    query[0, 3] = torch.nan
    reference = reference_points(sizes, device=query.device, dtype=torch.float32)
    found = attention(query, reference, torch.randn(1, 20, 64), sizes)
    assert found[0, 3].isnan().all() and found[0, [0, 19]].isfinite().all()
