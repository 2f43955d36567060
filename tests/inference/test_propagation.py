from __future__ import annotations

import numpy as np
import pytest
from long_objects import AXES, BOX, POST, SHAPE, asked, make, region, scene

from adaptiveclick_med.inference import Propagation, PropagationRule, Stop


def reasons(carried):
    return {key: (stop.reason, stop.index) for key, stop in carried.stops.items()}


class TestStops:
    @pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, 1, -1, 1])])
    def test_the_object_ends(self, bright, affine):
        session = make(bright, affine=affine)
        session.click((10, 10, 12))
        carried = session.propagate()
        assert isinstance(carried, Propagation)
        assert (carried.label, carried.plane) == (1, "axial")
        assert carried.slices == (*range(6, 12), *range(13, 26))
        assert reasons(carried) == {(12, "up"): ("empty", 25), (12, "down"): ("empty", 6)}
        assert carried.computed == len(bright.calls) - 1
        assert np.array_equal(session.mask(), region(BOX))
        assert set(asked(bright)) <= set(range(5, 27))

    def test_the_end_of_the_volume(self, bright):
        session = make(bright)
        session.click((25, 18, 12))
        carried = session.propagate()
        assert reasons(carried) == {(12, "up"): ("end of volume", 31), (12, "down"): ("end of volume", 0)}
        assert carried.computed == 31
        assert np.array_equal(session.mask(), region(POST))
        for k in (0, 31):
            session.reset()
            session.click((25, 18, k))
            carried = session.propagate(until=2)
            outside, inside = ("down", "up") if k == 0 else ("up", "down")
            assert carried.stops[k, outside] == Stop("end of volume", k)
            assert carried.stops[k, inside].reason == "limit"

    def test_a_limit(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        carried = session.propagate(until=3)
        assert reasons(carried) == {(12, "up"): ("limit", 15), (12, "down"): ("limit", 9)}
        assert carried.slices == (9, 10, 11, 13, 14, 15)
        assert np.array_equal(session.mask(), region((*BOX[:2], slice(9, 16))))
        assert carried.computed == 6
        assert reasons(session.propagate(until=13)) == {(12, "up"): ("limit", 25), (12, "down"): ("empty", 6)}
        assert reasons(session.propagate(until=np.int64(14)))[12, "up"] == ("empty", 25)
        session.click((25, 18, 12), label=2)
        assert reasons(session.propagate("up", 19, label=2)) == {(12, "up"): ("end of volume", 31)}

    def test_a_mask_that_jumps(self, bright):
        """The object touches a large bright region: its mask would leak."""
        volume = scene(BOX, (slice(1, None), slice(1, None), slice(16, 20)))
        session = make(bright, volume, propagation_rule=PropagationRule(corrections=0))
        session.click((10, 10, 12))
        carried = session.propagate()
        assert reasons(carried) == {(12, "up"): ("confidence", 15), (12, "down"): ("empty", 6)}
        stop = carried.stops[12, "up"]
        assert stop.overlap == pytest.approx(2 * 144 / (144 + 33 * 35), abs=0.02)
        assert stop.confidence > 0.9
        assert np.array_equal(session.mask(), region((*BOX[:2], slice(6, 16))))

    def test_a_mask_that_would_leak_is_corrected_towards_its_neighbour(self, bright):
        session = make(bright, scene(BOX, (slice(1, None), slice(1, None), slice(16, 20))))
        session.click((10, 10, 12))
        assert reasons(session.propagate())[12, "up"] == ("empty", 25)

    def test_a_network_that_is_not_sure(self, bright):
        session = make(bright, propagation_rule=PropagationRule(min_confidence=1.1))
        session.click((10, 10, 12))
        carried = session.propagate()
        assert reasons(carried) == {(12, "up"): ("confidence", 12), (12, "down"): ("confidence", 12)}
        assert carried.slices == ()
        assert carried.computed == 2
        assert carried.stops[12, "up"].confidence == pytest.approx(1, abs=0.01)
        assert carried.stops[12, "up"].overlap == 1

    def test_the_numbers_of_a_stop(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        for stop in session.propagate(until=3).stops.values():
            assert stop.confidence == pytest.approx(1, abs=0.01)
            assert stop.overlap == 1

    def test_a_cone_ends_where_it_is_too_small(self, bright):
        array, truth = scene((slice(0, 0),)), np.zeros(SHAPE, dtype=bool)
        i, j = np.ogrid[: SHAPE[0], : SHAPE[1]]
        for k in range(4, 28):
            truth[:, :, k] = (i - 16) ** 2 + (j - 18) ** 2 < (14 - 0.6 * abs(k - 10)) ** 2
        array[truth] = 0.9
        session = make(bright, array)
        session.click((16, 18, 10))
        carried = session.propagate()
        assert {stop.reason for stop in carried.stops.values()} == {"empty"}
        mask = session.mask()
        assert not mask[~truth].any()
        assert 2 * mask.sum() / (mask.sum() + truth.sum()) > 0.97

    def test_a_click_on_nothing(self, bright):
        session = make(bright)
        session.click((2, 30, 12))
        carried = session.propagate()
        assert reasons(carried) == {(12, "up"): ("empty", 12), (12, "down"): ("empty", 12)}
        assert carried.computed == 0
        assert not session.mask().any()


class TestDirections:
    @pytest.mark.parametrize(("direction", "k"), [("up", slice(12, 26)), ("down", slice(6, 13))])
    def test_one(self, bright, direction, k):
        session = make(bright)
        session.click((10, 10, 12))
        carried = session.propagate(direction)
        assert list(carried.stops) == [(12, direction)]
        assert np.array_equal(session.mask(), region((*BOX[:2], k)))
        session.propagate("up" if direction == "down" else "down")
        assert np.array_equal(session.mask(), region(BOX))

    @pytest.mark.parametrize("plane", AXES)
    @pytest.mark.parametrize("affine", [np.eye(4), np.diag([1.0, 1, 5, 1]), np.diag([-1.0, -1, 3, 1])])
    def test_every_plane(self, bright, plane, affine):
        session = make(bright, affine=affine)
        session.click((11, 10, 12), plane=plane)
        carried = session.propagate()
        assert carried.plane == plane
        first, last = BOX[AXES[plane]].start, BOX[AXES[plane]].stop - 1
        start = (11, 10, 12)[AXES[plane]]
        assert reasons(carried) == {(start, "up"): ("empty", last), (start, "down"): ("empty", first)}
        mask = session.mask()
        assert 2 * (mask & region(BOX)).sum() / (mask.sum() + region(BOX).sum()) > 0.97
        if affine[2, 2] == 1:
            assert np.array_equal(mask, region(BOX))

    def test_the_plane_of_the_newest_click_by_default(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.click((10, 11, 12), plane="coronal")
        assert session.propagate(until=1).plane == "coronal"
        assert session.propagate(until=1, plane="axial").plane == "axial"
        session.click((10, 10, 13))
        assert session.propagate(until=1).plane == "axial"
        session.undo()
        session.undo()
        assert session.propagate(until=1).plane == "coronal"


class TestSeveralClickedSlices:
    """Slices that come from the lower click hold one part, those from the upper one both."""

    def make(self, bright, lower, upper):
        session = make(bright)
        session.click((10, 10, lower))
        session.click((10, 10, upper))
        session.click((25, 18, upper))
        return session

    def both(self, session):
        mask = session.mask()
        return [k for k in range(SHAPE[2]) if mask[25, 18, k]], [k for k in range(SHAPE[2]) if mask[10, 10, k]]

    @pytest.mark.parametrize(("lower", "upper", "half"), [(8, 15, 12), (8, 16, 13), (8, 10, 10), (8, 9, 9)])
    def test_each_goes_half_of_the_way(self, bright, lower, upper, half):
        session = self.make(bright, lower, upper)
        carried = session.propagate()
        found = reasons(carried)
        assert found[lower, "up"] == ("clicked slice", half - 1)
        assert found[upper, "down"] == ("clicked slice", half)
        assert found[lower, "down"] == ("empty", 6)
        upper_part, lower_part = self.both(session)
        assert upper_part[0] == half
        assert lower_part[:20] == list(range(6, 26))
        assert carried.slices == tuple(k for k in range(6, carried.slices[-1] + 1) if k not in (lower, upper))

    @pytest.mark.parametrize(("direction", "first"), [("up", 15), ("down", 9)])
    def test_one_of_them_all_of_it_in_one_direction(self, bright, direction, first):
        session = self.make(bright, 8, 15)
        found = reasons(session.propagate(direction))
        start, end = (8, 14) if direction == "up" else (15, 9)
        assert found[start, direction] == ("clicked slice", end)
        assert len(found) == 2
        assert self.both(session)[0][0] == first

    def test_a_limit_inside_the_gap(self, bright):
        session = self.make(bright, 8, 20)
        found = reasons(session.propagate(until=2))
        assert found[8, "up"] == ("limit", 10)
        assert found[20, "down"] == ("limit", 18)
        assert self.both(session)[1] == [*range(6, 11), *range(18, 23)]

    def test_clicked_slices_stay_as_they_are(self, bright):
        session = self.make(bright, 8, 15)
        before = session.mask()
        session.propagate()
        assert np.array_equal(session.mask()[:, :, [8, 15]], before[:, :, [8, 15]])
        assert [(click.k, click.positive) for click in session.clicks()] == [(8, True), (15, True), (15, True)]
