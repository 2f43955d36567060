from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference.derived_clicks import clicks_of_mask


def empty(height=40, width=60):
    return np.zeros((height, width), dtype=bool)


def disk(row, column, radius, mask=None):
    rows, columns = np.ogrid[:40, :60]
    found = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return found if mask is None else mask | found


class TestPositive:
    def test_nothing(self):
        assert clicks_of_mask(empty()) == []
        assert clicks_of_mask(empty(), max_negative=5) == []

    def test_the_deepest_point(self):
        assert clicks_of_mask(disk(18, 25, 9), max_negative=0) == [Click(18, 25)]
        mask = disk(18, 25, 9)
        mask[17:20, 25:58] = True  # a long tail moves the mean, not the click
        assert clicks_of_mask(mask, max_negative=0) == [Click(18, 25)]

    def test_one_pixel(self):
        mask = empty()
        mask[39, 59] = True
        assert clicks_of_mask(mask) == [Click(39, 59)]

    @pytest.mark.parametrize("turned", [False, True])
    def test_the_middle_of_what_is_thin(self, turned):
        """Not its end, where an object is least certain."""
        mask = empty()
        mask[10, 5:38] = True
        mask[20:24, 8:41] = True
        found = clicks_of_mask(mask.T if turned else mask, max_negative=0)
        line, bar = [(click.column, click.row) if turned else (click.row, click.column) for click in found]
        assert line == (10, 21)
        assert bar in {(21, 24), (22, 24)}

    def test_a_ring_is_clicked_on_the_ring(self):
        mask = disk(20, 30, 14) & ~disk(20, 30, 8)
        (positive,) = [click for click in clicks_of_mask(mask) if click.positive]
        assert mask[int(positive.row), int(positive.column)]

    def test_parts_the_largest_last(self):
        mask = disk(10, 10, 5) | disk(25, 30, 8) | disk(30, 50, 6)
        found = clicks_of_mask(mask, max_negative=0)
        assert found == [Click(10, 10), Click(30, 50), Click(25, 30)]
        assert clicks_of_mask(mask, max_negative=0, max_positive=2) == found[1:]
        assert clicks_of_mask(mask, max_negative=0, max_positive=1) == found[2:]

    def test_small_parts_do_not_count(self):
        mask = disk(25, 30, 8)
        mask[3:8, 3:9] = True  # 30 of 197 pixels
        assert clicks_of_mask(mask, max_negative=0) == [Click(25, 30)]
        assert len(clicks_of_mask(mask, max_negative=0, min_share=0.15)) == 2
        mask[3:8, 9:11] = True  # 40
        assert len(clicks_of_mask(mask, max_negative=0)) == 2

    def test_corners_connect(self):
        mask = empty()
        mask[5:10, 5:10] = mask[10:15, 10:15] = True
        assert len(clicks_of_mask(mask, max_negative=0)) == 1

    def test_all_of_the_picture(self):
        (click,) = clicks_of_mask(~empty(41, 61))
        assert (click.row, click.column) == (20, 30)


class TestNegative:
    def test_a_hole(self):
        mask = disk(20, 30, 14) & ~disk(18, 33, 5)
        found = clicks_of_mask(mask)
        assert found[0] == Click(18, 33, positive=False)
        assert [click.positive for click in found] == [False, True]
        assert clicks_of_mask(mask, max_negative=0) == found[1:]

    def test_a_bay(self):
        mask = empty()
        mask[5:35, 5:45] = True
        mask[5:25, 20:31] = False
        (click,) = [click for click in clicks_of_mask(mask) if not click.positive]
        assert not mask[int(click.row), int(click.column)]
        assert 20 < click.column < 30
        assert 5 <= click.row < 25

    def test_none_without_a_gap(self):
        mask = empty()
        mask[5:35, 5:45] = True
        assert clicks_of_mask(mask, max_negative=3) == [click for click in clicks_of_mask(mask) if click.positive]
        mask[20, 30] = False  # one pixel is no hole
        assert all(click.positive for click in clicks_of_mask(mask, max_negative=3))

    def test_several_the_deepest_first(self):
        mask = ~disk(20, 22, 5) & ~disk(20, 38, 4)
        found = [click for click in clicks_of_mask(mask, max_negative=2) if not click.positive]
        assert found == [Click(20, 22, positive=False), Click(20, 38, positive=False)]

    def test_a_shallow_gap_beside_a_deep_object_does_not_count(self):
        mask = ~empty()
        mask[8:11, 20:23] = False
        assert all(click.positive for click in clicks_of_mask(mask))
        assert not all(click.positive for click in clicks_of_mask(mask, min_share=0.05))


class TestAnyMask:
    def test_clicks_lie_where_they_say_and_nothing_is_changed(self):
        random = np.random.RandomState(0)
        for _ in range(30):
            mask = empty()
            for _ in range(random.randint(1, 6)):
                mask ^= disk(random.randint(40), random.randint(60), random.randint(1, 15))
            before = mask.copy()
            found = clicks_of_mask(mask, max_negative=2)
            assert found == clicks_of_mask(mask, max_negative=2)
            assert found == clicks_of_mask(np.asfortranarray(mask), max_negative=2)
            assert np.array_equal(mask, before)
            for click in found:
                assert mask[int(click.row), int(click.column)] == click.positive
                assert (click.row, click.column) == (int(click.row), int(click.column))
            signs = [click.positive for click in found]
            assert signs == sorted(signs)
            assert signs.count(False) <= 2
            assert 1 <= signs.count(True) <= 3 or not mask.any()
