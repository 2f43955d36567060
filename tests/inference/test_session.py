from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import CropBox, InteractiveSession, ZoomIn
from adaptiveclick_med.networks import SimpleClick

CLICKS = [(30, 40, True), (10, 12, False), (52.5, 70.25, True), (20, 66, False), (3, 79, True)]


def picture(height=61, width=83, channels=3, dtype=np.uint8, seed=0):
    values = np.random.RandomState(seed).randint(0, 256, (height, width, channels))
    return values.astype(dtype)


def make(network, image=None, **options):
    session = InteractiveSession(network, **options)
    session.set_image(picture() if image is None else image)
    return session


def follow(session, clicks=CLICKS):
    return [session.click(row, column, positive) for row, column, positive in clicks]


def same(one, two):
    return (
        np.array_equal(one.mask, two.mask)
        and np.array_equal(one.probability, two.probability)
        and [each.confidence for each in one.candidates] == [each.confidence for each in two.candidates]
        and all(
            np.array_equal(a.probability, b.probability) for a, b in zip(one.candidates, two.candidates, strict=True)
        )
    )


def blob_network(image, previous, points):
    """A callable that finds what is bright near positive clicks, and remembers a little."""
    rows = torch.arange(image.shape[-2], dtype=torch.float32)[:, None]
    columns = torch.arange(image.shape[-1], dtype=torch.float32)
    logits = 4.0 * image.mean(1, keepdim=True) - 3.0 + previous
    half = points.shape[1] // 2
    for index in range(points.shape[0]):
        for place, (row, column, order) in enumerate(points[index].tolist()):
            if order >= 0:
                bump = torch.exp(-((rows - row).square() + (columns - column).square()) / 200.0)
                logits[index, 0] += (3.0 if place < half else -6.0) * bump
    return logits


class TestPrediction:
    def test_types_and_threshold(self, network):
        session = make(network)
        assert session.prediction is None
        prediction = session.click(30, 40)
        assert session.prediction is prediction
        assert prediction.mask.shape == prediction.probability.shape == (61, 83)
        assert (prediction.mask.dtype, prediction.probability.dtype) == (bool, np.float32)
        assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1
        assert np.array_equal(prediction.mask, prediction.probability > 0.49)
        strict = make(network, threshold=0.9).click(30, 40)
        assert np.array_equal(strict.mask, prediction.probability > 0.9)

    @pytest.mark.parametrize("options", [{}, {"zoom_in": False}, {"crop_size": 40}, {"crop_size": (48, 80)}])
    def test_candidates_are_ranked_and_of_the_images_size(self, network, options):
        for prediction in follow(make(network, **options)):
            candidates = prediction.candidates
            assert len(candidates) == 10
            confidences = [each.confidence for each in candidates]
            assert confidences == sorted(confidences, reverse=True)
            assert 0 <= confidences[-1] <= confidences[0] <= 1
            for each in candidates:
                assert each.mask.shape == each.probability.shape == (61, 83)
                assert np.array_equal(each.mask, each.probability > 0.49)

    @pytest.mark.parametrize("options", [{"zoom_in": False}, {"crop_size": (61, 83)}])
    def test_candidates_weighted_by_confidence_are_the_prediction(self, network, options):
        """Also where the image is no multiple of the patch."""
        prediction = make(network, flip=False, **options).click(30, 40)
        values = np.stack([each.probability for each in prediction.candidates]).astype(np.float64)
        logits = np.log(values) - np.log1p(-values)
        weights = np.array([each.confidence for each in prediction.candidates])
        probability = 1 / (1 + np.exp(-np.tensordot(weights, logits, axes=1)))
        np.testing.assert_allclose(probability, prediction.probability, atol=1e-4)

    def test_candidates_stay_those_of_their_image(self, network):
        session, other = make(network), make(network)
        prediction, expected = session.click(30, 40), other.click(30, 40)
        session.set_image(picture(40, 40))
        session.click(5, 5)
        assert same(prediction, expected)

    def test_no_candidates_without_a_click_decoder(self):
        network = SimpleClick.from_preset("nano", image_size=32).eval()
        assert make(network).click(30, 40).candidates == []
        assert make(blob_network, crop_size=64).click(30, 40).candidates == []

    def test_a_changed_prediction_does_not_change_the_session(self, network):
        session, untouched = make(network), make(network)
        first, _ = session.click(30, 40), untouched.click(30, 40)
        first.probability[:] = 1
        first.mask[:] = True
        assert same(session.click(10, 12, positive=False), untouched.click(10, 12, positive=False))

    def test_deterministic(self, network):
        one, two = follow(make(network)), follow(make(network))
        assert all(same(a, b) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(one[0].probability, one[1].probability)

    def test_no_gradients(self, network):
        image = torch.rand(61, 83, 3, requires_grad=True)
        session = make(network, image)
        session.click(30, 40)
        assert all(parameter.grad is None for parameter in network.parameters())
        assert not session._state.probability.requires_grad


class TestUndo:
    @pytest.mark.parametrize(("size", "options"), [((300, 260), {"crop_size": 64}), ((61, 83), {"zoom_in": False})])
    @pytest.mark.parametrize("name", ["network", "callable"])
    def test_restores_everything_and_the_same_clicks_give_the_same_again(self, network, name, size, options):
        session = make(network if name == "network" else blob_network, picture(*size), **options)
        states, predictions = [], []
        for row, column, positive in CLICKS:
            states.append((session._state, session.clicks))
            predictions.append(session.click(row, column, positive))
        after = session._state
        for index in reversed(range(len(CLICKS))):
            returned = session.undo()
            assert returned is (predictions[index - 1] if index else None)
            assert session.prediction is returned
            state, clicks = states[index]
            assert session._state is state
            assert session.clicks == clicks
        again = follow(session)
        assert all(same(a, b) for a, b in zip(predictions, again, strict=True))
        assert session._state.box == after.box
        assert torch.equal(session._state.probability, after.probability)

    def test_another_path_after_undo(self, network):
        session, direct = make(network), make(network)
        follow(session, CLICKS[:3])
        session.undo()
        follow(direct, CLICKS[:2])
        assert same(session.click(7, 8), direct.click(7, 8))

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_a_limit(self, network, limit):
        session = make(network, undo_limit=limit)
        sibling = session.sibling(keep_image=True)
        for each in (session, sibling):
            answers = follow(each)
            for place in range(limit):
                assert each.undo() is answers[-2 - place]
            with pytest.raises(IndexError, match="No more clicks can be undone"):
                each.undo()
            assert len(each.clicks) == len(CLICKS) - limit
            each.reset()
            with pytest.raises(IndexError, match="There is no click to undo"):
                each.undo()
        with pytest.raises(ValueError, match="undo_limit must be at least 0 or None, got -1"):
            InteractiveSession(network, undo_limit=-1)

    def test_nothing_to_undo(self, network):
        session = InteractiveSession(network)
        with pytest.raises(IndexError, match="no click to undo"):
            session.undo()
        session.set_image(picture())
        session.click(30, 40)
        session.undo()
        with pytest.raises(IndexError, match="no click to undo"):
            session.undo()

    def test_reset_forgets_clicks_and_keeps_the_image(self, network):
        session = make(network)
        first = follow(session)
        session.reset()
        assert session.prediction is None
        assert len(session.clicks) == 0
        with pytest.raises(IndexError):
            session.undo()
        assert all(same(a, b) for a, b in zip(first, follow(session), strict=True))

    def test_clicks_are_a_copy(self, network):
        session = make(network)
        session.click(30, 40)
        session.clicks.add(Click(1, 2))
        assert list(session.clicks) == [Click(30, 40)]


class TestOptions:
    def test_the_crop_size_is_the_networks_own_by_default(self, network):
        assert InteractiveSession(network).crop_size == (64, 64)
        assert InteractiveSession(blob_network).crop_size == (448, 448)
        assert InteractiveSession(network, 48).crop_size == (48, 48)
        assert InteractiveSession(network, (48, 32)).crop_size == (48, 32)
        own = ZoomIn(40, min_size=10)
        assert InteractiveSession(network, zoom_in=own).zoom_in is own

    @pytest.mark.parametrize("size", [(61, 83), (64, 64), (9, 30)])
    def test_without_zoom_the_image_goes_in_at_its_own_size(self, network, size):
        session = make(network, picture(*size), zoom_in=False)
        for row, column in [(3, 5), (8, 20)]:
            prediction = session.click(row, column)
            assert prediction.probability.shape == size
            assert all(each.mask.shape == size for each in prediction.candidates)
        assert session._state.box == CropBox.whole(size)

    def test_without_zoom_clicks_are_unchanged(self):
        calls = []

        def network(image, previous, points):
            calls.append((tuple(image.shape), points))
            return blob_network(image, previous, points)

        make(network, picture(20, 30), zoom_in=False, flip=False).click(3.5, 7.25)
        assert calls[0][0] == (1, 3, 20, 30)
        assert calls[0][1].tolist() == [[[3.5, 7.25, 0], [-1, -1, -1]]]

    @pytest.mark.parametrize(
        ("size", "options"),
        [((64, 64), {"crop_size": 64}), ((64, 64), {"zoom_in": False}), ((61, 83), {"zoom_in": False})],
    )
    def test_the_mirrored_image_with_mirrored_clicks_gives_the_mirrored_answer(self, network, size, options):
        """Exact where a crop keeps its size; positions in a resized crop round to one side."""
        image = picture(*size)
        plain, mirrored = make(network, image, **options), make(network, image[:, ::-1], **options)
        for row, column, positive in [(30, 40, True), (10, 12, False), (52.5, 50.25, True)]:
            expected = plain.click(row, column, positive)
            answer = mirrored.click(row, size[1] - 1 - column, positive)
            np.testing.assert_allclose(answer.probability[:, ::-1], expected.probability, atol=1e-4)
        one_sided = make(network, image[:, ::-1], flip=False, **options).click(30, size[1] - 1 - 40)
        first = make(network, image, flip=False, **options).click(30, 40)
        assert not np.allclose(one_sided.probability[:, ::-1], first.probability, atol=1e-3)

    def test_training_mode(self, network):
        session = make(network)
        first = session.click(30, 40)
        try:
            network.train()
            with pytest.raises(ValueError, match=r"evaluation mode; call network\.eval\(\)"):
                InteractiveSession(network)
            with pytest.raises(RuntimeError, match="training mode"):
                session.click(10, 12, positive=False)
            assert session.prediction is first
        finally:
            network.eval()

    @pytest.mark.parametrize("threshold", [0.0, 1.0, -1, 49])
    def test_threshold(self, network, threshold):
        with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
            InteractiveSession(network, threshold=threshold)

    @pytest.mark.parametrize("crop_size", [0, -5, (1, 2, 3), 32.5])
    def test_crop_size(self, network, crop_size):
        with pytest.raises(ValueError, match="crop_size must be one positive whole number"):
            InteractiveSession(network, crop_size)

    def test_two_sessions_on_one_network_do_not_disturb_each_other(self, network):
        one, two = make(network), make(network, picture(seed=5))
        expected = follow(make(network))
        for (row, column, positive), prediction in zip(CLICKS, expected, strict=True):
            assert same(one.click(row, column, positive), prediction)
            two.click(row, column)
