"""The first click on a small object is answered twice: where it is, then what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference import CropBox, InteractiveSession, VolumeSession, ZoomIn, click_together
from adaptiveclick_med.weights import default

SIZE = (400, 320)
CENTRE = (300.0, 100.0)


def disk(radius: float, centre: tuple[float, float] = CENTRE) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def make(network, mask: np.ndarray, **options) -> InteractiveSession:
    session = InteractiveSession(network, **{"crop_size": 64, "flip": False, "second_look": True, **options})
    session.set_image(np.where(mask, 255, 0).astype(np.uint8))
    return session


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return np.count_nonzero(one & two) / np.count_nonzero(one | two)


def test_a_small_object_is_seen_from_close(bright):
    target = disk(14)
    once = make(bright, target, second_look=False).click(*CENTRE)
    assert len(bright.calls) == 1
    bright.calls.clear()
    session = make(bright, target)
    twice = session.click(*CENTRE)
    assert len(bright.calls) == 2
    (_, _, points), (second, previous, moved) = bright.calls
    assert points[0, 0].tolist() == pytest.approx([64 * 300 / 400, 64 * 100 / 320, 0])
    box = ZoomIn(64).choose(SIZE, [Click(*CENTRE)], torch.from_numpy(once.probability), None)
    assert session.state.box == box and box.height < 60 and box.width < 60
    picture = torch.from_numpy(target.astype(np.float32))[None, None].expand(1, 3, -1, -1)
    assert torch.equal(second, ZoomIn(64).crop(picture, box))
    assert previous.shape == (1, 1, 64, 64) and not previous.any()
    height, width = box.bottom - box.top + 1, box.right - box.left + 1
    expected = [64 * (CENTRE[0] - box.top) / height, 64 * (CENTRE[1] - box.left) / width, 0]
    assert moved[0, 0].tolist() == pytest.approx(expected)
    assert iou(once.mask, target) < 0.9 and iou(twice.mask, target) > 0.95
    assert session.prediction is twice


def test_it_is_one_click(bright):
    session = make(bright, disk(14), max_clicks=1)
    session.click(*CENTRE)
    assert list(session.clicks) == [Click(*CENTRE)]
    with pytest.raises(ValueError, match="max_clicks = 1"):
        session.click(*CENTRE)
    assert session.undo() is None and not session.clicks
    with pytest.raises(IndexError):
        session.undo()
    session.click(*CENTRE)
    session.reset()
    assert session.prediction is None and session.state.probability is None


def test_later_clicks_go_on_from_the_second_answer(bright):
    session = make(bright, disk(14))
    first = session.click(*CENTRE)
    box = session.state.box
    bright.calls.clear()
    session.click(305, 103)
    ((_, previous, _),) = bright.calls
    assert torch.equal(previous, ZoomIn(64).crop(torch.from_numpy(first.probability)[None, None], box))
    assert session.state.box == box
    assert session.undo() is first


@pytest.mark.parametrize(("radius", "calls"), [(60, 2), (75, 1)])
def test_a_crop_of_more_than_a_quarter_of_the_image_is_not_worth_it(bright, radius, calls):
    session = make(bright, disk(radius))
    session.click(*CENTRE)
    assert len(bright.calls) == calls


def test_a_quarter_of_the_image_is_the_limit():
    probability = torch.zeros(SIZE)
    probability[100:300, 80:240] = 1.0
    zoom = ZoomIn(64, expansion=0.99)  # 198 x 158.4, both ends counted
    box = zoom.choose(SIZE, [], probability, None)
    share = box.height * box.width / (400 * 320)
    assert 0.24 < share < 0.25
    assert zoom.choose_second(SIZE, [], probability, largest=share) == box
    assert zoom.choose_second(SIZE, [], probability, largest=share - 1e-6) is None
    assert zoom.choose_second(SIZE, [], probability) == box
    assert ZoomIn(64).choose_second(SIZE, [], torch.zeros(SIZE)) is None


def test_a_mask_to_begin_with_is_not_looked_at_twice(bright):
    session = make(bright, disk(14))
    session.set_mask(disk(9))
    session.click(*CENTRE)
    assert len(bright.calls) == 1


def test_an_empty_second_answer_is_dropped():
    def network(image, previous, points):
        found = image.shape[-1] * float(image.mean()) < 2  # the whole image, mostly dark
        logits = torch.full_like(previous, -5.0)
        if found:
            row, column = points[0, 0, :2].round().long().tolist()
            logits[..., row - 2 : row + 3, column - 2 : column + 3] = 5.0
        return logits

    session = make(network, disk(14))
    expected = make(network, disk(14), second_look=False).click(*CENTRE)
    answer = session.click(*CENTRE)
    assert answer.mask.any() and np.array_equal(answer.probability, expected.probability)
    assert session.prediction is answer and session.state.box == CropBox.whole(SIZE)
    assert session.undo() is None


def test_it_needs_zoom_in(bright):
    with pytest.raises(ValueError, match="second_look looks at a crop, so it needs zoom_in, which is False"):
        InteractiveSession(bright, zoom_in=False, second_look=True)
    with pytest.raises(ValueError, match="second_look"):
        VolumeSession(bright, zoom_in=False, second_look=True)


def test_the_default_network_alone_and_together():
    places = [(70, 60), (300, 100), (200, 240)]
    radii = (18, 25, 90)  # the third is too large for a second look
    targets = [disk(radius, place) for radius, place in zip(radii, places, strict=True)]
    noise = np.random.RandomState(0).normal(0, 8, SIZE)
    images = [np.clip(np.where(target, 190, 60) + noise, 0, 255).astype(np.uint8) for target in targets]
    base = InteractiveSession(default(), second_look=True)
    alone, together = [base.sibling() for _ in places], [base.sibling() for _ in places]
    for image, *sessions in zip(images, alone, together, strict=True):
        for session in sessions:
            session.set_image(image)
    expected = [session.click(*place) for session, place in zip(alone, places, strict=True)]
    found = click_together(together, [Click(*place) for place in places])
    for one, two, session in zip(expected, found, together, strict=True):
        np.testing.assert_allclose(one.probability, two.probability, atol=2e-5)
        assert session.prediction is two and len(session.clicks) == 1
    boxes = [session.state.box for session in together]
    assert boxes == [session.state.box for session in alone]
    assert [box == CropBox.whole(SIZE) for box in boxes] == [False, False, True]
    assert min(iou(two.mask, target) for two, target in zip(found[:2], targets[:2], strict=True)) > 0.9


def test_in_a_volume(bright):
    volume = np.zeros((200, 210, 4), np.uint8)
    volume[150:170, 30:52, 1:3] = 255
    session = VolumeSession(bright, 64, flip=False, second_look=True)
    session.set_volume(volume)
    session.click((160, 40, 1), plane="axial")
    assert len(bright.calls) == 2
    bright.calls.clear()
    session.click((155, 35, 1), plane="axial")
    assert len(bright.calls) == 1
    bright.calls.clear()
    plain = VolumeSession(bright, 64, flip=False)
    plain.set_volume(volume)
    plain.click((160, 40, 1), plane="axial")
    assert len(bright.calls) == 1
    truth = volume[..., 1] > 0
    assert iou(session.mask()[..., 1], truth) > iou(plain.mask()[..., 1], truth)
