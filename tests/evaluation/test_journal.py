"""Evaluations that are stopped and go on: the same result as one that was not."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from filelock import FileLock
from monai.data import Dataset
from PIL import Image

from adaptiveclick_med.baselines import DiskSession
from adaptiveclick_med.evaluation import (
    DataSetChoice,
    EvaluationResult,
    Journal,
    Method,
    ObjectResult,
    evaluate_choice,
    evaluate_dataset,
    evaluate_source,
)
from adaptiveclick_med.evaluation.journal import SampleNotes, digest

RUN = {"dataset": "x", "max_clicks": 3}


def samples(count: int = 4) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        label = np.zeros((1, 20, 24), np.int32)
        label[0, 2:9, 3 : 12 + number], label[0, 12:18, 4:20] = 1, 2
        made.append({"image": np.zeros((3, 20, 24), np.float32), "label": label, "name": f"s{number}"})
    return made


class Stop(Exception):
    """The power goes."""


class FailingSession(DiskSession):
    """Stops after some clicks."""

    def __init__(self, area: float, clicks: int) -> None:
        super().__init__(area)
        self.left = clicks

    def click(self, row: float, column: float, positive: bool = True) -> Any:
        if self.left == 0:
            raise Stop
        self.left -= 1
        return super().click(row, column, positive)


def comparable(result: EvaluationResult) -> Any:
    objects = [(item.name, item.clicks, item.ious) for item in result.objects]
    return objects, result.skipped, result.notes, result.max_clicks, result.run


@pytest.mark.parametrize("stops", [[1], [4, 5], [3, 3, 3, 3], [9]])
def test_a_stopped_run_ends_like_another(tmp_path: Path, stops: list[int]) -> None:
    with Journal(tmp_path / "a", RUN) as journal:
        journal.complete(evaluate_dataset(samples(), DiskSession(60), max_clicks=3, journal=journal))
    for clicks in stops:
        with pytest.raises(Stop), Journal(tmp_path / "b", RUN) as journal:
            evaluate_dataset(samples(), FailingSession(60, clicks), max_clicks=3, journal=journal)
    with Journal(tmp_path / "b", RUN) as journal:
        journal.complete(evaluate_dataset(samples(), DiskSession(60), max_clicks=3, journal=journal))
    first, second = EvaluationResult.load(tmp_path / "a"), EvaluationResult.load(tmp_path / "b")
    assert comparable(first) == comparable(second)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["objects.csv", "results.json", "summary.csv"]


def test_what_is_done_is_not_read_again(tmp_path: Path) -> None:
    read: list[str] = []

    def reading(sample: dict[str, Any]) -> dict[str, Any]:
        read.append(sample["name"])
        return sample

    with pytest.raises(Stop), Journal(tmp_path, RUN) as journal:  # 3 clicks an object: all of s0, one object of s1
        evaluate_dataset(Dataset(samples(), reading), FailingSession(9, 10), max_clicks=3, journal=journal)
    assert read == ["s0", "s1"]
    with Journal(tmp_path, RUN) as journal:
        assert list(journal.samples) == ["s0"] and list(journal.objects) == ["s0#1", "s0#2", "s1#1"]
        session = FailingSession(9, 15)  # the 5 objects left, with 3 clicks each
        result = evaluate_dataset(Dataset(samples(), reading), session, max_clicks=3, journal=journal)
    assert session.left == 0
    assert read == ["s0", "s1", "s1", "s2", "s3"]
    assert [item.name for item in result.objects] == [f"s{s}#{i}" for s in range(4) for i in (1, 2)]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_that_was_cut_off_is_made_again(tmp_path: Path, cut: int) -> None:
    with pytest.raises(Stop), Journal(tmp_path, RUN) as journal:
        evaluate_dataset(samples(), FailingSession(9, 14), max_clicks=3, journal=journal)
    file = tmp_path / "progress.jsonl"
    content = file.read_bytes()[:-cut]
    file.write_bytes(content)
    whole = content[: content.rindex(b"\n") + 1]
    with Journal(tmp_path, RUN) as journal:
        assert file.read_bytes() == whole
        assert len(journal.objects) == whole.count(b'{"object"')
        result = evaluate_dataset(samples(), DiskSession(9), max_clicks=3, journal=journal)
    plain = evaluate_dataset(samples(), DiskSession(9), max_clicks=3)
    assert comparable(result)[0] == comparable(plain)[0]


def test_a_file_of_rubbish_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_bytes(b"\x00\x01 no json\n")
    with Journal(tmp_path, RUN) as journal:
        assert not journal.objects
        journal.add_object(ObjectResult("a#1", [(1.0, 2.0, True)], [0.5], 0.1))
    with Journal(tmp_path, RUN) as journal:
        assert journal.objects["a#1"].clicks == [(1.0, 2.0, True)]


def test_a_sample_with_a_problem_is_tried_again(tmp_path: Path) -> None:
    bad = samples(2)
    good = bad[0]["label"]
    bad[0]["label"] = np.full_like(good, -1)
    with Journal(tmp_path, RUN) as journal:
        result = evaluate_dataset(bad, DiskSession(60), max_clicks=3, journal=journal, on_error="skip")
    assert result.skipped == [("s0", "all pixels of the label are to be ignored")]
    bad[0]["label"] = good
    with Journal(tmp_path, RUN) as journal:
        again = evaluate_dataset(bad, DiskSession(60), max_clicks=3, journal=journal)
    assert again.skipped == [] and len(again.objects) == 4


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    with (
        Journal(tmp_path, RUN),
        pytest.raises(ValueError, match=f"another evaluation is writing to {tmp_path}: wait"),
        Journal(tmp_path, RUN),
    ):
        pass
    with FileLock(tmp_path / ".running.lock"), pytest.raises(ValueError, match="another evaluation is writing"):
        Journal(tmp_path, RUN).__enter__()


def test_results_of_another_run(tmp_path: Path) -> None:
    with Journal(tmp_path, RUN) as journal:
        journal.complete(evaluate_dataset(samples(1), DiskSession(60), max_clicks=3, journal=journal))
    with pytest.raises(ValueError, match=r"results\.json belongs to another evaluation \(max_clicks differ\)"):
        Journal(tmp_path, {**RUN, "max_clicks": 4}).__enter__()
    with Journal(tmp_path, RUN) as journal:
        assert journal.finished is not None and len(journal.result.objects) == 2
    with Journal(tmp_path, {**RUN, "max_clicks": 4}, overwrite=True) as journal:
        assert journal.finished is None
        journal.complete(evaluate_dataset(samples(2), DiskSession(60), max_clicks=3, journal=journal))
    assert len(EvaluationResult.load(tmp_path).objects) == 4


def test_an_overwritten_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    with Journal(tmp_path, RUN) as journal:
        journal.complete(evaluate_dataset(samples(1), DiskSession(60), max_clicks=3, journal=journal))
    other = {**RUN, "weights": "w"}
    with pytest.raises(Stop), Journal(tmp_path, other, overwrite=True) as journal:
        evaluate_dataset(samples(), FailingSession(9, 10), max_clicks=3, journal=journal)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.jsonl"]
    with Journal(tmp_path, other) as journal:
        assert len(journal.objects) == 3


def test_progress_of_another_run(tmp_path: Path) -> None:
    with Journal(tmp_path, RUN) as journal:
        journal.add_sample(SampleNotes("a"))
    with pytest.raises(ValueError, match=r"progress\.jsonl belongs to another evaluation \(weights differ\)"):
        Journal(tmp_path, {**RUN, "weights": "w"}).__enter__()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: .*progress\.jsonl"), Journal(tmp_path, RUN) as journal:
        journal.add_object(ObjectResult("s0#1", [(1.0, 2.0, True)], [0.5], 0.1))
        assert journal._file is not None
        journal._file = Mock(wraps=journal._file, flush=full)
        journal.add_object(ObjectResult("s0#2", [(1.0, 2.0, True)], [0.5], 0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["progress.jsonl"]
    with Journal(tmp_path, RUN) as journal:
        assert "s0#1" in journal.objects
        monkeypatch.setattr(EvaluationResult, "save", full)
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
            journal.complete(EvaluationResult(list(journal.objects.values()), 3))
    assert (tmp_path / "progress.jsonl").exists()


def test_progress_that_was_edited(tmp_path: Path) -> None:
    with Journal(tmp_path, RUN) as journal:
        journal.add_sample(SampleNotes("a"))
    file = tmp_path / "progress.jsonl"
    content = file.read_text()
    for line in ('{"object": {"name": "a#1", "clicks": [], "ious": [0.1]}}', '{"sample": {"title": "a"}}'):
        file.write_text(f"{content}{line}\n")
        with pytest.raises(ValueError, match=r"progress\.jsonl, line 3 is no progress of an evaluation"):
            Journal(tmp_path, RUN).__enter__()
        assert file.read_text() == f"{content}{line}\n"
        assert not (tmp_path / ".running.lock").exists()


def test_progress_beside_results(tmp_path: Path) -> None:
    """A run that was killed after its results were written, before its progress was removed."""
    with Journal(tmp_path, RUN) as journal:
        journal.complete(evaluate_dataset(samples(1), DiskSession(60), max_clicks=3, journal=journal))
    (tmp_path / "progress.jsonl").write_text(json.dumps({"run": RUN}) + "\n")
    with Journal(tmp_path, RUN) as journal:
        assert len(journal.result.objects) == 2
    assert not (tmp_path / "progress.jsonl").exists()


def test_names_that_are_not_utf8() -> None:
    assert digest(["größe", "日本"]) != digest(["größe"])
    with pytest.raises(ValueError, match=r"the file name 'gr\\udcf6\\udcdfe' is not UTF-8: rename the file"):
        digest(["a", b"gr\xf6\xdfe".decode(errors="surrogateescape")])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two folders of pictures with the same names."""
    for folder in ("one", "other"):
        for kind in ("images", "labels"):
            (tmp_path / folder / kind).mkdir(parents=True)
        label = np.zeros((40, 40), np.uint8)
        label[5:25, 8:30] = 1
        Image.fromarray(label * 100).save(tmp_path / folder / "images" / "1.png")
        Image.fromarray(label).save(tmp_path / folder / "labels" / "1.png")
    return tmp_path


def test_other_data_with_the_same_names(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"method": "disk", "max_clicks": 2, "progress": False, "output_dir": pictures / "out"}
    first = evaluate_source("folder", pictures / "one", **options)
    monkeypatch.chdir(pictures)
    assert evaluate_source("folder", "one", **options) == first
    with pytest.raises(ValueError, match=r"belongs to another evaluation \(dataset_dir differ\)"):
        evaluate_source("folder", pictures / "other", **options)


def test_another_untrained_network(pictures: Path) -> None:
    choice = DataSetChoice("folder", str(pictures / "one"), crop_size=32, max_clicks=1)
    evaluate_choice(choice, Method.create(preset="nano", device="cpu"), pictures / "out", progress=False)
    with pytest.raises(ValueError, match=r"belongs to another evaluation \(seed differ\)"):
        evaluate_choice(choice, Method.create(preset="nano", seed=1, device="cpu"), pictures / "out", progress=False)
    with pytest.raises(ValueError, match=r"belongs to another evaluation \(preset differ\)"):
        evaluate_choice(choice, Method.create(preset="tiny", device="cpu"), pictures / "out", progress=False)


def test_a_finished_run_costs_nothing(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"method": "disk", "max_clicks": 2, "progress": False, "output_dir": pictures / "out"}
    first = evaluate_source("folder", pictures / "one", **options)
    monkeypatch.setattr(Method, "session", Mock(side_effect=AssertionError))
    assert evaluate_source("folder", pictures / "one", batch_size="auto", **options) == first


def test_nothing_is_left_of_a_run_that_did_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no object of at least 5000 pixels"),
        Journal(tmp_path / "a/b", RUN) as journal,
    ):
        evaluate_dataset([], DiskSession(60), min_area=5000, journal=journal)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="not finished"):
        _ = journal.result
    with pytest.raises(RuntimeError, match="closed"):
        journal.add_sample(SampleNotes("a"))


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    """A real process is killed in the middle; the next call completes its work."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    random = np.random.RandomState(0)
    for number in range(8):
        label = np.zeros((96, 96), np.uint8)
        label[10:60, 10 : 40 + number] = 1
        image = random.randint(0, 255, label.shape).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data/images" / f"{number:02d}.png")
        Image.fromarray(label).save(tmp_path / "data/labels" / f"{number:02d}.png")
    command = [
        *(sys.executable, "-m", "adaptiveclick_med.cli", "evaluate", "--dataset", "folder", "--preset", "nano"),
        *("--dataset_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out"), "--device", "cpu"),
        *("--max_clicks", "5"),
    ]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    progress = tmp_path / "out" / "progress.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if progress.is_file() and progress.read_bytes().count(b'"object"') >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = progress.read_bytes().count(b'{"object"')
    assert 2 <= done < 8
    assert not (tmp_path / "out" / "results.json").exists()
    choice = DataSetChoice("folder", str(tmp_path / "data"), max_clicks=5)
    method = Method.create(preset="nano", device="cpu")
    went_on = evaluate_choice(choice, method, tmp_path / "out", progress=False)
    options: dict[str, Any] = {"max_clicks": 5, "device": "cpu", "progress": False}
    at_once = evaluate_source("folder", tmp_path / "data", preset="nano", **options)
    assert [item.clicks for item in went_on.objects] == [item.clicks for item in at_once.objects]
    np.testing.assert_allclose(
        np.concatenate([item.ious for item in went_on.objects]),
        np.concatenate([item.ious for item in at_once.objects]),
        atol=1e-6,
    )
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["facts"]["weights"] == "AdaptiveClick nano, untrained, seed 0"
    assert went_on.label == "folder (untrained)"
