"""A volume whose objects are known, and what can be seen of a session on it."""

from __future__ import annotations

import numpy as np

from adaptiveclick_med.inference import VolumeSession

SHAPE = (24, 26, 20)
BOX = (slice(6, 18), slice(6, 18), slice(4, 16))
POST = (slice(20, 23), slice(2, 24), slice(2, 18))


def scene():
    array = np.full(SHAPE, 0.1, np.float32)
    array[BOX] = array[POST] = 0.9
    return array


def make(network, array=None, affine=None, **options):
    session = VolumeSession(network, **{"zoom_in": False, "flip": False, **options})
    session.set_volume(scene() if array is None else array, affine)
    return session


def part(region, **fixed):
    """A region of the scene in one slice, for example k=8."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[region] = True
    only = np.zeros(SHAPE, dtype=bool)
    only[tuple(fixed.get(name, slice(None)) for name in "ijk")] = True
    return mask & only


def snapshot(session):
    """All that a user can see of a session."""
    newest = session.prediction
    known = sorted({click.label for click in session.clicks()} | {1, 2, 3})
    return {
        "masks": [session.mask(label).tobytes() for label in known],
        "labels": session.labels().tobytes(),
        "clicks": session.clicks(),
        "newest": None if newest is None else (newest.plane, newest.index, newest.label, newest.probability.tobytes()),
        "candidates": [each.probability.tobytes() for each in session.candidates],
        "slices": [
            {index: mask.tobytes() for index, mask in session.slices(label, plane).items()}
            for label in known
            for plane in ("axial", "coronal", "sagittal")
        ],
    }
