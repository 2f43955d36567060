"""Validation by the robot user: metric, step, evaluator, files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset

from adaptiveclick_med.engines import ClickEvaluator, NumberOfClicksHandler, ResultsWriter, RobotUserUpdate
from adaptiveclick_med.evaluation import evaluate_dataset
from adaptiveclick_med.inference import InteractiveSession


class Patient(torch.nn.Module):
    """Finds everything of the grey value at the newest positive click, but only after so many clicks."""

    def __init__(self, needed: int = 1) -> None:
        super().__init__()
        self.needed = needed
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def forward(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        positive = points[:, : points.shape[1] // 2]
        newest = positive[0, positive[0, :, 2].argmax()]
        value = image[0, 0, int(newest[0]), int(newest[1])]
        found = ((image[:, :1] - value).abs() < 0.05) & (int((points[0, :, 2] >= 0).sum()) >= self.needed)
        return 20.0 * found - 10.0


def sample(name: str, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 48)) -> dict[str, Any]:
    label = torch.zeros(1, *size, dtype=torch.int32)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        label[0, top:bottom, left:right] = number
    return {"image": (label / 5).expand(3, -1, -1).float(), "label": label, "name": name}


SAMPLES = [
    sample("a", (4, 20, 5, 25), (25, 36, 30, 44)),
    sample("none"),
    sample("b", (10, 12, 10, 12), (15, 35, 20, 40), size=(50, 44)),
]
RANKS = """
import json

import torch.distributed
import torch.multiprocessing
from ignite.engine import Engine

from adaptiveclick_med.engines import NumberOfClicksHandler


def work(rank):
    torch.distributed.init_process_group("gloo", init_method="file://" + FILE, world_size=2, rank=rank)
    engine = Engine(lambda _engine, batch: {"ious": batch})
    NumberOfClicksHandler(max_clicks=4).attach(engine, "NoC")
    engine.run([[[0.9]], [[0.1, 0.95]]] if rank == 0 else [[]])
    found = {name: engine.state.metrics[name] for name in ("NoC", "NoF@90", "mIoU@1")}
    with open(f"{rank}.json", "w") as file:
        json.dump(found, file)
    torch.distributed.destroy_process_group()


torch.multiprocessing.start_processes(work, nprocs=2, start_method="fork")
"""
PLAIN = {"zoom_in": False, "flip": False}


def evaluator(network: torch.nn.Module, samples: list[Any] | None = None, **options: Any) -> ClickEvaluator:
    loader = DataLoader(Dataset(SAMPLES if samples is None else samples), batch_size=1)
    options.setdefault("update", RobotUserUpdate(max_clicks=5, **PLAIN))
    options.setdefault("key_val_metric", {"NoC": NumberOfClicksHandler(max_clicks=5)})
    return ClickEvaluator("cpu", loader, network, **options)


class TestNumberOfClicksHandler:
    BATCHES = ([[0.5, 0.87, 0.95]], [], [[0.2, 0.3, 0.4, 0.5], [0.9]])

    def run(self, handler: NumberOfClicksHandler, batches: Any = BATCHES) -> Engine:
        engine = Engine(lambda _engine, batch: {"ious": batch})
        handler.attach(engine, "NoC")
        engine.run(batches)
        return engine

    def test_the_key_number_and_all_others(self) -> None:
        metrics = self.run(NumberOfClicksHandler(max_clicks=4)).state.metrics
        assert metrics["NoC"] == pytest.approx((3 + 4 + 1) / 3)
        expected = {
            "NoC@85": (2 + 4 + 1) / 3,
            "NoC@90": (3 + 4 + 1) / 3,
            "NoF@85": 1,
            "NoF@90": 1,
            ">=4@85": 1,
            ">=4@90": 1,
            "mIoU@1": 1.6 / 3,
            "mIoU@3": (0.95 + 0.4 + 0.9) / 3,
        }
        assert {name: metrics[name] for name in expected} == pytest.approx(expected)
        assert set(metrics) == {"NoC", *expected}

    def test_another_threshold(self) -> None:
        metrics = self.run(NumberOfClicksHandler(0.5, 4, thresholds=())).state.metrics
        assert metrics["NoC"] == metrics["NoC@50"] == pytest.approx((1 + 4 + 1) / 3)
        assert "NoC@85" not in metrics

    def test_a_second_run_starts_anew(self) -> None:
        handler = NumberOfClicksHandler(max_clicks=4)
        engine = self.run(handler)
        engine.run([[[0.9]]])
        assert engine.state.metrics["NoC"] == 1.0
        assert engine.state.metrics["NoF@90"] == 0.0

    def test_no_object(self) -> None:
        with pytest.raises(ValueError, match="No object was evaluated"):
            self.run(NumberOfClicksHandler(), [[], []])

    def test_a_rank_without_an_object(self, tmp_path: Path) -> None:
        script = f"FILE = {str(tmp_path / 'store')!r}\n{RANKS}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=tmp_path,
            env=environment,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        for rank in (0, 1):
            assert json.loads((tmp_path / f"{rank}.json").read_text()) == {"NoC": 1.5, "NoF@90": 0.0, "mIoU@1": 0.5}

    def test_without_an_engine(self) -> None:
        handler = NumberOfClicksHandler(max_clicks=4)
        handler.update([[[0.1, 0.95]], None])
        assert handler.compute() == 2.0


class TestRobotUserUpdate:
    def step(self, update: RobotUserUpdate, network: torch.nn.Module, item: dict[str, Any]) -> dict[str, Any]:
        engine = evaluator(network)
        batch = {**item, "image": item["image"][None], "label": item["label"][None], "name": [item["name"]]}
        output = update(engine, batch)
        assert engine.state.output is output
        return output

    def test_every_object_is_clicked_until_it_is_found(self) -> None:
        network = Patient(needed=3)
        output = self.step(RobotUserUpdate(max_clicks=5, **PLAIN), network, SAMPLES[0])
        first, second = output["results"]
        assert (first.name, second.name) == ("a#1", "a#2")
        assert output["ious"] == [first.ious, second.ious] == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
        # the centre of rows 4 ... 19 and columns 5 ... 24, the first in raster order
        assert first.clicks[0] == (11.0, 12.0, True)
        assert all(positive for result in (first, second) for *_, positive in result.clicks)
        assert not any(network.modes) and len(network.modes) == 6

    def test_limits(self) -> None:
        network = Patient(needed=3)
        update = RobotUserUpdate(2, **PLAIN)
        assert self.step(update, network, SAMPLES[0])["ious"] == [[0.0, 0.0], [0.0, 0.0]]
        update = RobotUserUpdate(5, min_area=5, **PLAIN)
        assert [result.name for result in self.step(update, Patient(), SAMPLES[2])["results"]] == ["b#2"]
        assert self.step(update, Patient(), SAMPLES[1]) == {"results": [], "ious": []}

    def test_more_clicks_than_a_session_takes_by_default(self) -> None:
        box = sample("box", (4, 20, 5, 25))
        result = self.step(RobotUserUpdate(103, **PLAIN), Patient(needed=102), box)["results"][0]
        assert result.ious == [0.0] * 101 + [1.0]

    def test_the_user_stops_at_the_target(self) -> None:
        class Half(Patient):
            def forward(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
                logits = super().forward(image, previous, points)
                logits[..., 12:, :] = -10.0
                return logits

        box = sample("half", (4, 20, 5, 25))
        assert self.step(RobotUserUpdate(5, 0.5, **PLAIN), Half(), box)["ious"] == [[0.5]]
        assert len(self.step(RobotUserUpdate(5, 0.51, **PLAIN), Half(), box)["ious"][0]) == 5

    def test_the_network_inside_data_parallel(self) -> None:
        output = self.step(RobotUserUpdate(5, **PLAIN), torch.nn.DataParallel(Patient()).train(), SAMPLES[0])
        assert output["ious"] == [[1.0], [1.0]]

    def test_session_options(self) -> None:
        seen: list[tuple[int, ...]] = []

        class Shapes(Patient):
            def forward(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
                seen.append(tuple(image.shape))
                return -torch.ones_like(previous)

        self.step(RobotUserUpdate(1, crop_size=(32, 64)), Shapes(), SAMPLES[0])
        self.step(RobotUserUpdate(1, crop_size=(32, 64), zoom_in=False, flip=False), Shapes(), SAMPLES[0])
        assert seen == [(2, 3, 32, 64)] * 2 + [(1, 3, 40, 48)] * 2

    def test_one_sample_at_a_time(self) -> None:
        batch = {"image": torch.zeros(2, 3, 8, 8), "label": torch.zeros(2, 1, 8, 8), "name": ["a", "b"]}
        with pytest.raises(ValueError, match="one sample at a time: batch_size is 2"):
            RobotUserUpdate()(evaluator(Patient()), batch)


class TestClickEvaluator:
    def test_the_numbers_are_those_of_the_protocol(self) -> None:
        network = Patient(needed=2)
        engine = evaluator(network)
        engine.run()
        direct = evaluate_dataset(SAMPLES, InteractiveSession(network, **PLAIN), max_clicks=5).summary()
        names = ["NoC@85", "NoC@90", "NoF@85", "NoF@90", "mIoU@1", "mIoU@3", "mIoU@5"]
        assert {name: engine.state.metrics[name] for name in names} == {name: direct[name] for name in names}
        assert engine.state.metrics["NoC"] == direct["NoC@90"] == 2.0

    def test_fewer_clicks_are_better(self) -> None:
        network = Patient()
        engine = evaluator(network)
        best = []
        for epoch, needed in enumerate((4, 2, 3, 2, 1), start=1):
            network.needed = needed
            engine.run(epoch)
            best.append((engine.state.best_metric, engine.state.best_metric_epoch))
        assert best == [(4.0, 1), (2.0, 2), (2.0, 2), (2.0, 2), (1.0, 5)]

    def test_the_best_number_survives_a_checkpoint(self) -> None:
        network = Patient(needed=2)
        engine = evaluator(network)
        engine.run(3)
        other = evaluator(network)
        other.load_state_dict(engine.state_dict())
        assert (other.state.best_metric, other.state.best_metric_epoch) == (2.0, 3)
        network.needed = 4
        other.run(4)
        assert (other.state.best_metric, other.state.best_metric_epoch) == (2.0, 3)

    def test_defaults(self) -> None:
        engine = ClickEvaluator("cpu", DataLoader(Dataset(SAMPLES[:1]), batch_size=1), Patient())
        engine.run()
        assert engine.state.metrics["NoC"] == engine.state.metrics["NoC@90"]
        assert ">=20@90" in engine.state.metrics


class TestResultsWriter:
    def test_files_and_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        writer = ResultsWriter(tmp_path / "new" / "out", max_clicks=5, facts={"dataset": "boxes", "weights": None})
        network = Patient(needed=2)
        engine = evaluator(network, val_handlers=[writer])
        engine.run()
        folder = tmp_path / "new" / "out"
        assert sorted(path.name for path in folder.iterdir()) == ["objects.csv", "results.json", "summary.csv"]
        content = json.loads((folder / "results.json").read_text())
        assert content["facts"] == {"dataset": "boxes", "weights": None}
        assert (content["max_clicks"], content["thresholds"]) == (5, [0.85, 0.9])
        assert [item["name"] for item in content["objects"]] == ["a#1", "a#2", "b#1", "b#2"]
        assert all(item["ious"] == [0.0, 1.0] and item["seconds"] > 0 for item in content["objects"])
        assert content["objects"][0]["clicks"][0] == [11.0, 12.0, True]
        assert content["summary"]["NoC@90"] == 2.0
        with (folder / "objects.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["clicks"] for row in rows] == ["2"] * 4
        np.testing.assert_array_equal([float(rows[0][f"IoU@{k}"]) for k in range(1, 6)], [0, 1, 1, 1, 1])
        printed = capsys.readouterr().out
        assert "boxes" in printed and "NoC@90" in printed and str(folder) in printed

    def test_another_run_replaces_the_first(self, tmp_path: Path) -> None:
        engine = evaluator(Patient(), val_handlers=[ResultsWriter(tmp_path, max_clicks=5)])
        for _ in range(2):
            engine.run()
            assert len(json.loads((tmp_path / "results.json").read_text())["objects"]) == 4

    def test_nothing_is_written_without_an_object(self, tmp_path: Path) -> None:
        engine = evaluator(Patient(), [SAMPLES[1]], val_handlers=[ResultsWriter(tmp_path / "out")])
        with pytest.raises(ValueError, match="No object was evaluated"):
            engine.run()
        assert not (tmp_path / "out").exists()
