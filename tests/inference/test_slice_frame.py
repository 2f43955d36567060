from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.inference.slice_frame import SliceFrame


class TestForSpacing:
    @pytest.mark.parametrize(
        ("size", "spacing", "max_anisotropy", "min_side", "inner"),
        [
            ((20, 30), (1.0, 1.0), 1.5, 1, (20, 30)),
            ((20, 30), (5.0, 1.0), 1.5, 1, (100, 30)),
            ((20, 30), (1.0, 3.0), 1.5, 1, (20, 90)),
            ((20, 30), (0.4, 0.6), 1.5, 1, (20, 30)),
            ((20, 30), (0.4, 0.61), 1.5, 1, (20, 46)),
            ((20, 30), (1.0, 1.2), 1.0, 1, (20, 36)),
            ((20, 30), (0.1, 0.1), 1.0, 1, (20, 30)),
            ((3, 30), (1.0, 1.0), 1.5, 8, (8, 80)),
            ((3, 30), (5.0, 1.0), 1.5, 8, (15, 30)),
            ((1, 1), (1.0, 1.0), 1.5, 8, (8, 8)),
            ((512, 400), (0.5, 5.0), 1.5, 1, (262, 2048)),
            ((3000, 20), (1.0, 3.0), 1.5, 1, (3000, 60)),
            ((3000, 20), (3.0, 1.0), 1.5, 1, (3000, 7)),
        ],
    )
    def test_the_inner_grid(self, size, spacing, max_anisotropy, min_side, inner):
        frame = SliceFrame.for_spacing(size, spacing, max_anisotropy, min_side)
        assert frame.size == size
        assert frame.inner == inner
        assert frame.same == (size == inner)


class TestResizing:
    def test_the_same_grid_copies_nothing(self):
        frame, values = SliceFrame((4, 5), (4, 5)), torch.rand(3, 4, 5)
        assert frame.to_inner(values) is values
        assert frame.to_slice(values) is values
        assert frame.click(1.25, 3.5, False) == Click(1.25, 3.5, positive=False)

    @pytest.mark.parametrize("inner", [(60, 30), (40, 30), (20, 90), (37, 41)])
    def test_there_and_back(self, inner):
        """A smooth map, and a mask of any shape, come back where they were."""
        frame = SliceFrame((20, 30), inner)
        rows, columns = np.meshgrid(np.arange(20), np.arange(30), indexing="ij")
        smooth = torch.from_numpy((rows / 40 + columns / 70).astype(np.float32))[None]
        assert frame.to_inner(smooth).shape == (1, *inner)
        back = frame.to_slice(frame.to_inner(smooth))
        assert back.dtype == torch.float32
        torch.testing.assert_close(back[:, 1:-1, 1:-1], smooth[:, 1:-1, 1:-1], atol=5e-3, rtol=0)
        mask = torch.from_numpy((rows - 9) ** 2 + (columns - 12) ** 2 < 40)[None]
        found = frame.to_slice((frame.to_inner(mask.float()) > 0.5).float()) > 0.5
        assert (found ^ mask).sum() <= 0.05 * mask.sum()

    def test_a_whole_factor_brings_masks_back_exactly(self):
        frame, mask = SliceFrame((20, 30), (100, 30)), torch.from_numpy(np.random.RandomState(0).rand(1, 20, 30) > 0.5)
        assert torch.equal(frame.to_slice((frame.to_inner(mask.float()) > 0.5).float()) > 0.5, mask)

    def test_values_stay_in_range(self):
        frame = SliceFrame((20, 30), (100, 33))
        values = torch.from_numpy(np.random.RandomState(0).rand(3, 20, 30).astype(np.float32)).round()
        inner = frame.to_inner(values)
        assert 0 <= inner.min() <= inner.max() <= 1
        assert 0 <= frame.to_slice(inner).min() <= frame.to_slice(inner).max() <= 1


class TestClick:
    @pytest.mark.parametrize("inner", [(100, 30), (20, 90), (60, 45), (16, 24)])
    def test_points_to_the_same_place(self, inner):
        """A click in the middle of a bright pixel lies on the bright part of the inner grid."""
        frame = SliceFrame((20, 30), inner)
        for row in range(20):
            for column in range(0, 30, 3):
                values = torch.zeros(1, 20, 30)
                values[0, row, column] = 1
                click = frame.click(row, column, True)
                shown = frame.to_inner(values)[0]
                assert shown[round(click.row), round(click.column)] >= 0.75 * shown.max()
                assert click.positive

    def test_both_grids_cover_the_same_area(self):
        frame = SliceFrame((20, 30), (100, 30))
        assert frame.click(0, 0, True) == Click(2.0, 0.0)
        assert frame.click(19, 29, True) == Click(97.0, 29.0)
        assert frame.click(9.5, 3.25, False) == Click(49.5, 3.25, positive=False)

    def test_is_clamped_to_the_grid(self):
        frame = SliceFrame((100, 30), (20, 60))
        assert frame.click(0, 0, True) == Click(0.0, 0.5)
        assert frame.click(99, 29, True) == Click(19.0, 58.5)
        for row, column in [(0.0, 0.0), (99.0, 29.0)]:
            click = frame.click(row, column, True)
            assert 0 <= click.row <= 19
            assert 0 <= click.column <= 59
