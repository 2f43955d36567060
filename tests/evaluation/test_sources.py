"""Data sets by name, with a network or the trivial baseline."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adaptiveclick_med.baselines import (
    DiskSession,
    FastMarchingSession,
    RandomWalkerSession,
    RegionGrowingSession,
)
from adaptiveclick_med.data import DataSetError
from adaptiveclick_med.evaluation import (
    DataSetChoice,
    Method,
    evaluate_dataset,
    evaluate_source,
    mean_object_area,
    open_source,
)
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import AdaptiveClickOutput
from adaptiveclick_med.weights import default, default_path, load_network, save_weights, start_network

AREAS = [(22 * (24 - 4 * number), 441) for number in range(3)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = start_network("SimpleClick", "nano", image_size=64)
    return save_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", network)


def evaluate(folder: Path, **options: Any) -> Any:
    return evaluate_source("folder", folder, **{"max_clicks": 2, "progress": False, **options})


class TestOpenSource:
    def test_samples_are_ready_for_a_session(self, picture_folder: Path) -> None:
        samples = open_source("folder", picture_folder)
        assert len(samples) == 3
        sample = samples[1]
        assert sample["name"] == "case_1"
        assert (sample["image"].shape, sample["label"].shape) == ((3, 64, 72), (1, 64, 72))
        stored = np.asarray(Image.open(picture_folder / "images" / "case_1.png"))
        np.testing.assert_allclose(sample["image"][2], stored / 255, atol=1e-6)

    def test_options_reach_the_source(self, picture_folder: Path) -> None:
        assert len(open_source("folder", picture_folder, max_samples=2)) == 2
        layers = open_source("folder", picture_folder, label_type="binary")[0]["label"]
        assert sorted(np.unique(layers)) == [0, 1]
        with pytest.raises(ValueError, match="unknown option nothing for dataset 'folder'"):
            open_source("folder", picture_folder, nothing=1)


class TestMeanObjectArea:
    def test_over_all_objects_of_all_samples(self, picture_folder: Path) -> None:
        mean = mean_object_area(open_source("folder", picture_folder))
        assert mean == pytest.approx(np.mean(AREAS))

    def test_layers_and_ignored_pixels(self) -> None:
        label = np.zeros((2, 4, 5), int)
        label[0, 0], label[1, 0, :2], label[1, 2], label[0, 3] = 1, 2, 2, -1
        assert mean_object_area([{"label": label}, {"label": np.zeros((1, 2, 2), int)}]) == (5 + 7) / 2

    def test_no_object(self) -> None:
        with pytest.raises(ValueError, match="no object, so there is no mean area"):
            mean_object_area([{"label": np.zeros((1, 2, 2), int)}])
        with pytest.raises(ValueError, match="no object"):
            mean_object_area([])


class TestNetwork:
    def test_the_numbers_are_those_of_the_parts(self, picture_folder: Path, weights: Path) -> None:
        found = evaluate(picture_folder, weights=weights)
        session = InteractiveSession(load_network(weights))
        expected = evaluate_dataset(open_source("folder", picture_folder), session, max_clicks=2, min_area=20)
        assert [(item.name, item.clicks, item.ious) for item in found.objects] == [
            (item.name, item.clicks, item.ious) for item in expected.objects
        ]
        assert [item.name for item in found.objects] == [f"case_{i}#{k}" for i in range(3) for k in (1, 2)]
        facts = {
            "dataset": "folder",
            "dataset_dir": str(picture_folder),
            "section": "all",
            "method": "network",
            "network": "SimpleClick",
            "weights": str(weights),
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "max_samples": None,
            "max_clicks": 2,
            "min_area": 20,
            "val_fraction": 0.3,
            "split_seed": 0,
        }
        assert facts.items() <= found.facts.items()

    def test_the_default_weights(self, picture_folder: Path) -> None:
        found = evaluate(picture_folder, max_samples=1)
        session = InteractiveSession(default())
        expected = evaluate_dataset(
            open_source("folder", picture_folder, max_samples=1), session, max_clicks=2, min_area=20
        )
        assert [item.ious for item in found.objects] == [item.ious for item in expected.objects]
        digest = hashlib.sha256(default_path().read_bytes()).hexdigest()
        assert (found.facts["weights"], found.facts["sha256"]) == ("default", digest)
        assert (found.facts["network"], found.label) == ("AdaptiveClick", "folder")

    def test_a_second_look(self, tmp_path: Path) -> None:
        label = np.zeros((300, 280), np.uint8)
        label[200:230, 40:75] = 1
        for folder, values in (("images", 255 * label), ("labels", label)):
            (tmp_path / folder).mkdir()
            Image.fromarray(values).save(tmp_path / folder / "a.png")
        once, twice = (evaluate(tmp_path, second_look=again) for again in (False, True))
        assert twice.facts["second_look"] is True and "second_look" not in once.facts
        session = InteractiveSession(default(), second_look=True)
        expected = evaluate_dataset(open_source("folder", tmp_path), session, max_clicks=2, min_area=20)
        assert [item.ious for item in twice.objects] == [item.ious for item in expected.objects]
        assert twice.objects[0].ious != once.objects[0].ious
        with pytest.raises(ValueError, match="second_look goes with the method network only, got 'fast_marching'"):
            evaluate(tmp_path, method="fast_marching", second_look=True)

    def test_the_default_weights_are_missing(self, picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> Path:
            raise FileNotFoundError("The default weights are missing")

        monkeypatch.setattr("adaptiveclick_med.evaluation.method.default_path", missing)
        with pytest.raises(FileNotFoundError, match="The default weights are missing"):
            evaluate(picture_folder)
        assert evaluate(picture_folder, preset="nano", max_samples=1).facts["untrained"] is True
        assert evaluate(picture_folder, method="disk", max_samples=1).facts["weights"] is None

    def test_choices(self, picture_folder: Path, weights: Path) -> None:
        names = {
            section: {item.name for item in evaluate(picture_folder, weights=weights, section=section).objects}
            for section in ("training", "validation", "all")
        }
        assert (len(names["training"]), len(names["validation"])) == (4, 2)
        assert names["training"] | names["validation"] == names["all"]
        large = evaluate(picture_folder, weights=weights, min_area=442, max_samples=3).objects
        assert [item.name for item in large] == ["case_0#1"]
        assert all(len(item.clicks) == 1 for item in evaluate(picture_folder, weights=weights, max_clicks=1).objects)
        other = evaluate(picture_folder, weights=weights, crop_size=32).objects
        assert len(other) == 6

    def test_more_clicks_than_a_session_takes_by_default(
        self, picture_folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = load_network(weights)
        monkeypatch.setattr(network, "predict", lambda x, auxiliary: AdaptiveClickOutput(torch.full_like(x[:, :1], -9)))
        monkeypatch.setattr("adaptiveclick_med.evaluation.method.load_model", lambda *_, **__: network)
        found = evaluate(picture_folder, weights=weights, max_clicks=101, crop_size=16, max_samples=1)
        assert [len(item.clicks) for item in found.objects] == [101, 101]


class TestDisk:
    def test_it_paints_the_mean_area_of_the_training_section(self, picture_folder: Path) -> None:
        for section, reference in (("all", "all"), ("training", "training"), ("validation", "training")):
            found = evaluate(picture_folder, method="disk", section=section, split_seed=1)
            area = mean_object_area(open_source("folder", picture_folder, section=reference, seed=1))
            samples = open_source("folder", picture_folder, section=section, seed=1)
            expected = evaluate_dataset(samples, DiskSession(area), max_clicks=2, min_area=20)
            assert [item.ious for item in found.objects] == [item.ious for item in expected.objects]

    def test_disks_are_found_at_once_and_rectangles_are_not(self, picture_folder: Path) -> None:
        found = evaluate(picture_folder, method="disk", max_samples=3)
        disks = [item.ious[0] for item in found.objects if item.name.endswith("#2")]
        # concentric disks: the ratio of their areas
        ratio = 441 / np.mean(AREAS)
        assert disks == pytest.approx([min(ratio, 1 / ratio)] * 3, abs=0.06)

    def test_weights_are_not_claimed(self, picture_folder: Path) -> None:
        assert evaluate(picture_folder, method="disk", weights="w.safetensors").facts["weights"] is None


class TestClassical:
    @pytest.mark.parametrize("session", [RandomWalkerSession, FastMarchingSession, RegionGrowingSession])
    def test_the_session_of_the_name_with_its_defaults(self, picture_folder: Path, session: Any) -> None:
        name = {RandomWalkerSession: "random_walker", FastMarchingSession: "fast_marching"}.get(
            session, "region_growing"
        )
        found = evaluate(picture_folder, method=name)
        expected = evaluate_dataset(open_source("folder", picture_folder), session(), max_clicks=2, min_area=20)
        assert [item.ious for item in found.objects] == [item.ious for item in expected.objects]
        assert (found.facts["method"], found.facts["weights"]) == (name, None)
        assert found.facts["parameters"] == session().parameters
        assert found.label == f"folder ({name})"


class TestErrors:
    def test_arguments(self, picture_folder: Path, weights: Path, tmp_path: Path) -> None:
        names = "network, disk, random_walker, fast_marching, region_growing"
        with pytest.raises(ValueError, match=f"method must be one of {names}, got 'square'"):
            evaluate(picture_folder, method="square")
        with pytest.raises(ValueError, match="pass weights or preset, not both"):
            evaluate(picture_folder, weights=weights, preset="nano")
        with pytest.raises(FileNotFoundError, match="There is no weight file"):
            evaluate(picture_folder, weights=tmp_path / "none.safetensors")
        for device in ("gpu", "cuda:99", "meta:x"):
            with pytest.raises(ValueError, match=f"device '{device}' cannot be used: "):
                evaluate(picture_folder, weights=weights, device=device)
        with pytest.raises(ValueError, match="section must be one of training, validation, all, got 'test'"):
            evaluate(picture_folder, weights=weights, section="test")
        with pytest.raises(ValueError, match="unknown dataset 'nothing'; valid names are"):
            evaluate_source("nothing", picture_folder, method="disk")
        with pytest.raises(ValueError, match="no object of at least 5000 pixels"):
            evaluate(picture_folder, method="disk", min_area=5000)

    def test_bad_files(self, picture_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir()
            for path in sorted((picture_folder / kind).iterdir())[:2]:
                (tmp_path / kind / path.name).write_bytes(path.read_bytes())
        (tmp_path / "labels" / "case_1.png").write_bytes(b"no picture")
        with pytest.raises(DataSetError, match=r"case_1\.png"):
            evaluate(tmp_path, method="disk")
        found = evaluate(tmp_path, method="disk", on_error="skip")
        assert {item.name for item in found.objects} == {"case_0#1", "case_0#2"}
        assert "case_1.png" in caplog.text


def test_a_training_with_another_window_is_told(picture_folder: Path, tmp_path: Path, caplog: Any) -> None:
    network = start_network("SimpleClick", "nano", image_size=64, intensity_window="lung")
    method = Method.create(weights=save_weights(tmp_path / "w.safetensors", network))
    choice = DataSetChoice("folder", str(picture_folder))
    method.session(choice)
    assert caplog.messages == [
        "The weights were trained with intensity_window lung, but folder is evaluated without; pass "
        "--intensity_window to have the same."
    ]
    method.session(replace(choice, intensity_window="bone"))
    assert len(caplog.messages) == 1
