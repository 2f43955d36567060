from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.inference import CropBox, ZoomIn
from adaptiveclick_med.inference.crop import _box_above, _box_on_device


def probability(size, rows, columns, value=0.9):
    result = torch.zeros(size)
    result[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = value
    return result


class TestCropBox:
    def test_all_sides_belong_to_it(self):
        box = CropBox(top=2, bottom=4, left=10, right=10)
        assert (box.height, box.width) == (3, 1)
        assert CropBox.whole((5, 7)) == CropBox(0, 4, 0, 6)
        assert (CropBox.whole((5, 7)).height, CropBox.whole((5, 7)).width) == (5, 7)

    @pytest.mark.parametrize(
        ("one", "two", "expected"),
        [
            ((0, 9, 0, 9), (0, 9, 0, 9), 1.0),
            ((0, 9, 0, 9), (5, 14, 0, 9), 5 / 15),
            ((0, 9, 0, 9), (5, 14, 5, 14), (5 / 15) ** 2),
            ((0, 9, 0, 9), (2, 5, 3, 3), 4 / 10 * 1 / 10),
            ((0, 9, 0, 9), (10, 19, 0, 9), 0.0),
            ((0, 9, 0, 9), (9, 19, 0, 9), 1 / 20),
            ((0, 9, 0, 9), (30, 39, 30, 39), 0.0),
        ],
    )
    def test_overlap_is_the_product_of_two_intervals(self, one, two, expected):
        assert CropBox(*one).overlap(CropBox(*two)) == pytest.approx(expected)
        assert CropBox(*two).overlap(CropBox(*one)) == pytest.approx(expected)

    def test_the_last_row_and_column_count_as_outside(self):
        box = CropBox(10, 20, 30, 40)
        for row, column in [(10, 30), (19.9, 39.9), (15, 35)]:
            assert box.holds(Click(row, column))
        for row, column in [(20, 35), (15, 40), (9.9, 35), (15, 29.5), (50, 50)]:
            assert not box.holds(Click(row, column))


class TestChoice:
    SIZE = (600, 800)

    def choose(self, found, clicks=(), old=None, **options):
        return ZoomIn((448, 448), **options).choose(self.SIZE, clicks, found, old)

    @pytest.mark.parametrize("value", [0.0, 0.49, 0.5])
    def test_the_whole_image_while_nothing_exceeds_one_half(self, value):
        click = [Click(150, 400)]
        assert self.choose(None, click) == CropBox.whole(self.SIZE)
        assert self.choose(torch.full(self.SIZE, value), click) == CropBox.whole(self.SIZE)

    def test_by_hand(self):
        """Rows: centre 149.5, side max(140, 200); columns: centre 399.5, side 280; halves go to the even number."""
        found = probability(self.SIZE, (100, 199), (300, 499))
        assert self.choose(found) == CropBox(50, 250, 260, 540)
        found = probability(self.SIZE, (101, 200), (301, 500))
        assert self.choose(found) == CropBox(50, 250, 260, 540)
        found = probability(self.SIZE, (200, 400), (300, 300))
        assert self.choose(found) == CropBox(159, 441, 200, 400)

    def test_clamped_to_the_image(self):
        assert self.choose(probability(self.SIZE, (0, 10), (780, 799))) == CropBox(0, 105, 690, 799)
        assert self.choose(probability(self.SIZE, (0, 599), (0, 799))) == CropBox.whole(self.SIZE)
        small = ZoomIn().choose((50, 60), [], probability((50, 60), (20, 22), (30, 33)), None)
        assert small == CropBox.whole((50, 60))

    def test_smaller_inputs_are_shown_smaller_crops(self):
        assert ZoomIn().min_size == ZoomIn((448, 320)).min_size == ZoomIn(1024).min_size == 200
        assert ZoomIn(224).min_size == 100 and ZoomIn((64, 128)).min_size == 57 and ZoomIn(1).min_size == 1
        found = probability(self.SIZE, (140, 159), (300, 499))
        assert ZoomIn(224).choose(self.SIZE, [], found, None) == CropBox(100, 200, 260, 540)

    def test_options(self):
        found = probability(self.SIZE, (100, 199), (300, 499))
        assert self.choose(found, expansion=1.0, min_size=20) == CropBox(100, 200, 300, 500)
        assert self.choose(0.6 * found, threshold=0.6) == CropBox.whole(self.SIZE)

    def test_positive_clicks_belong_to_the_object_negative_ones_do_not(self):
        found = probability(self.SIZE, (100, 199), (300, 499))
        clicks = [Click(50.9, 400), Click(150, 599.5), Click(590, 10, positive=False)]
        expected = self.choose(probability(self.SIZE, (50, 199), (300, 599)))
        assert self.choose(found, clicks) == expected

    def test_single_pixels_count(self):
        found = torch.zeros(self.SIZE)
        found[100, 400] = found[300, 300] = 0.51
        assert self.choose(found) == self.choose(probability(self.SIZE, (100, 300), (300, 400)))

    def test_boxes_of_any_device_are_those_of_the_cpu(self):
        random = torch.rand(20, 13, 17, generator=torch.Generator().manual_seed(0))
        for number, found in enumerate(random):
            threshold = 1 - 0.6 ** (number + 1)
            places = (found > threshold).nonzero()
            expected = None
            if len(places):
                (top, left), (bottom, right) = places.amin(0).tolist(), places.amax(0).tolist()
                expected = CropBox(top, bottom, left, right)
            assert _box_above(found, threshold) == _box_on_device(found > threshold) == expected
        assert _box_on_device(torch.zeros(4, 5, dtype=torch.bool)) is None

    def test_the_old_box_is_kept_while_it_fits(self):
        found = probability(self.SIZE, (100, 199), (300, 499))
        new = CropBox(50, 250, 260, 540)
        old = CropBox(45, 255, 255, 545)
        inside, outside, edge = Click(150, 400), Click(44, 400), Click(255, 400)
        assert self.choose(found, [inside], old) is old
        assert self.choose(found, [outside, inside], old) != old
        assert self.choose(found, [inside, Click(1, 1, positive=False)], old) is old
        assert not old.holds(edge)
        assert self.choose(found, [edge], old) != old
        assert self.choose(found, [inside], CropBox(50, 250, 700, 799)) == new

    def test_overlap_of_exactly_the_limit_keeps_the_old_box(self):
        found = probability(self.SIZE, (100, 199), (300, 499))
        new = CropBox(50, 250, 260, 540)
        for right, kept in [(540 + 281, True), (540 + 282, False)]:
            old = CropBox(50, 250, 260, right)
            assert (old.overlap(new) >= 0.5) == kept
            assert (self.choose(found, [], old) == old) == kept
        assert self.choose(found, [], CropBox(50, 250, 260, 1200), keep_overlap=0.1).right == 1200


class TestFrames:
    def test_target_size(self):
        box = CropBox(0, 99, 0, 199)
        assert ZoomIn((448, 320)).input_size(box) == (448, 320)
        assert ZoomIn(448).input_size(box) == (224, 448)
        assert ZoomIn(448).input_size(CropBox(0, 299, 0, 199)) == (448, 299)
        assert ZoomIn(100).input_size(CropBox(0, 0, 0, 999)) == (1, 100)
        assert ZoomIn(100).input_size(CropBox(0, 999, 0, 0)) == (100, 1)

    def test_crop_of_its_own_size_is_the_image(self):
        image = torch.rand(1, 2, 9, 11)
        box = CropBox(2, 6, 3, 10)
        assert torch.equal(ZoomIn((5, 8)).crop(image, box), image[:, :, 2:7, 3:11])

    @pytest.mark.parametrize("threads", [1, 2])
    def test_channels_are_cropped_alike_whatever_stands_beside_them(self, threads):
        image, box, before = torch.rand(1, 4, 90, 80), CropBox(5, 71, 3, 77), torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            together = ZoomIn((48, 48)).crop(image, box)
            assert torch.equal(ZoomIn((48, 48)).crop(image[:, :3], box), together[:, :3])
            assert torch.equal(ZoomIn((48, 48)).crop(image[:, 3:], box), together[:, 3:])
        finally:
            torch.set_num_threads(before)

    def test_paste_of_a_whole_image(self):
        probability = torch.rand(1, 2, 6, 7)
        pasted = ZoomIn((6, 7)).paste(probability, CropBox.whole((12, 9)), (12, 9))
        expected = F.interpolate(probability, (12, 9), mode="bilinear", align_corners=True)
        assert torch.equal(pasted, expected)

    def test_crop_and_paste_align_corners(self):
        image = torch.arange(20.0).reshape(1, 1, 4, 5)
        box = CropBox(1, 2, 1, 3)
        zoom = ZoomIn((3, 5))
        crop = zoom.crop(image, box)
        assert crop[0, 0].tolist() == [[6, 6.5, 7, 7.5, 8], [8.5, 9, 9.5, 10, 10.5], [11, 11.5, 12, 12.5, 13]]
        pasted = zoom.paste(crop, box, (4, 5))
        expected = torch.zeros(4, 5)
        expected[1:3, 1:4] = image[0, 0, 1:3, 1:4]
        torch.testing.assert_close(pasted[0, 0], expected)

    def test_clicks_by_hand_and_fractional(self):
        clicks = Clicks([Click(10, 20), Click(13, 21, positive=False), Click(5, 100)])
        box = CropBox(10, 19, 20, 39)
        moved = ZoomIn((40, 30)).crop_clicks(clicks, box)
        assert [(click.row, click.column, click.positive) for click in moved] == [
            (0, 0, True),
            (40 * 3 / 10, 30 * 1 / 20, False),
            (40 * -5 / 10, 30 * 80 / 20, True),
        ]
        moved = ZoomIn(60).crop_clicks(clicks, box)
        np.testing.assert_allclose([(c.row, c.column) for c in moved], [(0, 0), (9, 3), (-15, 240)])

    def test_thin_crops(self):
        zoom = ZoomIn(64)
        image = torch.rand(1, 3, 2, 1000)
        box = CropBox.whole((2, 1000))
        crop = zoom.crop(image, box)
        assert crop.shape == (1, 3, 1, 64)
        assert zoom.paste(crop, box, (2, 1000)).shape == image.shape
