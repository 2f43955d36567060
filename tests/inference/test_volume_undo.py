from __future__ import annotations

import numpy as np
import pytest
from volume_scenes import BOX, POST, make, part, scene, snapshot

from adaptiveclick_med.data.geometry import slice_plane


class TestUndoAndReset:
    ACTIONS = (
        lambda s: s.click((8, 8, 8)),
        lambda s: s.click((16, 16, 8), positive=False),
        lambda s: s.click((9, 9, 11), plane="axial"),
        lambda s: s.click((21, 12, 8), label=2, plane="sagittal"),
        lambda s: s.propagate(),
        lambda s: s.click((15, 9, 9), positive=False),
        lambda s: s.propagate(until=1, direction="up"),
        lambda s: s.click((8, 9, 9), plane="coronal"),
        lambda s: s.set_mask(part(POST), 3),
        lambda s: s.click((21, 12, 8), positive=False, label=3),
        lambda s: s.propagate(label=2),
        lambda s: s.reset(1),
        lambda s: s.set_mask(part(BOX), 2),
        lambda s: s.reset(),
        lambda s: s.click((8, 8, 8), label=5),
    )

    def test_every_action_goes_back_bit_for_bit(self, bright):
        session, states = make(bright), []
        for action in self.ACTIONS:
            states.append(snapshot(session))
            action(session)
        after = snapshot(session)
        for state in reversed(states):
            session.undo()
            assert snapshot(session) == state
        with pytest.raises(IndexError, match="nothing to undo"):
            session.undo()
        for action in self.ACTIONS:
            action(session)
        assert snapshot(session) == after

    def test_with_a_real_network_and_choices(self, network):
        volume = np.random.RandomState(0).randint(0, 256, (40, 36, 6)).astype(np.uint8)
        session, states = make(network, volume, np.diag([1, 1, 3, 1.0])), []
        actions = [
            lambda: session.click((20, 20, 2)),
            lambda: session.choose(4),
            lambda: session.choose(1),
            lambda: session.click((5, 5, 2), positive=False),
            lambda: session.click((10, 10, 3), plane="sagittal"),
            lambda: session.choose(2),
            lambda: session.propagate(until=2, plane="axial"),
            lambda: session.click((12, 10, 3)),
        ]
        for action in actions:
            states.append(snapshot(session))
            action()
        for state in reversed(states):
            session.undo()
            assert snapshot(session) == state

    def test_what_is_kept_for_an_undo_holds_no_whole_masks(self, bright):
        session = make(bright)
        for action in self.ACTIONS:
            action(session)
            session.labels()
            kept = [thing for objects, _ in session._history for thing in objects.values()]
            now = {id(thing) for thing in session._objects.values()}
            assert [thing for thing in kept if "mask" in vars(thing) and id(thing) not in now] == []

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_a_limit(self, bright, limit):
        session, states = make(bright, undo_limit=limit), []
        for action in self.ACTIONS:
            states.append(snapshot(session))
            action(session)
        for state in list(reversed(states))[:limit]:
            session.undo()
            assert snapshot(session) == state
        with pytest.raises(IndexError, match="nothing to undo"):
            session.undo()

    def test_reset(self, bright):
        session = make(bright)
        session.click((8, 8, 8))
        session.click((21, 12, 8), label=2)
        session.reset(1)
        assert not session.mask(1).any()
        assert session.mask(2).any()
        assert session.prediction.label == 2
        session.reset(2)
        assert session.prediction is None
        assert session.candidates == []
        with pytest.raises(ValueError, match="no positive click"):
            session.click((8, 8, 8), positive=False)
        session.undo()
        session.undo()
        session.reset()
        assert not session.labels().any()
        assert session.clicks() == []
        session.set_volume(scene())
        with pytest.raises(IndexError, match="nothing to undo"):
            session.undo()


class TestChoose:
    @pytest.mark.parametrize("plane", ["axial", "coronal"])
    def test_the_mask_is_the_candidate_and_later_clicks_go_on_from_it(self, network, plane):
        volume = np.random.RandomState(0).randint(0, 256, (40, 36, 30)).astype(np.uint8)
        affine = np.diag([1, 1, 3.0, 1])
        session, other = make(network, volume, affine), make(network, volume, affine)
        session.click((20, 20, 14), plane=plane)
        other.click((20, 20, 14), plane=plane)
        ranked = session.candidates
        masks = [each.mask.tobytes() for each in ranked]
        rank = next(at for at in range(1, 10) if masks[at] != session.prediction.mask.tobytes())
        answer = session.choose(rank)
        cut = slice_plane(affine, plane)
        assert np.array_equal(answer.mask, ranked[rank].mask)
        assert np.array_equal(answer.probability, ranked[rank].probability)
        assert np.array_equal(cut.take(session.mask(), answer.index), ranked[rank].mask)
        assert [each.mask.tobytes() for each in session.candidates] == masks
        assert len(session.clicks()) == 1
        different = session.click((10, 20, 14), plane=plane)
        assert not np.array_equal(different.probability, other.click((10, 20, 14), plane=plane).probability)
        session.undo()
        assert np.array_equal(session.prediction.mask, ranked[rank].mask)
        session.undo()
        other.undo()
        assert snapshot(session) == snapshot(other)

    def test_is_known_again(self, network):
        session = make(network, np.random.RandomState(0).randint(0, 256, (40, 36, 3)).astype(np.uint8))
        session.click((20, 20, 1))
        session.choose(3)
        first = session.click((10, 20, 1))
        for _ in range(3):
            session.undo()
        session.click((20, 20, 1))
        plain = session.click((10, 20, 1))
        session.undo()
        session.choose(3)
        again = session.click((10, 20, 1))
        assert np.array_equal(again.probability, first.probability)
        assert not np.array_equal(again.probability, plain.probability)

    def test_it_goes_along_with_a_propagation(self, network):
        volume = np.random.RandomState(0).randint(0, 256, (40, 36, 5)).astype(np.uint8)
        session = make(network, volume)
        session.click((20, 20, 2))
        session.propagate(until=1)
        plain = session.mask()
        session.choose(5)
        session.propagate(until=1)
        assert not np.array_equal(session.mask(), plain)
        assert session.prediction.index == 2

    @pytest.mark.parametrize("rank", [-1, 10, 99])
    def test_errors(self, network, bright, rank):
        session = make(network, np.zeros((40, 36, 3), np.uint8))
        with pytest.raises(ValueError, match="no click"):
            session.choose(0)
        session.click((20, 20, 1))
        before = snapshot(session)
        with pytest.raises(ValueError, match=f"rank must be a number from 0 to 9, got {rank}"):
            session.choose(rank)
        assert snapshot(session) == before
        session = make(bright)
        session.click((8, 8, 8))
        with pytest.raises(ValueError, match="there are no candidates"):
            session.choose(0)
        session.set_mask(part(BOX))
        with pytest.raises(ValueError, match="no click"):
            session.choose(0)
