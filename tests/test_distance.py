from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from adaptiveclick_med.distance import (
    _transform_on_device,
    bounding_box,
    distance_to_background,
    squared_depth,
    squared_distance_to_background,
)


def brute_force(mask: Tensor) -> Tensor:
    """Squared distances of one mask [H, W], from every pixel to every pixel outside."""
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    outside = (~padded).nonzero()
    result = torch.zeros(mask.shape, dtype=torch.int32)
    for row, column in mask.nonzero().tolist():
        result[row, column] = (outside - torch.tensor([row + 1, column + 1])).square().sum(1).min()
    return result


@pytest.fixture(params=["scipy", "device"])
def transform(request):
    return squared_distance_to_background if request.param == "scipy" else _transform_on_device


def test_hand_computed_block(transform):
    mask = torch.zeros(1, 6, 7, dtype=torch.bool)
    mask[0, 1:5, 2:6] = True
    expected = torch.tensor([[1, 1, 1, 1], [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1]], dtype=torch.int32)
    squares = transform(mask)
    assert torch.equal(squares[0, 1:5, 2:6], expected)
    assert squares.sum() == expected.sum()


def test_image_border_is_outside(transform):
    squares = transform(torch.ones(1, 5, 9, dtype=torch.bool))
    rows = torch.tensor([1, 2, 3, 2, 1])[:, None]
    columns = torch.tensor([1, 2, 3, 4, 5, 4, 3, 2, 1])[None]
    assert torch.equal(squares[0], torch.minimum(rows, columns).square().int())


def test_single_pixels_and_empty_masks(transform):
    mask = torch.zeros(3, 4, 4, dtype=torch.bool)
    mask[0, 0, 0] = mask[2, 3, 1] = True
    assert torch.equal(transform(mask), mask.int())
    assert torch.equal(transform(torch.ones(1, 1, 1, dtype=torch.bool)), torch.ones(1, 1, 1, dtype=torch.int32))


@pytest.mark.parametrize("size", [(1, 7), (9, 1), (13, 10), (8, 17)])
@pytest.mark.parametrize("density", [0.3, 0.8, 0.97])
def test_both_ways_are_exact(size, density):
    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(3, *size, generator=generator) < density
    expected = torch.stack([brute_force(mask) for mask in masks])
    assert torch.equal(squared_distance_to_background(masks), expected)
    assert torch.equal(_transform_on_device(masks), expected)


@pytest.mark.parametrize("size", [(60, 83), (90, 64)])
def test_device_path_equals_scipy_on_smooth_regions(size):
    noise = np.random.RandomState(0).random_sample((4, *size))
    masks = torch.from_numpy(ndimage.gaussian_filter(noise, (0, 4, 4)) > 0.49)
    squares = squared_distance_to_background(masks)
    assert squares.max() > 30
    assert torch.equal(_transform_on_device(masks), squares)


def test_device_path_in_chunks(monkeypatch):
    masks = torch.rand(2, 12, 9, generator=torch.Generator().manual_seed(1)) < 0.9
    whole = _transform_on_device(masks)
    monkeypatch.setattr("adaptiveclick_med.distance._CHUNK_ELEMENTS", 200)
    assert torch.equal(_transform_on_device(masks), whole)


def test_other_devices_use_the_device_path():
    squares = squared_distance_to_background(torch.empty(2, 1, 6, 5, dtype=torch.bool, device="meta"))
    assert squares.device.type == "meta"
    assert squares.shape == (2, 1, 6, 5)
    assert squares.dtype == torch.int32


def test_distance_is_the_square_root():
    mask = torch.ones(2, 1, 9, 9, dtype=torch.bool)
    mask[1, 0, 3, 3] = False
    distances = distance_to_background(mask)
    assert distances.dtype == torch.float32
    assert distances.shape == mask.shape
    assert torch.equal(distances, squared_distance_to_background(mask).float().sqrt())
    assert distances[1, 0, 5, 4] == torch.tensor(5.0).sqrt()


def test_zero_sized_batch():
    assert squared_distance_to_background(torch.zeros(0, 4, 4, dtype=torch.bool)).shape == (0, 4, 4)


def test_squared_depth_and_box():
    mask = np.zeros((8, 9), dtype=bool)
    assert bounding_box(mask) is None
    mask[2:5, 3:8] = True
    mask[4, 3] = False
    assert bounding_box(mask) == (slice(2, 5), slice(3, 8))
    assert squared_depth(mask)[3].tolist() == [0, 0, 0, 1, 2, 4, 4, 1, 0]


def test_bad_input():
    with pytest.raises(TypeError, match=r"mask must be a boolean tensor, got a tensor of torch\.float32"):
        distance_to_background(torch.zeros(1, 4, 4))
    with pytest.raises(TypeError, match="got ndarray"):
        distance_to_background(np.zeros((1, 4, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"mask must be of shape .* got \[1, 2, 4, 4\]"):
        distance_to_background(torch.zeros(1, 2, 4, 4, dtype=torch.bool))
