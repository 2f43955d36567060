"""States that are restored, masks that come with clicks, and candidates that are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference import InteractiveSession, SessionState

CLICKS = [(30, 40, True), (10, 12, False), (52.5, 70.25, True)]


def picture(height=61, width=83, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def make(network, image=None, **options):
    session = InteractiveSession(network, **options)
    session.set_image(picture() if image is None else image)
    return session


def same(one, two):
    return np.array_equal(one.mask, two.mask) and np.array_equal(one.probability, two.probability)


def box():
    mask = np.zeros((61, 83), dtype=bool)
    mask[20:40, 30:60] = True
    return mask


class TestRestore:
    @pytest.mark.parametrize("options", [{}, {"zoom_in": False}, {"crop_size": 40}])
    def test_goes_on_from_there(self, network, options):
        session = make(network, **options)
        session.click(*CLICKS[0])
        state = session.state
        assert isinstance(state, SessionState)
        expected = [session.click(*click) for click in CLICKS[1:]]
        for other in (session, session.sibling(keep_image=True), make(network, **options)):
            other.restore(state)
            assert other.state is state
            assert list(other.clicks) == [Click(30, 40)]
            assert other.prediction is state.prediction
            with pytest.raises(IndexError, match="No more clicks can be undone"):
                other.undo()
            assert all(same(other.click(*click), answer) for click, answer in zip(CLICKS[1:], expected, strict=True))
            other.undo()
            other.undo()
            assert other.state is state

    def test_reset_goes_back_to_where_it_all_began(self, network):
        session = make(network)
        session.set_mask(box())
        begun = session.state
        expected = session.click(*CLICKS[1])
        other = make(network)
        other.restore(session.state)
        other.click(*CLICKS[0])
        other.reset()
        assert other.state is begun
        assert same(other.click(*CLICKS[1]), expected)
        plain = make(network)
        plain.click(*CLICKS[0])
        other.restore(plain.state)
        other.reset()
        assert other.prediction is None
        assert len(other.clicks) == 0
        with pytest.raises(ValueError, match="first click must be on the object"):
            other.click(*CLICKS[1])

    def test_the_first_state(self, network):
        session = make(network)
        first = session.state
        expected = session.click(*CLICKS[0])
        session.restore(first)
        assert session.prediction is None
        assert same(session.click(*CLICKS[0]), expected)

    def test_states_never_change(self, network):
        session = make(network)
        session.click(*CLICKS[0])
        state, probability = session.state, session.state.probability.clone()
        session.click(*CLICKS[1])
        session.undo()
        session.clicks.add(Click(1, 1))
        session.click(5, 5)
        session.reset()
        assert list(state.clicks) == [Click(30, 40)]
        assert torch.equal(state.probability, probability)

    def test_errors(self, network):
        session = make(network)
        session.click(*CLICKS[0])
        state = session.state
        other = make(network, picture(40, 50))
        other.click(5, 5)
        before = other.state
        with pytest.raises(ValueError, match=r"state must belong to an image of \[40, 50\], got \[61, 83\]"):
            other.restore(state)
        assert other.state is before
        other.undo()
        with pytest.raises(RuntimeError, match="No image was set"):
            InteractiveSession(network).restore(state)


class TestAMaskWithClicks:
    def test_the_network_gets_them_first(self, bright):
        session = make(bright, zoom_in=False, flip=False)
        clicks = [Click(50, 60, positive=False), Click(25, 40)]
        session.set_mask(box(), clicks)
        assert list(session.clicks) == clicks
        assert np.array_equal(session.prediction.mask, box())
        assert bright.calls == []
        session.click(30, 50)
        assert bright.calls[0][2].tolist() == [[[25, 40, 1], [30, 50, 2], [50, 60, 0], [-1, -1, -1]]]
        assert np.array_equal(bright.calls[0][1][0, 0] > 0.5, box())

    def test_undo_and_reset_keep_them(self, network):
        session = make(network)
        session.set_mask(box(), [Click(25, 40)])
        first = session.click(*CLICKS[1])
        session.undo()
        assert list(session.clicks) == [Click(25, 40)]
        with pytest.raises(IndexError):
            session.undo()
        session.click(*CLICKS[2])
        session.reset()
        assert list(session.clicks) == [Click(25, 40)]
        assert same(session.click(*CLICKS[1]), first)

    def test_the_given_list_is_not_kept(self, network):
        session, clicks = make(network), Clicks([Click(25, 40)])
        session.set_mask(box(), clicks)
        clicks.add(Click(1, 1))
        assert len(session.clicks) == 1
        session.set_mask(box(), (click for click in clicks))
        assert len(session.clicks) == 2

    def test_a_negative_click_may_follow(self, network):
        session = make(network)
        session.set_mask(np.zeros((61, 83)), [Click(50, 60, positive=False)])
        assert session.click(10, 12, positive=False).mask.shape == (61, 83)

    @pytest.mark.parametrize("click", [Click(-1, 5), Click(5, 83), Click(61, 5, positive=False)])
    def test_clicks_outside_the_image(self, network, click):
        session = make(network)
        session.click(*CLICKS[0])
        before = session.state
        with pytest.raises(ValueError, match="lies outside the image: rows go from 0 to 60, columns from 0 to 82"):
            session.set_mask(box(), [Click(5, 5), click])
        assert session.state is before

    def test_an_ill_mask_changes_nothing(self, network):
        session = make(network)
        session.click(*CLICKS[0])
        before = session.state
        with pytest.raises(ValueError, match="image's size"):
            session.set_mask(box()[:50], [Click(5, 5)])
        assert session.state is before
        session.undo()


class TestChoose:
    @pytest.mark.parametrize("options", [{}, {"zoom_in": False}, {"crop_size": 40}])
    def test_the_candidate_takes_the_masks_place(self, network, options):
        session, other = make(network, **options), make(network, **options)
        first = session.click(*CLICKS[0])
        other.click(*CLICKS[0])
        chosen = session.choose(6)
        assert session.prediction is chosen
        assert np.array_equal(chosen.mask, first.candidates[6].mask)
        assert np.array_equal(chosen.probability, first.candidates[6].probability)
        assert [each.confidence for each in chosen.candidates] == [each.confidence for each in first.candidates]
        assert len(session.clicks) == 1
        after = session.click(*CLICKS[1])
        assert not same(after, other.click(*CLICKS[1]))
        assert session.undo() is chosen
        assert session.undo() is first
        assert session.undo() is None
        session.click(*CLICKS[0])
        assert same(session.choose(6), chosen)
        assert same(session.click(*CLICKS[1]), after)

    def test_the_choice_is_the_next_previous_mask(self, network):
        session = make(network)
        session.click(*CLICKS[0])
        session.choose(3)
        chosen = session.prediction.probability.copy()
        given = make(network)
        given.set_mask(chosen, [Click(*CLICKS[0])])
        assert torch.equal(session.state.probability, given.state.probability)
        assert same(session.click(*CLICKS[1]), given.click(*CLICKS[1]))

    def test_again_and_reset(self, network):
        session = make(network)
        first = session.click(*CLICKS[0])
        session.choose(3)
        again = session.choose(5)
        assert np.array_equal(again.mask, first.candidates[5].mask)
        session.undo()
        assert np.array_equal(session.prediction.mask, first.candidates[3].mask)
        session.reset()
        assert session.prediction is None

    def test_a_changed_answer_does_not_change_the_session(self, network):
        session, untouched = make(network), make(network)
        for each in (session, untouched):
            each.click(*CLICKS[0])
            each.choose(3)
        session.prediction.probability[:] = 1
        session.prediction.mask[:] = True
        session.prediction.candidates[3].probability[:] = 1
        assert same(session.click(*CLICKS[1]), untouched.click(*CLICKS[1]))

    @pytest.mark.parametrize("rank", [-1, 10, 1.0, "best", None])
    def test_no_such_candidate(self, network, rank):
        session = make(network)
        session.click(*CLICKS[0])
        before = session.state
        with pytest.raises(ValueError, match=f"rank must be a number from 0 to 9, got {rank!r}"):
            session.choose(rank)
        assert session.state is before

    def test_no_candidates(self, network, bright):
        session = make(network)
        message = "rank must be left out: there are no candidates, got 0"
        with pytest.raises(ValueError, match=message):
            session.choose(0)
        session.set_mask(box())
        with pytest.raises(ValueError, match=message):
            session.choose(0)
        session = make(bright)
        session.click(*CLICKS[0])
        with pytest.raises(ValueError, match=message):
            session.choose(0)
        assert len(session.clicks) == 1
