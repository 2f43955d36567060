from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from long_objects import AXES, BOX, POST, asked, make, region, scene

from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.inference import PropagationRule


class TestCorrections:
    def test_nothing_is_asked_twice(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate()
        calls, mask = len(bright.calls), session.mask()
        carried = session.propagate()
        assert (carried.computed, len(bright.calls)) == (0, calls)
        assert carried.slices == (*range(6, 12), *range(13, 26))
        assert np.array_equal(session.mask(), mask)

    def test_only_what_a_correction_touches_is_carried_anew(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate()
        calls = len(bright.calls)
        session.click((25, 18, 18))
        assert asked(bright, calls) == [18]
        assert np.array_equal(session.mask()[:, :, 18], region(BOX, POST)[:, :, 18])
        carried = session.propagate()
        assert carried.computed == len(bright.calls) - calls - 1
        assert sorted(asked(bright, calls + 1))[:3] == [16, 17, 19]  # 13 to 15 and all below are known
        assert carried.stops[12, "up"].index == 15
        assert carried.stops[18, "down"].index == 16
        expected = region((*BOX[:2], slice(6, 26)), (*POST[:2], slice(16, 26)))
        assert np.array_equal(session.mask()[:, :, :26], expected[:, :, :26])
        session.undo()
        session.undo()
        calls = len(bright.calls)
        assert session.propagate().computed == 0
        assert np.array_equal(session.mask(), region(BOX))
        assert len(bright.calls) == calls

    def test_a_second_click_on_the_start_carries_all_anew(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate(until=3)
        session.click((12, 12, 12))
        calls = len(bright.calls)
        assert session.propagate(until=3).computed == 6
        assert sorted(asked(bright, calls)) == [9, 10, 11, 13, 14, 15]

    def test_shortening_and_going_on(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate()
        whole, calls = session.mask(), len(bright.calls)
        assert session.propagate(until=2).computed == 0
        assert np.array_equal(session.mask(), region((*BOX[:2], slice(10, 15))))
        session.propagate("up", until=1)
        assert np.array_equal(session.mask(), region((*BOX[:2], slice(10, 14))))
        assert session.propagate().computed == 0
        assert np.array_equal(session.mask(), whole)
        assert len(bright.calls) == calls
        session.undo()
        session.undo()
        assert np.array_equal(session.mask(), region((*BOX[:2], slice(10, 15))))

    def test_a_longer_way_goes_on_from_the_shorter_one(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate("up", until=2)
        calls = len(bright.calls)
        session.propagate("up", until=4)
        assert asked(bright, calls) == [15, 16]

    def test_the_way_does_not_depend_on_how_it_was_gone(self, network):
        volume = np.random.RandomState(0).randint(0, 256, (40, 36, 10)).astype(np.uint8)
        rule = PropagationRule(**{each.name: 0 for each in fields(PropagationRule)})
        masks, stops = [], []
        for steps in ([9], [1, 2, 3, 9], [2, 9], [4, 1, 9]):
            session = make(network, volume, zoom_in=True, flip=True, propagation_rule=rule)
            session.click((20, 20, 1))
            for until in steps:
                carried = session.propagate("up", until)
            masks.append(session.mask())
            stops.append(carried.stops)
            session.click((20, 20, 2))  # goes on from what was carried
            masks[-1] = np.concatenate([masks[-1], session.mask()])
        assert stops[0][1, "up"].index > 5
        assert stops == stops[:1] * 4
        assert all(np.array_equal(mask, masks[0]) for mask in masks)

    def test_negative_clicks_go_along(self, bright):
        bridge = (slice(17, 24), slice(11, 16), slice(8, 20))
        session = make(bright, scene(BOX, POST, bridge))
        session.click((8, 11, 12))
        assert session.mask()[25, 18, 12]
        session.click((27, 18, 12), positive=False)
        assert not session.mask()[25, 18, 12]
        calls = len(bright.calls)
        session.propagate(until=3)
        for _, _, points in bright.calls[calls:]:
            places = points[0].reshape(2, -1, 3)
            negative = places[1][places[1][:, 2] >= 0].tolist()
            assert negative[0] == [36 - 1 - 18, 34 - 1 - 27, 0]
        assert not session.mask()[25:, 18].any()
        assert session.mask()[8, 11, 9:16].all()

    def test_one_click_a_slice_is_enough(self, bright):
        """Clicks that a mask stands for do not count to the user's."""
        array = scene(BOX, POST)
        session = make(bright, array, max_clicks=1)
        session.set_mask(region(BOX, POST))
        session.click((10, 10, 12))
        session.propagate(until=2)
        session.click((10, 10, 13))
        with pytest.raises(ValueError, match="max_clicks = 1"):
            session.click((10, 10, 13))


class TestObjects:
    def test_two_do_not_disturb_each_other(self, bright):
        session = make(bright)
        session.click((10, 10, 12), label=1)
        session.click((25, 18, 20), label=2)
        session.propagate(label=1)
        session.click((25, 18, 5), label=2, plane="axial")
        session.propagate(label=2)
        assert np.array_equal(session.mask(1), region(BOX))
        assert np.array_equal(session.mask(2), region(POST))
        assert np.array_equal(session.labels(), region(BOX) + 2 * region(POST))
        session.reset(1)
        assert np.array_equal(session.labels(), 2 * region(POST).astype(np.uint8))

    def test_the_newest_click_stays(self, network):
        session = make(network, np.random.RandomState(0).randint(0, 256, (40, 36, 5)).astype(np.uint8))
        answer = session.click((20, 20, 2))
        session.propagate(until=1)
        assert session.prediction is answer
        assert len(session.candidates) == 10
        assert session.choose(1).index == 2

    def test_from_a_mask_that_was_set(self, bright):
        session = make(bright)
        session.set_mask(region((*BOX[:2], slice(12, 16))))
        with pytest.raises(ValueError, match="label 1 has no click yet"):
            session.propagate()
        session.click((10, 10, 14))
        session.propagate()
        assert np.array_equal(session.mask(), region(BOX))

    def test_a_carried_slice_is_corrected_from_what_it_shows(self, bright):
        session = make(bright)
        session.click((10, 10, 12))
        session.propagate()
        calls = len(bright.calls)
        session.click((8, 8, 15), positive=False)
        _, previous, points = bright.calls[calls]
        assert np.array_equal(previous[0, 0].numpy() > 0.5, region(BOX)[::-1, ::-1, 15].T)
        assert points[0, -1].tolist() == [36 - 1 - 8, 34 - 1 - 8, 1]
        assert not session.mask()[8, 8, 15]
        assert session.mask()[14, 14, 15]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            (("sideways",), {}, "direction must be up, down or both, got 'sideways'"),
            ((1,), {}, "direction must be up, down or both, got 1"),
            (("up", 0), {}, "until must be 'empty' or a whole number of at least 1, got 0"),
            (("up", -2), {}, "until must be .* got -2"),
            (("up", 1.5), {}, "until must be .* got 1.5"),
            (("up", "full"), {}, "until must be .* got 'full'"),
            (("up", "3"), {}, "until must be .* got '3'"),
            (("up", True), {}, "until must be .* got True"),
            (("up", np.nan), {}, "until must be .* got nan"),
            (("up", np.inf), {}, "until must be .* got inf"),
            (("up", None), {}, "until must be .* got None"),
            ((), {"label": 3}, "label 3 has no click yet"),
            ((), {"label": 0}, "label must be a whole number from 1 to 65535, got 0"),
            ((), {"plane": "coronal"}, "label 1 has no click on a slice of the coronal plane"),
            ((), {"plane": "k"}, "plane must be one of axial, coronal, sagittal, got 'k'"),
        ],
    )
    def test_the_session_stays_as_it_was(self, bright, arguments, options, message):
        session = make(bright)
        session.click((10, 10, 12))
        before, newest = session.mask(), session.prediction
        with pytest.raises(ValueError, match=message):
            session.propagate(*arguments, **options)
        assert np.array_equal(session.mask(), before)
        assert session.prediction is newest
        assert len(bright.calls) == 1
        session.undo()
        assert session.clicks() == []


@pytest.mark.parity
@pytest.mark.parametrize("plane", AXES)
def test_a_hippocampus_comes_back_whole(shared, bright, plane):
    """A real object's shape and geometry: its label map is the image, so the right answer is known."""
    label = read_volume(next(iter(sorted((shared / "data/MSD_Hippocampus/labelsTr").glob("*.nii.gz")))))
    truth = label.array > 0
    bright.heeds_negative = False  # it sees the whole truth
    noise = np.random.RandomState(0).normal(0, 0.05, truth.shape)
    session = make(bright, np.clip(np.where(truth, 0.8, 0.2) + noise, 0, 1).astype(np.float32), label.affine)
    places = np.argwhere(truth)
    session.click(places[len(places) // 2], plane=plane)
    session.propagate()
    mask = session.mask()
    assert mask.shape == truth.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
