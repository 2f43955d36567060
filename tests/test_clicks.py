from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click, Clicks, click_maps, points_tensor


def points(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


EMPTY = (-1.0, -1.0, -1.0)


class TestClick:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_coordinates_must_be_finite(self, value):
        with pytest.raises(ValueError, match="row of a click must be a finite number"):
            Click(value, 0)
        with pytest.raises(ValueError, match="column of a click must be a finite number"):
            Click(0, value)

    def test_is_positive_unless_said_otherwise_and_cannot_be_changed(self):
        click = Click(1.5, -2)
        assert (click.row, click.column, click.positive) == (1.5, -2, True)
        with pytest.raises(AttributeError):
            click.row = 3


class TestClicks:
    def test_order_and_signs(self):
        made = [Click(1, 2), Click(3, 4, positive=False), Click(5, 6), Click(7, 8, positive=False)]
        clicks = Clicks(iter(made))
        assert list(clicks) == made
        assert clicks.positive == [made[0], made[2]]
        assert clicks.negative == [made[1], made[3]]
        assert clicks[-1] == made[3]
        assert isinstance(clicks[1:3], Clicks)
        assert list(clicks[1:3]) == made[1:3]
        assert made[2] in clicks

    def test_undo_takes_the_newest_until_none_is_left(self):
        clicks = Clicks([Click(1, 2), Click(3, 4, positive=False)])
        assert clicks.undo() == Click(3, 4, positive=False)
        assert clicks.undo() == Click(1, 2)
        with pytest.raises(IndexError, match="no click to undo"):
            clicks.undo()
        assert len(clicks) == 0

    def test_clear(self):
        clicks = Clicks([Click(1, 2)])
        clicks.clear()
        assert list(clicks) == []

    def test_copies_are_independent(self):
        made = [Click(1, 2)]
        clicks = Clicks(made)
        copy = clicks.copy()
        copy.add(Click(3, 4))
        made.append(Click(5, 6))
        clicks[:].clear()
        assert len(clicks) == 1
        assert len(copy) == 2

    def test_moved_keeps_signs_and_order(self):
        clicks = Clicks([Click(1, 2, positive=False), Click(3, 4)])
        moved = clicks.moved(lambda row, column: (row / 2, column - 10))
        assert list(moved) == [Click(0.5, -8, positive=False), Click(1.5, -6)]
        assert clicks[0] == Click(1, 2, positive=False)

    def test_equality_and_repr(self):
        clicks = Clicks([Click(1, 2)])
        assert clicks == Clicks([Click(1.0, 2.0)])
        assert clicks != Clicks([Click(1, 2, positive=False)])
        assert clicks != [Click(1, 2)]
        assert eval(repr(clicks)) == clicks
        with pytest.raises(TypeError):
            hash(clicks)


class TestPointsTensor:
    def test_positive_first_then_negative_with_the_order_of_all(self):
        batch = [[Click(1, 2), Click(3, 4, positive=False), Click(5.5, 6)], []]
        expected = [[[1, 2, 0], [5.5, 6, 2], [3, 4, 1], EMPTY], [EMPTY] * 4]
        result = points_tensor(batch)
        assert result.dtype == torch.float32
        assert result.tolist() == [[list(place) for place in row] for row in expected]

    def test_capacity(self):
        batch = [[Click(1, 2), Click(3, 4, positive=False), Click(5, 6)]]
        assert points_tensor(batch, capacity=2).shape == (1, 4, 3)
        wide = points_tensor(batch, capacity=24, dtype=torch.float64)
        assert wide.shape == (1, 48, 3)
        assert wide.dtype == torch.float64
        assert wide[0, 24].tolist() == [3, 4, 1]
        with pytest.raises(ValueError, match="capacity is 1, but an object has 2 clicks of one sign"):
            points_tensor(batch, capacity=1)

    @pytest.mark.parametrize("capacity", [None, 3])
    def test_no_objects(self, capacity):
        assert points_tensor([], capacity=capacity).shape == (0, 2 * (capacity or 1), 3)

    def test_no_clicks_leave_one_empty_place_for_each_sign(self):
        assert points_tensor([[]]).tolist() == [[list(EMPTY), list(EMPTY)]]

    def test_padding_changes_no_map(self):
        batch = [Clicks([Click(5, 5), Click(20, 9, positive=False)])]
        for encoding in ("disk", "distance"):
            narrow, wide = (click_maps(points_tensor(batch, capacity=n), (24, 16), encoding=encoding) for n in (1, 9))
            assert torch.equal(narrow, wide)


class TestClickMaps:
    def test_disk_by_hand(self):
        maps = click_maps(points((2, 3, 0), EMPTY), (5, 6), radius=2)
        expected = [
            [0, 0, 0, 1, 0, 0],
            [0, 0, 1, 1, 1, 0],
            [0, 1, 1, 1, 1, 1],
            [0, 0, 1, 1, 1, 0],
            [0, 0, 0, 1, 0, 0],
        ]
        assert maps.shape == (1, 2, 5, 6)
        assert maps[0, 0].tolist() == expected
        assert maps[0, 1].sum() == 0

    def test_rim_at_exactly_the_radius_belongs_to_the_disk(self):
        disk = click_maps(points((10, 10, 0), EMPTY), (21, 21))[0, 0]
        assert disk[5, 10] == disk[10, 15] == disk[7, 6] == disk[13, 14] == 1
        assert disk[6, 6] == disk[4, 10] == disk[10, 16] == 0
        assert disk.sum() == 81

    def test_fractional_coordinates_are_not_rounded(self):
        disk = click_maps(points((2.5, 2.5, 0), EMPTY), (6, 6), radius=math.sqrt(0.5) + 1e-6)[0, 0]
        assert disk.nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
        disk = click_maps(points((2.4, 2.0, 0), EMPTY), (6, 6), radius=0.5)[0, 0]
        assert disk.nonzero().tolist() == [[2, 2]]

    def test_distance_by_hand(self):
        maps = click_maps(points((0, 0, 0), EMPTY), (2, 2), radius=5, encoding="distance")
        expected = [[0, math.tanh(0.4)], [math.tanh(0.4), math.tanh(0.4 * math.sqrt(2))]]
        np.testing.assert_allclose(maps[0, 0], expected, atol=1e-6)
        assert (maps[0, 1] == 1).all()

    def test_distance_is_to_the_nearest_click(self):
        maps = click_maps(points((0, 0, 0), (0, 9, 1), EMPTY, EMPTY), (1, 10), encoding="distance")[0, 0, 0]
        expected = [math.tanh(0.4 * min(column, 9 - column)) for column in range(10)]
        np.testing.assert_allclose(maps, expected, atol=1e-6)

    @pytest.mark.parametrize("encoding", ["disk", "distance"])
    def test_maps_are_the_union_over_clicks_of_a_sign(self, encoding):
        R = np.random.RandomState(3)
        places = [(*R.uniform(-3, 30, 2), float(order)) for order in range(6)]
        together = click_maps(points(*places), (25, 31), encoding=encoding)
        join = torch.maximum if encoding == "disk" else torch.minimum
        for sign in (0, 1):
            alone = [
                click_maps(points(place, EMPTY), (25, 31), encoding=encoding)[0, 0]
                for place in places[3 * sign : 3 * sign + 3]
            ]
            assert torch.equal(together[0, sign], join(join(alone[0], alone[1]), alone[2]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("radius", [0.5, 3.0, 5.0, 7.3])
    def test_disks_on_the_cpu_are_those_of_distances(self, radius, dtype):
        generator = torch.Generator().manual_seed(0)
        places = torch.rand(6, 8, 3, generator=generator, dtype=dtype) * 60 - 10
        places[:2] = places[:2].round()
        places[2:4] = (2 * places[2:4]).round() / 2
        places[torch.rand(6, 8, generator=generator) < 0.2] = -1
        rows, columns = torch.arange(40, dtype=dtype)[:, None], torch.arange(33, dtype=dtype)
        squares = (rows - places[..., 0, None, None]).square() + (columns - places[..., 1, None, None]).square()
        disks = (squares <= radius * radius) & (places[..., :2].amax(-1) >= 0)[..., None, None]
        maps = click_maps(places, (40, 33), radius)
        assert maps.dtype == dtype
        assert torch.equal(maps, disks.reshape(6, 2, 4, 40, 33).any(2).to(dtype))

    def test_padding_means_that_both_coordinates_are_negative(self):
        size = (8, 8)
        for place in [(-0.5, -0.5, 0), (-1, -1, -1), (-1, -1, 3), (-1e-6, -4, 0)]:
            assert click_maps(points(place, EMPTY), size).sum() == 0
        for place, first in {(-1, 3, 0): (0, 3), (3, -1, 0): (3, 0), (0, -2, 0): (0, 0)}.items():
            disk = click_maps(points(place, EMPTY), size)[0, 0]
            assert disk.sum() > 0
            assert disk[first] == 1

    def test_a_click_outside_the_image_paints_what_reaches_it(self):
        disk = click_maps(points((3, 11, 0), EMPTY), (8, 8), radius=5)[0, 0]
        assert disk.nonzero().tolist() == [[0, 7], [1, 7], [2, 7], [3, 6], [3, 7], [4, 7], [5, 7], [6, 7]]
        assert click_maps(points((100, 100, 0), EMPTY), (8, 8)).sum() == 0

    def test_objects_of_a_batch_are_independent(self):
        one, two = points((1, 1, 0), EMPTY), points(EMPTY, (6, 6, 0))
        both = click_maps(torch.cat([one, two]), (8, 9))
        assert torch.equal(both, torch.cat([click_maps(one, (8, 9)), click_maps(two, (8, 9))]))

    def test_types(self):
        assert click_maps(points((1, 1, 0), EMPTY).double(), (4, 4)).dtype == torch.float64
        assert torch.equal(
            click_maps(points((1, 1, 0), EMPTY).long(), (4, 4)), click_maps(points((1, 1, 0), EMPTY), (4, 4))
        )

    def test_no_places_at_all(self):
        assert click_maps(torch.zeros(2, 0, 3), (4, 5)).sum() == 0
        assert (click_maps(torch.zeros(2, 0, 3), (4, 5), encoding="distance") == 1).all()

    @pytest.mark.parametrize("shape", [(4, 3), (1, 3, 3), (1, 4, 2), (1, 1, 4, 3)])
    def test_shape_of_points(self, shape):
        with pytest.raises(ValueError, match=r"points must be of shape \[B, 2N, 3\]"):
            click_maps(torch.zeros(shape), (4, 4))

    def test_unknown_encoding(self):
        with pytest.raises(ValueError, match="encoding must be 'disk' or 'distance', got 'gauss'"):
            click_maps(torch.zeros(1, 2, 3), (4, 4), encoding="gauss")

    @pytest.mark.parity
    def test_reference_maps(self, golden: Any):
        description, tensors = golden("g3_distmaps")
        size = tuple(description["size"])
        for case in description["cases"]:
            given = {
                key: tensors[f"{case['id']}/{key}"] for key in ("points", "disks_r5", "tanh_r5", "disks_r3_scale0.5")
            }
            maps = click_maps(given["points"], size)
            assert torch.equal(maps, given["disks_r5"].float()), case["name"]
            assert maps.sum((2, 3)).tolist() == case["disk_area"]
            torch.testing.assert_close(
                click_maps(given["points"], size, encoding="distance"), given["tanh_r5"], atol=1e-6, rtol=0
            )
            half = given["points"].clone()
            half[..., :2] *= 0.5
            assert torch.equal(click_maps(half, size, 1.5), given["disks_r3_scale0.5"].float()), case["name"]
