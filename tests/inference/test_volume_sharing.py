"""Sessions that share a volume, and the memory of what is known."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.inference.volume_image import Store


def volume(shape=(40, 36, 12)):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def make(network, array=None, **options):
    session = VolumeSession(network, **options)
    session.set_volume(volume() if array is None else array)
    return session


def boxes():
    array = np.full((40, 36, 12), 0.1, np.float32)
    array[4:16, 5:18, 1:11] = array[24:34, 20:30, 1:11] = 0.9
    return array


USERS = (
    [((20, 20, 2), True, "axial"), ((5, 5, 2), False, "axial"), ((20, 18, 3), True, "coronal")],
    [((10, 12, 6), True, "axial"), ((12, 14, 6), True, "axial"), ((12, 14, 7), True, "sagittal")],
)


def use(session, clicks, label=1):
    """All that one user does; returns all that is seen."""
    seen = []
    for point, positive, plane in clicks:
        answer = session.click(point, positive, label=label, plane=plane)
        seen += [answer.mask, answer.probability, *(each.probability for each in answer.candidates)]
    carried = session.propagate(until=3, label=label, plane="axial")
    seen.append(session.mask(label))
    session.choose(2)
    session.undo()
    return [each.tobytes() for each in seen], carried.stops


class TestSibling:
    def test_known_answers_cost_no_call(self, bright):
        session = make(bright, boxes(), zoom_in=False, flip=False)
        session.click((8, 8, 5))
        session.click((8, 8, 4))
        session.click((14, 16, 4), positive=False)
        session.propagate()
        calls = len(bright.calls)
        twin = session.sibling()
        twin.click((8, 8, 4), label=7)
        twin.click((14, 16, 4), positive=False, label=7)
        twin.click((8, 8, 5), label=7)
        carried = twin.propagate(label=7)
        assert len(bright.calls) == calls
        assert carried.computed == 0
        assert np.array_equal(twin.mask(7), session.mask(1))
        twin.click((28, 24, 5))
        assert len(bright.calls) == calls + 1

    def test_isolation(self, network):
        session = make(network)
        session.click((20, 20, 2))
        session.click((10, 10, 3), label=2)
        mask, labels, newest = session.mask(), session.labels(), session.prediction
        twin = session.sibling()
        assert twin.clicks() == []
        assert twin.prediction is None
        assert not twin.labels().any()
        with pytest.raises(IndexError, match="nothing to undo"):
            twin.undo()
        twin.click((20, 20, 2))
        twin.click((5, 5, 2), positive=False)
        twin.choose(4)
        twin.propagate(until=1)
        twin.reset()
        twin.undo()
        assert np.array_equal(session.mask(), mask)
        assert np.array_equal(session.labels(), labels)
        assert session.prediction is newest
        assert len(session.clicks()) == 2
        twin.set_volume(np.zeros((34, 33, 5), np.uint8))
        assert session.mask().shape == (40, 36, 12)
        session.undo()
        session.undo()

    def test_a_changed_answer_of_one_is_not_seen_by_the_other(self, network):
        session = make(network)
        twin, expected = session.sibling(), make(network).click((20, 20, 2))
        answer = session.click((20, 20, 2))
        candidate = session.choose(3)
        for each in (answer, candidate, *answer.candidates, *candidate.candidates):
            each.mask[:] = True
            each.probability[:] = 1
        found = twin.click((20, 20, 2))
        assert np.array_equal(found.probability, expected.probability)
        chosen = twin.choose(3)
        assert np.array_equal(chosen.probability, expected.candidates[3].probability)
        assert np.array_equal(chosen.candidates[5].mask, expected.candidates[5].mask)

    def test_options_stay(self, bright):
        twin = make(bright, boxes(), max_clicks=1, undo_limit=1, zoom_in=False, flip=False).sibling()
        twin.click((8, 8, 5))
        with pytest.raises(ValueError, match="max_clicks = 1"):
            twin.click((9, 8, 5))
        twin.click((8, 8, 6))
        twin.undo()
        with pytest.raises(IndexError):
            twin.undo()

    def test_of_a_session_without_a_volume(self, bright):
        twin = VolumeSession(bright).sibling()
        with pytest.raises(RuntimeError, match="No volume was set"):
            twin.click((1, 1, 1))

    def test_from_threads_at_once(self, network):
        alone = [use(make(network), clicks) for clicks in USERS]
        for cache_bytes in (256 * 2**20, 1):
            session, start = make(network, cache_bytes=cache_bytes), Barrier(4)

            def user(number, session=session, start=start):
                twin = session.sibling()
                start.wait(60)
                return use(twin, USERS[number % 2], label=number + 1)

            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(user, range(4)))
            assert found == [*alone, *alone]


class TestStore:
    def test_the_values_used_last_stay(self):
        store = Store(10)
        for key in "abc":
            store.put(key, key.upper(), 3)
        assert store.get("a") == "A"
        store.put("d", "D", 4)
        assert [store.get(key) for key in "abcd"] == ["A", None, "C", "D"]
        assert len(store) == 3

    def test_a_value_that_is_put_again_counts_once(self):
        store = Store(10)
        for size in (4, 9, 2):
            store.put("a", size, size)
        store.put("b", "B", 8)
        assert (store.get("a"), store.get("b")) == (2, "B")
        store.put("b", "C", 9)
        assert (store.get("a"), store.get("b")) == (None, "C")

    def test_the_newest_stays_also_when_it_is_too_large(self):
        store = Store(10)
        store.put("a", "A", 3)
        store.put("b", "B", 50)
        assert (store.get("a"), store.get("b"), len(store)) == (None, "B", 1)
        store.put("c", "C", 3)
        assert (store.get("b"), store.get("c")) == (None, "C")

    def test_many_threads(self):
        store = Store(100)

        def work(number):
            for at in range(2000):
                store.put((number * at) % 37, at, at % 13)
                store.get(at % 37)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(1, 5)))
        assert store._bytes == sum(size for _, size in store._values.values()) <= 100


class TestMemory:
    @pytest.mark.parametrize("cache_bytes", [1, 20_000])
    def test_answers_after_eviction_are_the_same(self, network, cache_bytes):
        plenty, little = make(network), make(network, cache_bytes=cache_bytes)
        for clicks in (*USERS, *USERS):
            assert use(plenty.sibling(), clicks) == use(little.sibling(), clicks)
        assert len(plenty.image.answers) > len(little.image.answers)

    def test_a_session_needs_none_of_it_for_what_it_holds(self, network):
        session = make(network, cache_bytes=1)
        session.click((20, 20, 2))
        mask = session.mask()
        for k in range(3, 10):
            session.click((20, 20, k), label=2)
        assert len(session.image.answers) == 1
        assert np.array_equal(session.mask(), mask)
        session.click((10, 10, 2))
        expected = make(network)
        expected.click((20, 20, 2))
        expected.click((10, 10, 2))
        assert np.array_equal(session.mask(), expected.mask())

    def test_kept_answers_do_not_grow_when_candidates_are_looked_at(self, network):
        session = make(network)
        answer = session.click((20, 20, 2))
        candidates = weakref.ref(answer.candidates[0])
        assert candidates() is not None
        session.reset()
        session.set_volume(volume())
        del answer
        gc.collect()
        assert candidates() is None
        twin = session.sibling()
        twin.click((20, 20, 2))
        seen = weakref.ref(twin.candidates[0])
        del twin
        gc.collect()
        assert seen() is None
        assert len(session.image.answers) == 1

    def test_a_volume_goes_with_its_session(self, network):
        session = make(network)
        session.click((20, 20, 2))
        session.propagate(until=1)
        image = weakref.ref(session.image)
        session.set_volume(volume())
        gc.collect()
        assert image() is None

    def test_slices_are_prepared_once(self, network, monkeypatch):
        session, asked = make(network), []
        prepare = type(session.image).picture
        monkeypatch.setattr(
            type(session.image), "picture", lambda self, plane, k: asked.append((plane, k)) or prepare(self, plane, k)
        )
        session.click((20, 20, 2))
        session.click((10, 10, 2))
        session.click((10, 10, 2), plane="coronal", label=2)
        session.sibling().click((11, 10, 2))
        assert asked == [("axial", 2), ("coronal", 10)]
