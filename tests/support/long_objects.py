"""A volume with two long objects, to carry their masks through."""

from __future__ import annotations

import numpy as np

from adaptiveclick_med.inference import VolumeSession

SHAPE = (34, 36, 32)
BOX = (slice(6, 18), slice(6, 18), slice(6, 26))
POST = (slice(22, 30), slice(14, 24), slice(None))
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}


def scene(*parts):
    """Bright parts on a dark ground; the value of a corner tells the axial slice."""
    array = np.full(SHAPE, 0.1, np.float32)
    for part in parts or (BOX, POST):
        array[part] = 0.9
    array[0, 0] = np.arange(SHAPE[2]) / 100
    return array


def make(network, array=None, affine=None, **options):
    session = VolumeSession(network, **{"zoom_in": False, "flip": False, **options})
    session.set_volume(scene() if array is None else array, affine)
    return session


def region(*parts):
    mask = np.zeros(SHAPE, dtype=bool)
    for part in parts:
        mask[part] = True
    return mask


def asked(bright, start=0):
    """The axial slices for which the network was asked."""
    return [round(float(image[0, 0].flatten()[-1]) * 100) for image, _, _ in bright.calls[start:]]
