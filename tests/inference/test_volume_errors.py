from __future__ import annotations

import numpy as np
import pytest
from volume_scenes import SHAPE, make, scene, snapshot

from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.networks import AdaptiveClick


class TestErrors:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda s: s.click((8, 8)), r"a point must be three numbers, got \(8, 8\)"),
            (lambda s: s.click(8), "a point must be three numbers, got 8"),
            (lambda s: s.click("abc"), "a point must be three numbers, got 'abc'"),
            (lambda s: s.click((8, None, 8)), "a point must be three numbers"),
            (lambda s: s.click((8, np.nan, 8)), "a point must be three finite numbers"),
            (lambda s: s.click((8, 8, 19.6)), r"\(8, 8, 19.6\) lies outside the volume.*\(0, 0, 0\) to \(23, 25, 19\)"),
            (lambda s: s.click((-0.6, 8, 8)), r"\(-0.6, 8, 8\) lies outside the volume"),
            (lambda s: s.click((8, 26, 8)), "lies outside the volume"),
            (lambda s: s.click_world((8, 26, 8)), "lies outside the volume"),
            (lambda s: s.click((8, 8, 8), plane="oblique"), "plane must be one of axial, coronal, sagittal, got 'obl"),
            (lambda s: s.click((8, 8, 8), label=0), "label must be a whole number from 1 to 65535, got 0"),
            (lambda s: s.click((8, 8, 8), label=-3), "label must be a whole number .* got -3"),
            (lambda s: s.click((8, 8, 8), label=1.0), "label must be a whole number .* got 1.0"),
            (lambda s: s.click((8, 8, 8), label=True), "label must be a whole number .* got True"),
            (lambda s: s.click((8, 8, 8), label="1"), "label must be a whole number .* got '1'"),
            (lambda s: s.click((8, 8, 8), label=65536), "label must be a whole number .* got 65536"),
            (lambda s: s.click((8, 8, 2), positive=False), "no positive click"),
            (lambda s: s.click((8, 8, 8), positive=False, label=2), "no positive click"),
            (lambda s: s.mask(0), "label must be a whole number"),
            (lambda s: s.slices(1, "up"), "plane must be one of"),
            (lambda s: s.set_mask(np.zeros((24, 26))), r"volume's shape \[24, 26, 20\], got \[24, 26\]"),
            (lambda s: s.set_mask(np.zeros((26, 24, 20))), r"volume's shape \[24, 26, 20\], got \[26, 24, 20\]"),
            (lambda s: s.set_mask(np.zeros(SHAPE), 0), "label must be a whole number"),
            (lambda s: s.set_volume(np.zeros((4, 4))), r"volume must be of shape .* got \[4, 4\]"),
            (lambda s: s.set_volume(np.zeros((4, 0, 4))), r"and not empty, got \[4, 0, 4\]"),
            (lambda s: s.set_volume(np.zeros((4, 4, 4), complex)), "integer or floating type, got complex128"),
            (lambda s: s.set_volume(np.full((4, 4, 4), "a")), "volume must be of an integer or floating type"),
            (lambda s: s.set_volume(scene(), np.eye(3)), "affine is not an invertible 4x4 matrix"),
            (lambda s: s.set_volume(scene(), np.zeros((4, 4))), "affine is not an invertible 4x4 matrix"),
            (lambda s: s.set_volume(scene(), np.full((4, 4), np.nan)), "affine is not an invertible 4x4 matrix"),
        ],
    )
    def test_the_session_stays_as_it_was(self, bright, call, message):
        session = make(bright)
        session.click((8, 8, 8))
        session.click((9, 9, 8))
        before = snapshot(session)
        with pytest.raises(ValueError, match=message):
            call(session)
        assert snapshot(session) == before
        session.undo()
        assert len(session.clicks()) == 1

    def test_no_volume(self, bright):
        session = VolumeSession(bright)
        for call in (
            lambda: session.click((1, 1, 1)),
            lambda: session.click_world((1, 1, 1)),
            lambda: session.to_voxel((1, 1, 1)),
            lambda: session.set_mask(np.zeros((2, 2, 2))),
            session.mask,
            session.labels,
            session.slices,
            lambda: session.image,
            lambda: session.acquisition_plane,
        ):
            with pytest.raises(RuntimeError, match="No volume was set; call set_volume first"):
                call()
        assert session.clicks() == []
        assert session.prediction is None

    def test_too_many_clicks_on_a_slice(self, bright):
        session = make(bright, max_clicks=2)
        session.click((8, 8, 8))
        session.click((9, 9, 8))
        before = snapshot(session)
        with pytest.raises(ValueError, match="max_clicks = 2"):
            session.click((10, 9, 8))
        assert snapshot(session) == before
        session.click((10, 9, 9))
        session.click((10, 9, 8), label=2)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_anisotropy": 0.9}, "max_anisotropy must be at least 1, got 0.9"),
            ({"max_anisotropy": float("nan")}, "max_anisotropy must be at least 1, got nan"),
            ({"undo_limit": -1}, "undo_limit must be at least 0, got -1"),
            ({"threshold": 1.5}, "threshold must lie between 0 and 1, got 1.5"),
            ({"crop_size": 0}, "crop_size"),
        ],
    )
    def test_options(self, bright, options, message):
        with pytest.raises(ValueError, match=message):
            VolumeSession(bright, **options)

    def test_training_mode(self):
        network = AdaptiveClick.from_preset("nano", image_size=32)
        with pytest.raises(ValueError, match="evaluation mode"):
            VolumeSession(network)
        session = make(network.eval(), np.zeros((32, 32, 3), np.uint8))
        network.train()
        with pytest.raises(RuntimeError, match="training mode"):
            session.click((8, 8, 1))
        assert session.clicks() == []

    def test_a_network_that_fails_leaves_the_session_as_it_was(self, bright):
        def network(image, previous, points):
            if len(bright.calls) == 3:
                raise MemoryError("too large")
            return bright(image, previous, points)

        session = make(network)
        session.click((8, 8, 8))
        before = snapshot(session)
        with pytest.raises(MemoryError, match="too large"):
            session.propagate()
        assert snapshot(session) == before
        with pytest.raises(MemoryError, match="too large"):
            session.click((8, 8, 9))
        assert snapshot(session) == before
        session.undo()
        assert session.clicks() == []
