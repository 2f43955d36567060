from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from adaptiveclick_med.clicks import Click, Clicks
from adaptiveclick_med.evaluation import (
    EvaluationResult,
    ObjectResult,
    evaluate_dataset,
    evaluate_objects,
    evaluate_sample,
    format_table,
    objects_of,
)
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import SimpleClick


class FakeSession:
    """Answers clicks with masks from a function of (image, clicks)."""

    def __init__(self, answer):
        self.answer = answer
        self.images, self.history = [], []

    def set_image(self, image):
        self.images.append(image)
        self.clicks = Clicks()
        self.history.append(self.clicks)

    def click(self, row, column, positive=True):
        self.clicks.add(Click(row, column, positive))
        return SimpleNamespace(mask=self.answer(self.images[-1], self.clicks))


def square(size, rows, columns, value=1):
    target = np.zeros(size, dtype=np.int8)
    target[slice(*rows), slice(*columns)] = value
    return target


TARGET = square((12, 16), (2, 9), (3, 12))
IMAGE = np.zeros((12, 16, 3), dtype=np.uint8)


class TestEvaluateSample:
    def test_a_perfect_session_needs_one_click_in_the_middle(self):
        session = FakeSession(lambda image, clicks: TARGET > 0)
        clicks, ious = evaluate_sample(IMAGE, TARGET, session)
        assert list(clicks) == [Click(5, 6)]
        assert ious == [1.0]
        assert session.images[0] is IMAGE

    def test_a_hopeless_session_gets_all_clicks(self):
        session = FakeSession(lambda image, clicks: np.zeros((12, 16), dtype=bool))
        clicks, ious = evaluate_sample(IMAGE, TARGET, session, max_clicks=7)
        assert len(clicks) == 7
        assert all(click.positive for click in clicks)
        assert len({(click.row, click.column) for click in clicks}) == 7
        assert ious == [0.0] * 7

    def test_false_positives_get_negative_clicks(self):
        session = FakeSession(lambda image, clicks: np.ones((12, 16), dtype=bool))
        clicks, ious = evaluate_sample(IMAGE, TARGET, session, max_clicks=3)
        assert [click.positive for click in clicks] == [True, False, False]
        assert ious == pytest.approx([7 * 9 / (12 * 16)] * 3)

    def test_stops_at_the_target_iou(self):
        def one_column_a_click(image, clicks):
            mask = np.zeros((12, 16), dtype=bool)
            mask[2:9, 3 : 3 + len(clicks)] = True
            return mask

        clicks, ious = evaluate_sample(IMAGE, TARGET, FakeSession(one_column_a_click), target_iou=5 / 9)
        assert ious == pytest.approx([k / 9 for k in range(1, 6)])
        assert len(clicks) == 5

    def test_stops_when_no_error_is_left_that_may_be_clicked(self):
        target = square((3, 3), (1, 2), (1, 2))
        session = FakeSession(lambda image, clicks: np.zeros((3, 3), dtype=bool))
        clicks, ious = evaluate_sample(np.zeros((3, 3)), target, session)
        assert list(clicks) == [Click(1, 1)]
        assert ious == [0.0]

    def test_goes_on_after_a_perfect_answer_only_while_there_are_errors(self):
        session = FakeSession(lambda image, clicks: TARGET > 0)
        clicks, ious = evaluate_sample(IMAGE, TARGET, session, target_iou=2.0)
        assert (len(clicks), ious) == (1, [1.0])

    def test_ignored_pixels_are_neither_clicked_nor_counted(self):
        target = TARGET.copy()
        target[:, 8:] = -1
        session = FakeSession(lambda image, clicks: np.ones((12, 16), dtype=bool))
        clicks, ious = evaluate_sample(IMAGE, target, session, max_clicks=10)
        assert all(click.column < 8 for click in clicks)
        assert ious[0] == 7 * 5 / (12 * 8)

    def test_on_click(self):
        seen = []
        session = FakeSession(lambda image, clicks: TARGET > 0)
        evaluate_sample(IMAGE, TARGET, session, on_click=lambda *facts: seen.append(facts))
        assert len(seen) == 1
        assert seen[0][0] == Click(5, 6)
        assert seen[0][1].mask.sum() == 63
        assert seen[0][2] == 1.0

    def test_another_robot(self):
        class Corner:
            def next_click(self, target, mask, clicks):
                return Click(0, len(clicks), positive=False)

        session = FakeSession(lambda image, clicks: TARGET < 0)
        clicks, _ = evaluate_sample(IMAGE, TARGET, session, max_clicks=2, robot=Corner())
        assert list(clicks) == [Click(0, 0, positive=False), Click(0, 1, positive=False)]

    @pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], torch.zeros(12, 16), IMAGE.tolist()])
    def test_kinds_of_images(self, image):
        session = FakeSession(lambda image, clicks: TARGET > 0)
        assert evaluate_sample(image, torch.as_tensor(TARGET), session).ious == [1.0]

    @pytest.mark.parametrize("target", [TARGET * 0, TARGET * 0 - 1, np.where(TARGET, -1, 0)])
    def test_empty_target(self, target):
        with pytest.raises(ValueError, match="target has no object pixel, so there is nothing to click on"):
            evaluate_sample(IMAGE, target, FakeSession(None))

    @pytest.mark.parametrize("image", [np.zeros((16, 12)), np.zeros((3, 12, 16)), np.zeros(12)])
    def test_sizes(self, image):
        session = FakeSession(None)
        with pytest.raises(ValueError, match=r"target must be of the image's size .*, got \[12, 16\]"):
            evaluate_sample(image, TARGET, session)
        assert session.images == []

    def test_with_a_real_session(self):
        torch.manual_seed(0)
        session = InteractiveSession(SimpleClick.from_preset("nano", image_size=32).eval())
        results = [evaluate_sample(IMAGE, TARGET, session, max_clicks=3) for _ in range(2)]
        assert results[0] == results[1]
        assert list(session.clicks) == list(results[1].clicks)
        assert len(results[0].ious) == len(results[0].clicks)


class TestObjectsOf:
    def test_overlapping_objects_in_layers(self):
        label = np.zeros((2, 4, 6), dtype=np.int32)
        label[0, :2], label[0, 2:, :3] = 7, 2
        label[1, 1:3, 2:5] = 5
        objects = dict(objects_of(label))
        assert list(objects) == [2, 5, 7]
        for identifier, target in objects.items():
            assert target.dtype == np.int8
            assert np.array_equal(target, (label == identifier).any(0))

    def test_ignore_holds_for_every_object_but_never_inside_it(self):
        label = np.zeros((2, 1, 5), dtype=np.int32)
        label[0, 0] = [3, 3, -1, 0, 0]
        label[1, 0] = [-1, 0, 4, 4, 0]
        objects = dict(objects_of(label))
        assert objects[3].tolist() == [[1, 1, -1, 0, 0]]
        assert objects[4].tolist() == [[-1, 0, 1, 1, 0]]

    def test_one_object_in_two_layers(self):
        label = np.zeros((2, 1, 3), dtype=np.int32)
        label[0, 0, 0] = label[1, 0, 2] = 1
        assert [(i, t.tolist()) for i, t in objects_of(label)] == [(1, [[1, 0, 1]])]

    def test_small_objects_are_left_out(self):
        label = np.array([[[1, 2, 2, 3, 3, 3]]])
        assert [i for i, _ in objects_of(label, min_area=2)] == [2, 3]
        assert objects_of(label, min_area=4) == []
        assert objects_of(np.zeros((1, 2, 2))) == []
        assert objects_of(np.full((1, 2, 2), -1)) == []

    def test_tensors(self):
        label = MetaTensor(torch.tensor([[[0, 9]]], dtype=torch.int32))
        assert [(i, t.tolist()) for i, t in objects_of(label)] == [(9, [[0, 1]])]
        assert type(objects_of(label)[0][0]) is int


def sample(name="case", objects=((2, 9, 3, 12), (1, 3, 1, 15))):
    label = np.zeros((len(objects), 12, 16), dtype=np.int32)
    for index, (top, bottom, left, right) in enumerate(objects):
        label[index, top:bottom, left:right] = 10 * (index + 1)
    return {"image": np.random.RandomState(0).rand(3, 12, 16).astype(np.float32), "label": label, "name": name}


class TestEvaluateDataset:
    def test_every_object_is_evaluated_alone(self):
        item = sample()
        targets = dict(objects_of(item["label"]))
        session = FakeSession(lambda image, clicks: targets[10] > 0)
        seen = []
        result = evaluate_dataset(
            [item, sample("other", objects=((2, 9, 3, 12),))],
            session,
            max_clicks=4,
            facts={"dataset": "phantoms"},
            on_object=lambda *facts: seen.append(facts),
        )
        assert [each.name for each in result.objects] == ["case#10", "case#20", "other#10"]
        assert result.objects[0].ious == [1.0]
        assert result.objects[0].clicks == [(5.0, 6.0, True)]
        assert len(result.objects[1].clicks) == 4
        assert result.objects[1].ious[-1] == pytest.approx(
            (targets[10] * targets[20]).sum() / ((targets[10] + targets[20]) > 0).sum()
        )
        assert all(each.seconds >= 0 for each in result.objects)
        assert session.images[0].shape == (12, 16, 3)
        assert np.array_equal(session.images[0][..., 1], item["image"][1])
        assert [(s["name"], r.name) for s, _, r in seen] == [
            ("case", "case#10"),
            ("case", "case#20"),
            ("other", "other#10"),
        ]
        assert np.array_equal(seen[1][1], targets[20])
        assert (result.max_clicks, result.thresholds, result.facts) == (4, (0.85, 0.9), {"dataset": "phantoms"})

    def test_stops_at_the_highest_threshold_unless_told(self):
        def almost(image, clicks):
            mask = TARGET > 0
            mask[2, 3:8] = len(clicks) > 1
            return mask

        items = [sample(objects=((2, 9, 3, 12),))]
        assert evaluate_dataset(items, FakeSession(almost)).objects[0].ious == pytest.approx([58 / 63])
        ious = evaluate_dataset(items, FakeSession(almost), target_iou=0.95).objects[0].ious
        assert ious == pytest.approx([58 / 63, 1])
        ious = evaluate_dataset(items, FakeSession(almost), thresholds=(0.5, 0.99)).objects[0].ious
        assert ious == pytest.approx([58 / 63, 1])

    def test_tensors_of_a_loader(self):
        item = {key: MetaTensor(torch.as_tensor(value)) if key != "name" else value for key, value in sample().items()}
        session = FakeSession(lambda image, clicks: TARGET > 0)
        assert [each.name for each in evaluate_objects(item, session, max_clicks=2)] == ["case#10", "case#20"]

    def test_min_area_and_nothing_left(self):
        session = FakeSession(lambda image, clicks: TARGET > 0)
        assert len(evaluate_dataset([sample()], session, min_area=40).objects) == 1
        with pytest.raises(ValueError, match="The data set has no object of at least 100 pixels"):
            evaluate_dataset([sample()], session, min_area=100)
        with pytest.raises(ValueError, match="The data set has no object"):
            evaluate_dataset([], session)
        assert evaluate_objects(sample(objects=()) | {"label": np.zeros((1, 12, 16), int)}, session) == []

    def test_lazy_samples_and_progress(self, capsys):
        session = FakeSession(lambda image, clicks: TARGET > 0)
        result = evaluate_dataset((sample(str(i)) for i in range(2)), session, max_clicks=1, progress=True)
        assert len(result.objects) == 4
        assert "evaluating" in capsys.readouterr().err


@pytest.fixture
def result():
    objects = [
        ObjectResult("a#1", [(1.0, 2.0, True)], [0.95], 0.5),
        ObjectResult('b, "b"#2', [(3.0, 4.0, True), (5.5, 6.0, False), (7.0, 8.0, True)], [0.2, 0.3, 0.4], 1.5),
    ]
    return EvaluationResult(objects, max_clicks=3, thresholds=(0.85, 0.9), facts={"dataset": "ssTEM", "seed": 1})


class TestEvaluationResult:
    SUMMARY = {  # noqa: RUF012
        "objects": 2,
        "NoC@85": 2,
        "NoF@85": 1,
        ">=3@85": 1,
        "NoC@90": 2,
        "NoF@90": 1,
        ">=3@90": 1,
        "mIoU@1": 0.575,
        "mIoU@3": 0.675,
        "SPC": 0.5,
    }

    def test_summary_and_curve_by_hand(self, result):
        assert result.summary() == pytest.approx(self.SUMMARY)
        np.testing.assert_allclose(result.curve(), [0.575, 0.625, 0.675])

    def test_table(self, result):
        lines = result.table().splitlines()
        assert lines[0].split() == list(self.SUMMARY)
        assert lines[1].split() == ["ssTEM", "2", "2.000", "1", "1", "2.000", "1", "1", "0.575", "0.675", "0.500"]
        assert len(lines[0]) == len(lines[1])
        assert EvaluationResult(result.objects, 3).table().splitlines()[1].startswith("data set  ")

    def test_saved_files_are_read_again(self, result, tmp_path):
        folder = tmp_path / "new" / "results"
        result.save(str(folder))
        assert sorted(path.name for path in folder.iterdir()) == ["objects.csv", "results.json", "summary.csv"]
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert content["facts"] == {"dataset": "ssTEM", "seed": 1}
        assert content["summary"] == pytest.approx(self.SUMMARY)
        again = EvaluationResult(
            [
                ObjectResult(each["name"], [tuple(c) for c in each["clicks"]], each["ious"], each["seconds"])
                for each in content["objects"]
            ],
            content["max_clicks"],
            tuple(content["thresholds"]),
            content["facts"],
        )
        assert again == result
        with (folder / "summary.csv").open(newline="") as file:
            header, values = list(csv.reader(file))
        assert dict(zip(header, map(float, values), strict=True)) == pytest.approx(self.SUMMARY)
        with (folder / "objects.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == ["a#1", 'b, "b"#2']
        assert [row["clicks"] for row in rows] == ["1", "3"]
        assert [float(rows[1][f"IoU@{k}"]) for k in (1, 2, 3)] == [0.2, 0.3, 0.4]
        assert [float(rows[0][f"IoU@{k}"]) for k in (1, 2, 3)] == [0.95] * 3

    def test_facts_that_cannot_be_written_leave_no_file(self, result, tmp_path):
        ill = EvaluationResult(result.objects, 3, facts={"network": object()})
        with pytest.raises(TypeError):
            ill.save(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_objects(self):
        with pytest.raises(ValueError, match="No object was evaluated"):
            EvaluationResult([]).summary()

    def test_more_clicks_than_allowed(self, result):
        with pytest.raises(ValueError, match="1 to 2 IoUs"):
            EvaluationResult(result.objects, max_clicks=2).summary()


class TestFormatTable:
    def test_by_hand(self):
        table = format_table({"one": {"NoC@90": 1.23456, "NoF@90": 3.0}, "a longer name": {"NoC@90": 10, "NoF@90": 12}})
        assert table.splitlines() == [
            "               NoC@90  NoF@90",
            "one             1.235       3",
            "a longer name  10.000      12",
        ]

    def test_no_rows(self):
        with pytest.raises(ValueError, match="rows must hold at least one row"):
            format_table({})
