from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.inference import Candidate, Prediction


def test_candidates_are_made_once_and_only_when_asked_for():
    calls = []
    mask, probability = np.ones((2, 2), dtype=bool), np.ones((2, 2), dtype=np.float32)

    def make():
        calls.append(1)
        return [Candidate(mask, probability, 0.5)]

    prediction = Prediction(mask, probability, make)
    assert calls == []
    assert prediction.candidates is prediction.candidates
    assert calls == [1]
    assert "make" not in repr(prediction)


def test_no_candidates_by_default():
    assert Prediction(np.ones((2, 2), dtype=bool), np.ones((2, 2), dtype=np.float32)).candidates == []


def test_cannot_be_changed():
    prediction = Prediction(np.ones((2, 2), dtype=bool), np.ones((2, 2), dtype=np.float32))
    with pytest.raises(AttributeError):
        prediction.mask = None
