"""Long random sessions: what was undone leaves no trace, and what is remembered changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.inference import VolumeSession

SHAPE = (40, 36, 10)
PLANES = ("axial", "coronal", "sagittal")


def random_action(random, session):
    """Return one action that the session can do, as (method, arguments, options)."""
    kind = random.choice(["click"] * 6 + ["propagate", "choose", "set_mask", "reset"])
    label, plane = int(random.randint(1, 3)), str(random.choice(PLANES))
    if kind == "choose" and session.candidates:
        return "choose", (int(random.randint(10)),), {}
    if kind == "propagate" and any(click.label == label for click in session.clicks()):
        return "propagate", (str(random.choice(["up", "down", "both"])), int(random.randint(1, 3))), {"label": label}
    if kind == "set_mask" and random.rand() < 0.5:
        mask = np.zeros(SHAPE, dtype=bool)
        i, j, k = (int(random.randint(side - 2)) for side in SHAPE)
        mask[i : i + 15, j : j + 15, k : k + 4] = True
        return "set_mask", (mask, label), {}
    if kind == "reset" and random.rand() < 0.3:
        return "reset", (label,), {}
    point = tuple(float(random.randint(2 * side - 1)) / 2 for side in (*SHAPE[:2], 6))
    return "click", (point, bool(random.rand() < 0.7)), {"label": label, "plane": plane}


def do(session, action):
    """Do it; a refused one is none."""
    method, arguments, options = action
    try:
        getattr(session, method)(*arguments, **options)
    except ValueError:
        return False
    return True


def seen(session):
    return (
        session.labels().tobytes(),
        [session.mask(label).tobytes() for label in (1, 2)],
        session.clicks(),
        None if session.prediction is None else session.prediction.probability.tobytes(),
        [each.probability.tobytes() for each in session.candidates],
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [1.0, 3.0])
def test_the_same_actions_give_the_same_whatever_was_undone(network, seed, spacing):
    random = np.random.RandomState(seed)
    volume = random.randint(0, 256, SHAPE).astype(np.uint8)
    affine = np.diag([-1.0, 1.0, spacing, 1.0])
    session, fresh = (VolumeSession(network, undo_limit=100, cache_bytes=size) for size in (2**28, 1))
    session.set_volume(volume, affine)
    fresh.set_volume(volume, affine)
    done, states = [], []
    for _ in range(24):
        if done and random.rand() < 0.25:
            session.undo()
            done.pop()
            assert seen(session) == states.pop()
            continue
        before, action = seen(session), random_action(random, session)
        if do(session, action):
            done.append(action)
            states.append(before)
        else:
            assert seen(session) == before
    twin = session.sibling()
    for action in done:
        assert do(fresh, action)
        assert do(twin, action)
    assert done
    assert seen(session) == seen(fresh) == seen(twin)
