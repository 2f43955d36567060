"""Random windows and the recipes built on them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from adaptiveclick_med.transforms import RandWindowd, augmentation
from adaptiveclick_med.transforms.augmentation import RECIPES, _any_appearance

IDS = (3, 70_000, 2**24 - 1)


def coordinates(height: int, width: int) -> torch.Tensor:
    """[2, H, W]: the row and the column of each pixel."""
    return torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))


def layered_label(height: int, width: int) -> torch.Tensor:
    label = torch.zeros(2, height, width, dtype=torch.int32)
    label[0, height // 5 : height // 2, width // 6 : width // 2] = IDS[0]
    label[0, -height // 4 :, : width // 3] = -1
    label[1, height // 3 : -height // 5, width // 3 : -width // 6] = IDS[1]
    label[1, height // 4 : height // 3, width // 3 : -width // 6] = IDS[2]
    return label


def sample(height: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(height)
    return {
        "image": MetaTensor(torch.rand(3, height, width, generator=generator)),
        "label": MetaTensor(layered_label(height, width)),
        "name": "a",
    }


def global_state() -> tuple[Any, ...]:
    state = np.random.get_state()  # noqa: NPY002
    return state[1].tolist(), state[2], torch.get_rng_state().tolist(), random.getstate()


class Windows(RandWindowd):
    """Shows the window itself, not resized."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.resize = lambda data: data


class TestRandWindow:
    @pytest.mark.parametrize(("height", "width"), [(100, 160), (160, 100), (33, 33), (7, 300), (600, 500)])
    @pytest.mark.parametrize("object_probability", [0.0, 1.0])
    def test_the_window_lies_inside_and_holds_the_object(self, height, width, object_probability):
        label = torch.zeros(1, height, width, dtype=torch.int32)
        label[0, height - 1, 2] = 4
        data = {"image": coordinates(height, width), "label": label}
        transform = Windows(size=(48, 64), object_probability=object_probability).set_random_state(seed=1)
        longer = max(height, width)
        smallest = min(29 / 2, 0.6 * longer)  # 29 / 64 pixels as 200 / 448 of the paper, and half of it
        held = []
        for _ in range(300):
            window = transform(data)
            rows, columns = window["image"]
            assert (rows[1:] - rows[:-1] == 1).all() and (columns[:, 1:] - columns[:, :-1] == 1).all()
            shape = tuple(rows.shape)
            assert 1 <= shape[0] <= height and 1 <= shape[1] <= width
            assert torch.equal(
                window["label"], label[:, rows[0, 0] : rows[-1, 0] + 1, columns[0, 0] : columns[0, -1] + 1]
            )
            for side, full in zip(shape, (height, width), strict=True):
                assert side == full or smallest / 1.25**0.5 - 0.5 <= side <= longer * 1.25**0.5 + 0.5
            held.append(bool((window["label"] == 4).any()))
        assert all(held) == (object_probability == 1.0)

    def test_the_aspect_ratio_changes_a_little(self):
        data = {"image": coordinates(400, 400), "label": torch.zeros(1, 400, 400)}
        transform = Windows(size=(64, 64)).set_random_state(seed=0)
        shapes = np.array([tuple(transform(data)["image"].shape[1:]) for _ in range(400)])
        inside = shapes[(shapes < 400).all(1)]
        ratios = inside[:, 0] / inside[:, 1]
        rounding = 1.25 / (inside.min() - 0.5)
        assert ratios.min() > 1 / 1.25 - rounding and ratios.max() < 1.25 + rounding
        assert ratios.min() < 0.83 and ratios.max() > 1.2
        sides = np.sqrt(inside.prod(1))
        # log-uniform: half of all sides lie below the geometric mean of the ends 14.5 and 400
        assert np.mean(sides < np.sqrt(14.5 * 400)) == pytest.approx(0.5, abs=0.1)
        assert sides.min() < 17 and shapes.max() == 400

    def test_the_side_follows_the_object(self):
        label = torch.zeros(1, 400, 300, dtype=torch.int32)
        label[0, 150:230, 100:140] = 7
        data = {"image": coordinates(400, 300), "label": label}
        transform = Windows(size=(64, 64), object_probability=1.0, whole_probability=0.0, max_aspect=1.0)
        transform.set_random_state(seed=0)
        windows = [transform(data) for _ in range(300)]
        sides = np.array([window["image"].shape[1] for window in windows])
        assert 56 - 0.5 <= sides.min() < 60 and 220 < sides.max() <= 240 + 0.5
        # log-uniform between 0.7 and 3 times 80
        assert np.mean(sides < np.sqrt(56 * 240)) == pytest.approx(0.5, abs=0.1)
        held = np.array([int((window["label"] == 7).sum()) for window in windows])
        assert (held[sides >= 80] == 80 * 40).all() and (held > 0).all()
        assert all(window["focus"] == 7 for window in windows)
        places = np.array([window["image"][0, 0, 0] + 0.5 * (window["image"].shape[1] - 1) for window in windows])
        assert places.std() > 15  # the object is anywhere in the window

    def test_a_long_object_has_a_long_window(self):
        label = torch.zeros(1, 400, 300, dtype=torch.int32)
        label[0, 150:230, 100:120] = 7
        data = {"image": coordinates(400, 300), "label": label}
        options: dict[str, Any] = {"object_probability": 1.0, "whole_probability": 0.0, "max_aspect": 1.0}
        transform = Windows(size=(64, 64), **options).set_random_state(seed=0)
        shapes = np.array([tuple(transform(data)["image"].shape[1:]) for _ in range(200)])
        # the box is four times as high as wide, and half of the smallest crop of 29 pixels is the least
        np.testing.assert_allclose(shapes[:, 1], np.maximum(shapes[:, 0] / 4, 14.5), atol=0.7)
        assert shapes[:, 1].min() == 14 and shapes[:, 1].max() > 50

    def test_a_window_smaller_than_the_object_holds_a_pixel_of_it(self):
        label = torch.zeros(1, 200, 200, dtype=torch.int32)
        label[0, 20:180, 20:180] = 3
        label[0, 30:170, 30:170] = 0
        transform = Windows(size=(64, 64), object_probability=1.0, whole_probability=0.0, context=(0.3, 0.4))
        transform.set_random_state(seed=0)
        windows = [transform({"image": coordinates(200, 200), "label": label})["label"] for _ in range(100)]
        assert all(window.shape[1] < 80 and bool((window == 3).any()) for window in windows)

    def test_no_focus_without_an_object(self):
        data = {"image": coordinates(90, 90), "label": torch.ones(1, 90, 90)}
        for options in ({"whole_probability": 1.0}, {"whole_probability": 0.0, "object_probability": 0.0}):
            assert Windows(size=(32, 32), **options).set_random_state(seed=0)(data)["focus"] == 0

    @pytest.mark.parametrize("context", [(0, 1), (2.0, 1.0), (1.0,), (-1, 1)])
    def test_context_is_checked(self, context):
        with pytest.raises(ValueError, match="context must be two rising numbers above 0"):
            RandWindowd(size=(32, 32), context=context)

    def test_every_object_is_chosen_alike(self):
        label = torch.zeros(2, 200, 200, dtype=torch.int32)
        label[0, :100] = 1
        label[1, 195:, 195:] = 2
        transform = Windows(size=(32, 32), object_probability=1.0, max_aspect=1.0)
        transform.set_random_state(seed=0)
        windows = [transform({"image": coordinates(200, 200), "label": label})["label"] for _ in range(300)]
        # by area the small object would hardly ever be held
        assert np.mean([bool((window == 2).any()) for window in windows]) > 0.45
        assert np.mean([bool((window == 1).any()) for window in windows]) > 0.45

    def test_the_whole_image_is_reached(self):
        data = {"image": coordinates(256, 256), "label": torch.zeros(1, 256, 256)}
        transform = Windows(size=(224, 224)).set_random_state(seed=0)
        shares = [min(transform(data)["image"].shape[1:]) / 256 for _ in range(600)]
        assert np.mean([share == 1.0 for share in shares]) == pytest.approx(0.25, abs=0.06)
        whole = Windows(size=(224, 224), whole_probability=1.0).set_random_state(seed=0)
        assert all(torch.equal(whole(data)["image"], data["image"]) for _ in range(5))

    @pytest.mark.parametrize(("height", "width"), [(20, 30), (64, 96), (300, 200)])
    def test_size_and_ids(self, height, width):
        transform = RandWindowd(size=(40, 56)).set_random_state(seed=0)
        for _ in range(20):
            result = transform(sample(height, width))
            assert result["image"].shape == (3, 40, 56)
            assert result["label"].shape == (2, 40, 56)
            assert set(result["label"][0].unique().tolist()) <= {-1, 0, IDS[0]}
            assert set(result["label"][1].unique().tolist()) <= {0, IDS[1], IDS[2]}
            assert result["name"] == "a"

    def test_image_and_label_show_the_same_place(self):
        data = {"image": coordinates(50, 70).float(), "label": coordinates(50, 70)}
        transform = RandWindowd(size=(100, 140), object_probability=0.0).set_random_state(seed=0)
        for _ in range(20):
            result = transform(data)
            inner = (result["image"] - result["label"])[:, 4:-4, 4:-4].abs()
            assert float(inner.max()) <= 0.5 + 1e-3

    def test_its_own_random_state(self):
        options: dict[str, Any] = {"size": (32, 32), "whole_probability": 0.0, "context": (0.2, 0.4)}
        first, again, other = (RandWindowd(**options).set_random_state(seed=seed) for seed in (5, 5, 6))
        before = global_state()
        images = [[t(sample(90, 80))["image"] for _ in range(4)] for t in (first, again, other)]
        assert all(torch.equal(a, b) for a, b in zip(images[0], images[1], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(images[0], images[2], strict=True))
        assert not torch.equal(images[0][0], images[0][1])
        assert global_state() == before


class TestRecipes:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("size", [48, (48, 48), [40, 64]])
    @pytest.mark.parametrize(("height", "width"), [(30, 20), (64, 64), (90, 200)])
    def test_size_range_and_ids(self, recipe, size, height, width):
        transform = augmentation(recipe, size).set_random_state(seed=3)
        expected = (size, size) if isinstance(size, int) else tuple(size)
        for _ in range(8):
            result = transform(sample(height, width))
            assert result["image"].shape == (3, *expected)
            assert result["label"].shape == (2, *expected)
            assert result["image"].min() >= 0 and result["image"].max() <= 1
            assert set(result["label"][0].unique().tolist()) <= {-1, 0, IDS[0]}
            assert set(result["label"][1].unique().tolist()) <= {0, IDS[1], IDS[2]}

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_objects_beyond_the_precision_of_float32_stay_apart(self, recipe):
        label = torch.zeros(2, 60, 60, dtype=torch.int32)
        label[0, 10:50, 10:30], label[0, 10:50, 30:50], label[0, :5] = 2**24, 2**24 + 1, -1
        label[1, 10:50, 10:50] = 2**31 - 1
        transform = augmentation(recipe, 64).set_random_state(seed=0)
        for _ in range(5):
            result = transform({"image": torch.rand(3, 60, 60), "label": MetaTensor(label)})["label"]
            first, second = (set(layer[layer > 0].unique().tolist()) for layer in result)
            assert len(first) == 2 and len(second) == 1 and not first & second
            assert result.min() >= -1

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_seeded(self, recipe):
        first, again, other = (augmentation(recipe, 32).set_random_state(seed=seed) for seed in (5, 5, 6))
        before = global_state()
        results = [[t(sample(50, 60)) for _ in range(4)] for t in (first, again, other)]
        for key in ("image", "label"):
            assert all(torch.equal(a[key], b[key]) for a, b in zip(results[0], results[1], strict=True))
        assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(results[0], results[2], strict=True))
        assert global_state() == before

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_the_label_follows_the_image(self, recipe):
        label = torch.zeros(1, 80, 100, dtype=torch.int32)
        label[0, 10:50, 15:60] = 1
        image = (0.3 + 0.4 * (label > 0)).expand(3, -1, -1)
        transform = augmentation(recipe, 96).set_random_state(seed=2)
        overlaps = []
        for _ in range(25):
            result = transform({"image": MetaTensor(image), "label": MetaTensor(label)})
            inside = result["label"][0] > 0
            brightness = result["image"].mean(0)
            if inside.sum() < 200:
                continue
            middle = (brightness[inside].median() + 0.5 * (brightness.max() - brightness.max())) - 0.15
            bright = brightness > middle
            overlaps.append(float((bright & inside).sum() / (bright | inside).sum()))
        assert len(overlaps) > 15
        assert np.median(overlaps) > 0.9

    def test_coco_lvis_flips_columns_but_neither_rows_nor_axes(self):
        rows, columns = coordinates(60, 60) / 59
        transform = augmentation("coco_lvis", 32).set_random_state(seed=0)
        rightward = []
        for _ in range(60):
            image = transform({"image": 0.3 + 0.3 * rows.expand(3, -1, -1), "label": rows[None]})["image"]
            assert image[:, -1].mean() > image[:, 0].mean()
            torch.testing.assert_close(image[..., :1].expand_as(image), image, atol=1e-3, rtol=0)
            image = transform({"image": 0.3 + 0.3 * columns.expand(3, -1, -1), "label": rows[None]})["image"]
            torch.testing.assert_close(image[:, :1].expand_as(image), image, atol=1e-3, rtol=0)
            rightward.append(bool(image[..., -1].mean() > image[..., 0].mean()))
        assert 0.3 < np.mean(rightward) < 0.7

    def test_sbd_flips_and_turns_all_ways(self):
        label = torch.zeros(1, 60, 60, dtype=torch.int32)
        label[0, 5:20, 5:20], label[0, 5:20, 40:55], label[0, 40:55, 5:20], label[0, 40:55, 40:55] = 1, 2, 3, 4
        transform = augmentation("sbd", 96).set_random_state(seed=0)
        orders = set()
        for _ in range(200):
            found = transform({"image": torch.rand(3, 60, 60), "label": label})["label"][0]
            centres = {n: (found == n).nonzero().float().mean(0).tolist() for n in (1, 2, 3, 4)}
            down = sorted(centres, key=lambda n: centres[n][0])
            orders.add(
                tuple(sorted(down[:2], key=lambda n: centres[n][1]) + sorted(down[2:], key=lambda n: centres[n][1]))
            )
        assert orders == {
            *((1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)),
            *((2, 4, 1, 3), (3, 1, 4, 2), (1, 3, 2, 4), (4, 2, 3, 1)),
        }

    @pytest.mark.parametrize(("recipe", "high"), [("sbd", 1.25), ("coco_lvis", 1.40)])
    def test_the_paper_s_range_of_sizes(self, recipe, high):
        label = torch.zeros(1, 80, 80, dtype=torch.int32)
        label[0, 20:60, 20:60] = 1
        transform = augmentation(recipe, 128).set_random_state(seed=0)
        scales, boxes = [], []
        for _ in range(150):
            found = transform({"image": torch.rand(3, 80, 80), "label": label})["label"][0] > 0
            scales.append(float(found.sum()) ** 0.5 / 40)
            rows, columns = found.nonzero().T
            boxes.append(int((rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)) == int(found.sum()))
        assert 0.72 < min(scales) < 0.79
        assert high - 0.05 < max(scales) < high + 0.03
        assert np.mean(scales) == pytest.approx((0.75 + high) / 2, abs=0.06)
        # only SBD also turns by some degrees, with probability 0.75
        assert all(boxes) if recipe == "coco_lvis" else 0.15 < np.mean(boxes) < 0.45

    @pytest.mark.parametrize("recipe", ["sbd", "coco_lvis"])
    def test_the_paper_s_range_of_colours(self, recipe):
        transform = augmentation(recipe, 16).set_random_state(seed=0)
        values = torch.stack(
            [
                transform({"image": torch.full((3, 22, 22), 0.5), "label": torch.zeros(1, 22, 22)})["image"][:, 8, 8]
                for _ in range(300)
            ]
        )
        step = 10 / 255
        assert 0.5 * 0.85 - 0.25 - step <= values.min() < 0.25
        assert 0.9 < values.max() <= 0.5 * 1.4 + 0.25 + step
        spread = values.amax(1) - values.amin(1)
        assert 0.06 < spread.max() <= 2 * step + 1e-5
        assert float((spread > 1e-6).float().mean()) == pytest.approx(0.75, abs=0.07)
        alone = values[spread <= 1e-6, 0]
        assert float((alone != 0.5).float().mean()) == pytest.approx(0.75, abs=0.12)

    def test_any_modality_inverts_a_quarter_and_mixes_the_colours(self):
        """Dark red on black: brighter than a half only where inverted, grey or with blue in front where mixed."""
        colours = torch.tensor([0.3, 0.1, 0.0])[:, None, None]
        image = (colours * torch.linspace(0.5, 1.0, 40)).expand(3, 40, 40).contiguous()
        transform = augmentation("any_modality", 32).set_random_state(seed=0)
        kinds = {"inverted": 0, "grey": 0, "reversed": 0}
        draws = 600
        for _ in range(draws):
            pixels = torch.as_tensor(transform({"image": image, "label": torch.zeros(1, 40, 40)})["image"])
            red, green, blue = pixels[:, 12:20, 12:20].mean((1, 2)).tolist()
            inverted = green > 0.5
            kinds["inverted"] += inverted
            step = (red - blue) * (-1 if inverted else 1)
            kinds["grey"] += abs(step) < 0.04
            kinds["reversed"] += step < -0.04
        assert kinds["inverted"] / draws == pytest.approx(0.25, abs=0.06)
        assert kinds["grey"] / draws == pytest.approx(0.2, abs=0.05)
        assert kinds["reversed"] / draws == pytest.approx(0.2 * 0.8, abs=0.05)

    def test_any_modality_loses_sharpness_and_lays_fields(self):
        """Columns of two shades: what differs along a column is a field, what softens the edge is lost sharpness."""
        image = torch.full((3, 96, 96), 0.3)
        image[:, :, 48:] = 0.7
        appearance = Compose(_any_appearance()).set_random_state(seed=4)
        draws = 400
        uneven, soft = 0, 0
        for _ in range(draws):
            pixels = torch.as_tensor(appearance({"image": image})["image"])[0]
            uneven += bool((pixels[4] - pixels[-5]).abs().max() > 1e-3)
            row = pixels[48, 30:66]
            soft += bool(row.diff().abs().max() < 0.95 * (row.max() - row.min()))
        assert uneven / draws == pytest.approx(0.2, abs=0.06)
        assert 0.2 < soft / draws < 0.45

    def test_none_only_cuts_and_resizes(self):
        image = torch.full((3, 50, 50), 0.4)
        transform = augmentation("none", 64).set_random_state(seed=0)
        for _ in range(5):
            result = transform({"image": image, "label": torch.zeros(1, 50, 50)})["image"]
            torch.testing.assert_close(torch.as_tensor(result), torch.full((3, 64, 64), 0.4))

    @pytest.mark.parametrize("recipe", ["Medical", "", "imagenet"])
    def test_unknown(self, recipe):
        with pytest.raises(ValueError, match=f"recipe must be one of {', '.join(RECIPES)}, got '{recipe}'"):
            augmentation(recipe)
