from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.data.annotations import FORMATS, decode_annotation
from adaptiveclick_med.data.layers import stack_objects


def masks(*rows: str) -> list[np.ndarray]:
    return [np.array([[letter == "x" for letter in row]]) for row in rows]


def test_each_object_goes_to_the_first_layer_where_it_meets_no_other() -> None:
    layers = stack_objects(masks("xx...", ".xx..", "..xx.", "....x"), (1, 5))
    assert layers.dtype == np.int32
    assert layers[:, 0].tolist() == [[1, 1, 3, 3, 4], [0, 2, 2, 0, 0]]


def test_numbers_of_ones_own_and_empty_masks() -> None:
    assert stack_objects(masks("x..", "...", ".x."), (1, 3), [7, 8, 9])[:, 0].tolist() == [[7, 9, 0]]


def test_without_objects_there_is_one_empty_layer() -> None:
    assert stack_objects([], (2, 3)).tolist() == [[[0, 0, 0], [0, 0, 0]]]


def test_nothing_is_lost() -> None:
    random = np.random.RandomState(0)
    given = [random.random_sample((6, 6)) < 0.4 for _ in range(9)]
    layers = stack_objects(given, (6, 6))
    for number, mask in enumerate(given, start=1):
        assert np.array_equal((layers == number).any(axis=0), mask)


def test_annotations_of_an_unknown_format() -> None:
    with pytest.raises(ValueError, match=f"format of an annotation must be one of {', '.join(FORMATS)}, got 'xml'"):
        decode_annotation({"format": "xml"})
    with pytest.raises(ValueError, match="got None"):
        decode_annotation({})
