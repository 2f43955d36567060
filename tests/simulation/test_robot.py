from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.distance import squared_depth
from adaptiveclick_med.simulation import RobotUser
from adaptiveclick_med.simulation.robot import _squared_limit


def block(size, rows, columns, value=1, dtype=int):
    array = np.zeros(size, dtype=dtype)
    array[slice(*rows), slice(*columns)] = value
    return array


def blobs(R, size, sigma=2.0):
    return ndimage.gaussian_filter(R.random_sample(size), sigma) > 0.5


def whole_image_click(target, prediction, clicked):
    """The robot user without boxes and parts."""
    regions = ((target == 0) & prediction, (target == 1) & ~prediction)
    best = None
    for positive, region in zip((False, True), regions, strict=True):
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        squares = np.rint(depth**2).astype(int)
        for click in clicked:
            squares[click.row, click.column] = 0
        if squares.max() > (0 if best is None else best[0]):
            row, column = divmod(int(squares.argmax()), squares.shape[1])
            best = (squares.max(), Click(row, column, positive=positive))
    return None if best is None else best[1]


class TestRobotUser:
    @pytest.mark.parity
    def test_reference_sequences(self, golden):
        description, tensors = golden("g3_clicker")
        user, compared = RobotUser(), 0
        for case in description["cases"]:
            target, prediction = tensors[f"{case['id']}/gt"], tensors[f"{case['id']}/pred"]
            clicks = Clicks()
            if case["name"] in ("perfect", "only_ignore_wrong"):
                assert user.next_click(target, prediction, clicks) is None
                continue
            for step in case["steps"]:
                click = user.next_click(target, prediction, clicks)
                assert click == Click(step["row"], step["col"], positive=step["is_positive"])
                clicks.add(click)
                compared += 1
        assert compared > 50

    def test_centre_of_the_deeper_region(self):
        target = block((30, 40), (3, 12), (4, 13))
        prediction = block((30, 40), (20, 25), (30, 35), dtype=bool)
        assert RobotUser().next_click(target, prediction) == Click(7, 8, positive=True)
        prediction = block((30, 40), (15, 28), (20, 33), dtype=bool)
        assert RobotUser().next_click(target, prediction) == Click(21, 26, positive=False)

    def test_false_positive_wins_a_tie(self):
        target = block((20, 20), (2, 7), (2, 7))
        prediction = block((20, 20), (10, 15), (12, 17), dtype=bool)
        assert RobotUser().next_click(target, prediction) == Click(12, 14, positive=False)

    def test_first_in_raster_order_across_parts(self):
        target = (
            block((20, 40), (2, 7), (30, 35)) | block((20, 40), (1, 6), (3, 8)) | block((20, 40), (10, 13), (5, 30))
        )
        nothing = np.zeros((20, 40), dtype=bool)
        first = RobotUser().next_click(target, nothing)
        assert first == Click(3, 5)
        assert RobotUser().next_click(target, nothing, [first]) == Click(4, 32)

    def test_clicked_pixels_stay_in_their_region(self):
        target = block((9, 9), (1, 8), (1, 8))
        nothing = np.zeros((9, 9), dtype=bool)
        assert RobotUser().next_click(target, nothing) == Click(4, 4)
        # all eight neighbours of the centre are 3 deep: the click did not cut a hole
        assert RobotUser().next_click(target, nothing, [Click(4, 4)]) == Click(3, 3)
        assert RobotUser().next_click(target, nothing, [Click(3.6, 4.3), Click(3.4, 2.9), Click(-5, 90)]) == Click(3, 4)

    def test_image_border_is_outside(self):
        user, nothing = RobotUser(), np.zeros((7, 11), dtype=bool)
        assert user.next_click(np.ones((7, 11)), nothing) == Click(3, 3)
        assert user.next_click(block((7, 11), (0, 3), (0, 3)), nothing) == Click(1, 1)

    def test_single_pixel(self):
        target = block((5, 5), (4, 5), (4, 5))
        nothing = np.zeros((5, 5), dtype=bool)
        assert RobotUser().next_click(target, nothing) == Click(4, 4)
        assert RobotUser().next_click(target, nothing, [Click(4, 4)]) is None
        assert RobotUser().next_click(np.ones((1, 1)), [[False]]) == Click(0, 0)

    def test_no_error_left(self):
        target = block((6, 6), (1, 4), (1, 4))
        assert RobotUser().next_click(target, target == 1) is None
        assert RobotUser().next_click(np.zeros((6, 6)), np.zeros((6, 6), dtype=bool)) is None

    def test_ignore_pixels_are_no_error_and_cut_regions(self):
        target = block((9, 9), (0, 9), (0, 9))
        target[3:6, 3:6] = -1
        click = RobotUser().next_click(target, np.zeros((9, 9), dtype=bool))
        assert click == Click(1, 1)
        target = np.full((9, 9), -1)
        assert RobotUser().next_click(target, np.ones((9, 9), dtype=bool)) is None

    @pytest.mark.parametrize("sigma", [0.0, 0.8, 2.5])
    def test_boxes_and_parts_change_nothing(self, sigma):
        R, user = np.random.RandomState(5), RobotUser()
        for _ in range(40):
            size = R.randint(1, 36, size=2)
            target = blobs(R, size, sigma).astype(int)
            target[R.random_sample(size) < 0.03] = -1
            prediction = blobs(R, size, sigma)
            clicks: list[Click] = []
            for _ in range(4):
                click = user.next_click(target, prediction, clicks)
                assert click == whole_image_click(target, prediction, clicks)
                if click is None:
                    break
                clicks.append(click)

    def test_a_long_thin_rim_beside_a_small_deep_part(self, monkeypatch):
        target = block((120, 140), (5, 115), (5, 135))
        prediction = block((120, 140), (7, 113), (7, 133), dtype=bool)
        prediction[30:71, 60:101] = False
        measured = []
        monkeypatch.setattr(
            "adaptiveclick_med.simulation.robot.squared_depth",
            lambda mask: measured.append(mask.shape) or squared_depth(mask),
        )
        assert RobotUser().next_click(target, prediction) == Click(50, 80)
        assert measured == [(41, 41)]

    @pytest.mark.parametrize("radius", [0.0, 1.0, 1.5, 2.3, 5.0, 17.2])
    def test_no_pixel_of_a_disk_is_deeper_than_its_limit(self, radius):
        rows, columns = np.ogrid[:41, :43]
        disk = (rows - 20) ** 2 + (columns - 21) ** 2 <= radius**2
        depth = squared_depth(disk).max()
        assert depth <= _squared_limit(disk.shape, int(disk.sum())) < (depth**0.5 + 1.5) ** 2

    def test_very_many_parts(self):
        target = np.zeros((60, 60), dtype=int)
        target[::2, ::2] = 1
        target[21:26, 31:36] = 1
        assert ndimage.label(target, np.ones((3, 3)))[1] > 256
        assert RobotUser().next_click(target, np.zeros((60, 60), dtype=bool)) == Click(23, 33)

    @pytest.mark.parametrize("convert", [np.int8, np.float32, bool, torch.from_numpy, MetaTensor, np.ndarray.tolist])
    def test_kinds_of_input(self, convert):
        target = block((9, 9), (2, 7), (2, 7))
        converted = (
            target.astype(convert) if isinstance(convert, type) and convert is not MetaTensor else convert(target)
        )
        assert RobotUser().next_click(converted, torch.zeros(9, 9, dtype=torch.uint8)) == Click(4, 4)

    def test_bad_input(self):
        user = RobotUser()
        with pytest.raises(ValueError, match=r"target must be of shape \[H, W\], got \[1, 4, 4\]"):
            user.next_click(np.zeros((1, 4, 4)), np.zeros((4, 4), dtype=bool))
        with pytest.raises(ValueError, match=r"prediction must have the shape of target, \[4, 4\], got \[4, 5\]"):
            user.next_click(np.zeros((4, 4)), np.zeros((4, 5), dtype=bool))
        with pytest.raises(TypeError, match="threshold probabilities first"):
            user.next_click(np.zeros((4, 4)), np.zeros((4, 4)))
