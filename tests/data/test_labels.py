from __future__ import annotations

import numpy as np
import pytest

from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.data.labels import check_label, label_layers, largest_object, picture_label, slice_areas

LABEL = np.array([[3, 3, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0], [9, 0, 0, 3]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("label_type", "expected"),
    [
        ("instances", LABEL.tolist()),
        ("labels", LABEL.tolist()),
        ("auto", LABEL.tolist()),
        ("binary", (LABEL > 0).astype(int).tolist()),
        ("components", [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 3]]),
        ("binary_components", [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 3]]),
    ],
)
def test_label_types(label_type: str, expected: list) -> None:
    layers = label_layers(LABEL, label_type)
    assert layers.dtype == np.int32 and layers.tolist() == [expected]


def test_components_split_by_value_and_joined_without() -> None:
    touching = np.array([[1, 2, 2], [1, 2, 2]])
    assert label_layers(touching, "components").max() == 2
    assert label_layers(touching, "binary_components").max() == 1


def test_ignore_value_and_minus_one() -> None:
    label = np.array([[0, 255, 4], [-1, 4, 0]], dtype=np.int16)
    assert label_layers(label, "instances", 255).tolist() == [[[0, -1, 4], [-1, 4, 0]]]
    assert label_layers(label, "binary", 255).tolist() == [[[0, -1, 1], [-1, 1, 0]]]
    assert label_layers(label, "binary").tolist() == [[[0, 1, 1], [-1, 1, 0]]]


def test_layers_keep_distinct_numbers_and_get_new_ones_where_they_clash() -> None:
    distinct = np.array([[[1, 1]], [[2, 0]]])
    assert label_layers(distinct, "instances").tolist() == distinct.tolist()
    clash = np.array([[[1, 5]], [[1, 0]], [[0, 1]]])
    assert label_layers(clash, "instances").tolist() == [[[1, 5]], [[6, 0]], [[0, 7]]]


def test_ignored_pixels_are_ignored_in_all_layers_but_not_in_objects() -> None:
    layers = np.array([[[1, 9, 9]], [[0, 0, 2]]])
    assert label_layers(layers, "instances", 9).tolist() == [[[1, -1, 0]], [[0, -1, 2]]]


def test_float_labels() -> None:
    assert label_layers(np.array([[0.0, 0.9999], [2.0, 1.0]]), "instances").tolist() == [[[0, 1], [2, 1]]]
    with pytest.raises(ValueError, match=r"whole numbers, got for example 0\.5"):
        label_layers(np.array([[0.0, 0.5]]), "instances")
    with pytest.raises(ValueError, match="not finite"):
        label_layers(np.array([[0.0, np.nan]]), "binary")


def test_soft_masks_need_a_word() -> None:
    soft = np.array([[0, 3, 128, 255]], dtype=np.uint8)
    with pytest.raises(ValueError, match=r"255 and 2 other values.*ignore_value=255.*'binary'.*'instances'"):
        check_label(soft, "auto", None)
    check_label(soft, "auto", 255)
    check_label(soft, "instances", None)
    check_label(np.array([[0, 255]], dtype=np.uint8), "auto", None)
    check_label(np.array([[0, 3, 300]], dtype=np.uint16), "auto", None)


def test_negative_and_unknown() -> None:
    check_label(np.array([[-1, 2]]), "auto", None)
    with pytest.raises(ValueError, match=r"negative.*got -5"):
        check_label(np.array([[-5, 2]]), "auto", None)
    check_label(np.array([[-5, 2]]), "auto", -5)
    for function in (lambda: check_label(LABEL, "masks", None), lambda: label_layers(LABEL, "masks")):
        with pytest.raises(ValueError, match="label_type must be one of auto, instances"):
            function()


def test_colour_pictures() -> None:
    grey = np.repeat(LABEL[..., None], 3, axis=2)
    assert picture_label(grey, "instances").tolist() == LABEL.tolist()
    colour = grey.copy()
    colour[0, 3] = (0, 7, 0)
    assert (picture_label(colour, "binary") > 0).sum() == (LABEL > 0).sum() + 1
    with pytest.raises(ValueError, match="colour picture"):
        picture_label(colour, "instances")


def test_areas() -> None:
    assert largest_object(label_layers(LABEL, "instances")) == 4
    assert largest_object(label_layers(LABEL, "components")) == 3
    assert largest_object(np.full((1, 2, 2), -1, dtype=np.int32)) == 0
    volume = np.zeros((4, 4, 3), dtype=np.uint8)
    volume[..., 1] = LABEL
    volume[0, 0, 2] = 255
    plane = slice_plane(np.eye(4), "axial")
    assert slice_areas(volume, plane, "instances") == {1: 4, 2: 1}
    assert slice_areas(volume, plane, "binary", 255) == {1: 5}
    assert slice_areas(np.stack([volume, volume > 0], axis=-1), plane, "instances", 255) == {1: 5, 2: 1}
