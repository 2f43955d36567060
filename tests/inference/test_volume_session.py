from __future__ import annotations

import numpy as np
import pytest
from volume_scenes import BOX, POST, SHAPE, make, part, snapshot

from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.inference import InteractiveSession, SlicePrediction, VolumeClick


class TestASlice:
    def test_types(self, bright):
        session = make(bright)
        assert session.prediction is None
        assert session.candidates == []
        answer = session.click((8, 9.25, 7), plane="coronal", label=3)
        assert isinstance(answer, SlicePrediction)
        assert session.prediction is answer
        assert (answer.plane, answer.index, answer.label) == ("coronal", 9, 3)
        assert (answer.mask.shape, answer.mask.dtype, answer.probability.dtype) == ((20, 24), bool, np.float32)
        assert answer.confidence == pytest.approx(1 / (1 + np.exp(-24 * 0.4)), abs=1e-4)
        assert session.clicks() == [VolumeClick(8.0, 9.25, 7.0, True, 3, "coronal")]
        assert (session.mask(3).dtype, session.labels().dtype) == (bool, np.uint8)
        assert np.array_equal(session.mask(3), part(BOX, j=9))
        assert np.array_equal(session.labels(), 3 * part(BOX, j=9))
        assert not session.mask(1).any()

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    @pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
    def test_is_what_a_session_on_the_picture_gives(self, network, plane, signs):
        volume = np.random.RandomState(0).randint(0, 256, (40, 36, 30)).astype(np.uint8)
        affine = np.diag([*signs, 1.0])
        cut = slice_plane(affine, plane)
        session = make(network, volume, affine, zoom_in=True, flip=True)
        alone = InteractiveSession(network)
        alone.set_image(cut.take(volume, 14))
        clicks = [((14, 20, 14), True), ((14, 5, 14), False), ((14, 8.5, 14), True)]
        for at, positive in clicks:
            voxel = list(at)
            voxel[0], voxel[cut.axes[0]] = voxel[cut.axes[0]], 14
            row, column = (
                volume.shape[axis] - 1 - voxel[axis] if flip else voxel[axis]
                for axis, flip in zip(cut.axes[1:], cut.flips, strict=True)
            )
            answer, expected = session.click(voxel, positive, plane=plane), alone.click(row, column, positive)
            assert np.array_equal(answer.probability, expected.probability)
            assert np.array_equal(answer.mask, expected.mask)
            for one, two in zip(answer.candidates, expected.candidates, strict=True):
                assert np.array_equal(one.probability, two.probability)
                assert one.confidence == two.confidence
            assert np.array_equal(cut.take(session.mask(), 14), expected.mask)

    def test_a_changed_answer_changes_nothing_else(self, network):
        session = make(network, np.random.RandomState(0).randint(0, 256, (40, 36, 4)).astype(np.uint8))
        first = session.click((20, 20, 2))
        kept = snapshot(session)
        probability = first.probability.copy()
        first.mask[:] = True
        first.probability[:] = 1
        for each in first.candidates:
            each.mask[:] = True
            each.probability[:] = 1
        session.mask()[:] = True
        session.labels()[:] = 9
        session.undo()
        again = session.click((20, 20, 2))
        assert np.array_equal(again.probability, probability)
        assert snapshot(session) == kept

    def test_an_answer_is_known_after_undo(self, bright):
        session = make(bright)
        session.click((8, 8, 8))
        kept = snapshot(session)
        session.undo()
        session.click((8, 8, 8))
        assert len(bright.calls) == 1
        assert snapshot(session) == kept
        session.click((8, 8, 8), label=2)
        assert len(bright.calls) == 1
        session.click((8, 8.5, 8), label=3)
        assert len(bright.calls) == 2


class TestSeveralSlices:
    def test_slices_planes_and_labels(self, bright):
        session = make(bright)
        session.click((8, 8, 8))
        session.click((9, 9, 11), plane="axial")
        session.click((10, 7, 9), plane="sagittal")
        session.click((21, 12, 8), label=2)
        expected = part(BOX, k=8) | part(BOX, k=11) | part(BOX, i=10)
        assert np.array_equal(session.mask(), expected)
        assert np.array_equal(session.mask(2), part(POST, k=8))
        assert np.array_equal(session.labels(), expected + 2 * part(POST, k=8))
        assert [click.label for click in session.clicks()] == [1, 1, 1, 2]
        assert [click.plane for click in session.clicks(1)] == ["axial", "axial", "sagittal"]
        assert session.clicks(2) == [VolumeClick(21.0, 12.0, 8.0, True, 2, "axial")]
        assert session.clicks(7) == []

    def test_the_slices_of_a_plane(self, bright):
        session = make(bright)
        session.click((8, 8, 11))
        session.click((8, 8, 8))
        session.click((8, 8, 8), plane="coronal")
        assert list(session.slices()) == [8, 11]
        assert list(session.slices(1, "coronal")) == [8]
        assert session.slices(1, "sagittal") == {}
        assert session.slices(2) == {}
        assert session.slices()[8].shape == (26, 24)
        assert session.slices()[8].sum() == part(BOX, k=8).sum()

    def test_where_objects_overlap_the_newest_counts(self, bright):
        session = make(bright)
        session.click((8, 8, 8), label=300)
        session.click((8, 8, 8), label=2)
        assert session.labels().dtype == np.uint16
        assert set(np.unique(session.labels())) == {0, 2}
        session.click((9, 9, 8), label=300)
        assert set(np.unique(session.labels())) == {0, 300}
        session.undo()
        assert set(np.unique(session.labels())) == {0, 2}
        session.reset(2)
        assert set(np.unique(session.labels())) == {0, 300}

    def test_a_crossing_plane_corrects_a_slice(self, bright):
        session = make(bright)
        session.click((8, 10, 8))
        session.click((15, 10, 8), positive=False, plane="coronal")
        expected = part(BOX, k=8)
        expected[8:, 10, 8] = False  # nearer than eight pixels to the click
        assert np.array_equal(session.mask(), expected)
        session.click((8, 10, 8), plane="coronal")
        session.click((15, 10, 8), positive=False)
        answer = session.prediction
        assert bright.calls[-1][2].tolist() == [[[15, 15, 0], [15, 8, 1]]]  # the slice's earlier click, and the new one
        assert np.array_equal(answer.mask, slice_plane(np.eye(4), "axial").take(session.mask(), 8))
        assert not session.mask()[13:, 10, 8].any()
        assert session.mask()[6:11, 10, 8].all()

    def test_the_newest_counts_where_planes_cross(self, bright):
        session = make(bright)
        session.click((8, 10, 8), plane="coronal")
        session.click((8, 10, 8), plane="axial")
        session.click((16, 10, 8), positive=False, plane="axial")
        cut = slice_plane(np.eye(4), "axial")
        assert np.array_equal(cut.take(session.mask(), 8), session.prediction.mask)
        assert not session.mask()[14:, 10, 8].any()
        assert session.mask()[6:18, 10, 9].all()

    def test_a_touched_slice_goes_on_from_what_it_shows(self, bright):
        """The previous mask of the network is what the user sees."""
        session = make(bright)
        session.click((8, 10, 8), plane="coronal")
        session.click((9, 12, 8), plane="axial")
        shown = np.zeros((26, 24), dtype=np.float32)
        shown[26 - 1 - 10, 24 - 18 : 24 - 6] = 1
        assert np.array_equal(bright.calls[1][1][0, 0].numpy(), shown)
        untouched = session.prediction.probability
        session.click((16, 16, 8), plane="axial")
        assert np.array_equal(bright.calls[2][1][0, 0].numpy(), untouched)


class TestSetMask:
    def test_it_is_the_object(self, bright):
        session = make(bright)
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[BOX] = 255
        session.set_mask(mask, 2)
        mask[:] = 0
        assert np.array_equal(session.mask(2), part(BOX))
        assert session.clicks() == []
        assert session.prediction is None
        assert session.slices(2) == {}
        assert bright.calls == []

    def test_a_negative_click_may_come_first(self, bright):
        session = make(bright)
        session.set_mask(part(BOX) | part(POST))
        session.click((21, 12, 8), positive=False)
        expected = part(BOX) | part(POST)
        expected[:, :, 8] = False
        expected[:, :, 8] |= session.mask()[:, :, 8]
        assert np.array_equal(session.mask(), expected)
        assert not session.mask()[21, 12, 8]
        assert session.mask()[10, 10, 8]
        assert len(session.clicks()) == 1
        previous = bright.calls[0][1][0, 0].numpy()
        assert np.array_equal(previous > 0.5, slice_plane(np.eye(4), "axial").take(part(BOX) | part(POST), 8))

    def test_the_network_knows_of_clicks_that_stand_for_it(self, bright):
        """None of them where the user says the opposite."""
        session = make(bright)
        session.set_mask(part(BOX))
        session.click((21, 12, 8))
        points = bright.calls[0][2][0]
        positive = [point[:2] for point in points[: len(points) // 2].tolist() if point[2] >= 0]
        assert len(positive) == 2
        row, column = positive[0]
        assert part(BOX)[24 - 1 - int(column), 26 - 1 - int(row), 8]
        assert np.array_equal(session.mask()[:, :, 8], (part(BOX) | part(POST))[:, :, 8])
        session.undo()
        session.click((24 - 1 - column, 26 - 1 - row, 8), positive=False)
        points = bright.calls[1][2][0]
        assert (points[: len(points) // 2, 2] < 0).all()

    def test_it_takes_the_place_of_what_was_there_and_can_be_undone(self, bright):
        session = make(bright)
        session.click((8, 8, 8))
        session.click((21, 12, 8), label=2)
        before = snapshot(session)
        session.set_mask(part(POST))
        assert np.array_equal(session.mask(), part(POST))
        assert session.clicks(1) == []
        assert np.array_equal(session.mask(2), part(POST, k=8))
        session.undo()
        assert snapshot(session) == before

    def test_an_empty_one(self, bright):
        session = make(bright)
        session.set_mask(np.zeros(SHAPE, dtype=bool))
        with pytest.raises(ValueError, match="no positive click"):
            session.click((8, 8, 8), positive=False)
        session.click((8, 8, 8))
        assert np.array_equal(session.mask(), part(BOX, k=8))

    def test_a_click_that_it_stands_for_goes_where_the_user_disagrees_later(self, bright):
        session = make(bright)
        session.set_mask(part(BOX))
        session.click((21, 12, 8))
        (row, column), user = bright.calls[0][2][0, :2, :2].tolist()
        session.click((24 - 1 - column, 26 - 1 - row + 2, 8), positive=False)
        assert bright.calls[1][2].tolist() == [[[*user, 0], [row - 2, column, 1]]]
        session.click((24 - 1 - column, 26 - 1 - row, 8))
        assert bright.calls[2][2][0, :2].tolist() == [[*user, 0], [row, column, 2]]


class TestASliceThatAnotherPlaneEmptied:
    def test_begins_anew(self, bright):
        array = np.full(SHAPE, 0.1, np.float32)
        array[10:14, 10, 4:16] = 0.9
        session = make(bright, array)
        session.click((10, 10, 8))
        session.click((13, 10, 8))
        session.click((11, 10, 8), positive=False, plane="coronal")
        assert not session.mask().any()
        with pytest.raises(ValueError, match="no positive click"):
            session.click((12, 10, 8), positive=False)
        session.click((12, 10, 8))
        assert np.array_equal(session.mask()[:, :, 8], (array > 0.5)[:, :, 8])
        session.click((10, 10, 8), positive=False)
        assert bright.calls[-1][2].tolist() == [[[15, 11, 0], [15, 13, 1]]]
        assert [click.i for click in session.clicks() if click.plane == "axial"] == [10, 13, 12, 10]
