"""Scores of the weights on saved labels: the same numbers as a direct evaluation, kept with the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.exception import MONAILabelException

from adaptiveclick_med.evaluation import EvaluationResult, Method, evaluate_source
from adaptiveclick_med.label_app.scoring import ClickScore
from adaptiveclick_med.weights import save_weights, start_network

ALL = {"every": 1, "max_objects": 100, "max_clicks": 3, "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labelled volumes with two objects in each of slices 1 to 4, and one without a label."""
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    random = np.random.RandomState(0)
    for number in range(3):
        label = np.zeros((32, 32, 6), np.uint8)
        label[4:14, 6 + number : 20, 1:5] = 1
        label[20:30, 10:24, 1:5] = 2
        image = (200.0 * label + random.normal(100, 20, label.shape)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(image, np.diag([-1, -1, 2, 1])), folder / f"case_{number}.nii.gz")
        if number < 2:
            path = folder / "labels" / "final" / f"case_{number}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(label, np.diag([-1, -1, 2, 1])), path)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = start_network("AdaptiveClick", "nano", image_size=64, intensity_window=(0.0, 600.0), seed=1)
    return save_weights(tmp_path / "model.safetensors", network)


def direct(folder: Path, weights: Path, **options: Any) -> EvaluationResult:
    """The command line's evaluation of the same files."""
    labels, images = folder / "labels" / "final", folder.parent / "images"
    images.mkdir(exist_ok=True)
    for label in labels.iterdir():
        (images / label.name).write_bytes((folder / label.name).read_bytes())
    choice = {"options": {"image_dir": str(images), "label_dir": str(labels), **options}, "max_clicks": 3}
    return evaluate_source(
        "folder", weights=weights, device="cpu", intensity_window=(0.0, 600.0), progress=False, **choice
    )


def test_scores_are_those_of_a_direct_evaluation(folder: Path, weights: Path) -> None:
    datastore = LocalDatastore(str(folder))
    found = ClickScore(weights)(ALL, datastore)
    expected = direct(folder, weights)
    assert len(expected.objects) == 16
    summary = {name: value for name, value in expected.summary().items() if name != "SPC"}
    assert found["all"] == pytest.approx(summary, abs=1e-6)
    assert {name: numbers["objects"] for name, numbers in found["images"].items()} == {"case_0": 8, "case_1": 8}
    first = [item.ious[0] for item in expected.objects if item.name.startswith("case_0/")]
    assert found["images"]["case_0"]["mIoU@1"] == pytest.approx(np.mean(first), abs=1e-6)
    assert found["left_out"] == []
    json.dumps(found)


def test_only_some_slices_and_objects_are_clicked_on(folder: Path, weights: Path) -> None:
    datastore = LocalDatastore(str(folder))
    found = ClickScore(weights)({**ALL, "every": 2}, datastore)
    summary = direct(folder, weights, every=2).summary()
    assert found["all"]["objects"] == summary["objects"] == 8
    assert found["all"]["mIoU@3"] == pytest.approx(summary["mIoU@3"], abs=1e-6)
    few = ClickScore(weights)({**ALL, "max_objects": "3"}, datastore)
    assert few["images"]["case_0"]["objects"] == 3
    assert few["options"] == {"every": 1, "max_objects": 3, "max_clicks": 3, "min_area": 20}


def test_scores_are_kept_with_the_labels_for_each_weights(folder: Path, weights: Path) -> None:
    datastore = LocalDatastore(str(folder))
    request = {**ALL, "max_objects": 1}
    before = ClickScore(weights)(request, datastore)
    assert before["weights"] == Method.create(weights=weights).facts["sha256"]
    ClickScore(weights)(request, datastore)
    assert list(datastore.get_label_info("case_0", "final")["click_score"]) == [before["weights"]]

    save_weights(weights, start_network("AdaptiveClick", "nano", image_size=64, seed=2))
    after = ClickScore(weights)(request, datastore)
    assert after["weights"] != before["weights"]
    kept = LocalDatastore(str(folder)).get_label_info("case_1", "final")["click_score"]
    assert list(kept) == [before["weights"], after["weights"]]
    for result in (before, after):
        numbers = dict(kept[result["weights"]])
        assert numbers.pop("ts") > 0
        assert numbers == {**result["images"]["case_1"], **result["options"]}


def test_a_label_saved_meanwhile_by_the_server_is_not_lost(folder: Path, weights: Path) -> None:
    scoring, server = LocalDatastore(str(folder)), LocalDatastore(str(folder))
    label = folder / "labels" / "final" / "case_0.nii.gz"
    server.save_label("case_2", str(label), "final", {"saved": "meanwhile"})
    ClickScore(weights)({**ALL, "max_objects": 1}, scoring)
    again = LocalDatastore(str(folder))
    assert again.get_label_info("case_2", "final")["saved"] == "meanwhile"
    assert "click_score" in again.get_label_info("case_0", "final")


def test_a_label_that_is_removed_meanwhile_does_not_end_the_scoring(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore, server = LocalDatastore(str(folder)), LocalDatastore(str(folder))
    refresh = datastore.refresh

    def remove_and_refresh() -> None:
        if server.get_label_uri("case_0", "final"):
            server.remove_label("case_0", "final")
            server.refresh()
        refresh()

    monkeypatch.setattr(datastore, "refresh", remove_and_refresh)
    found = ClickScore(weights)({**ALL, "max_objects": 1}, datastore)
    assert list(found["images"]) == ["case_0", "case_1"]
    assert list(datastore.get_label_info("case_1", "final")["click_score"]) == [found["weights"]]


def test_labels_that_cannot_be_used_are_named_and_the_others_scored(folder: Path, weights: Path) -> None:
    empty = nibabel.Nifti1Image(np.zeros((32, 32, 6), np.uint8), np.diag([-1, -1, 2, 1]))
    nibabel.save(empty, folder / "labels" / "final" / "case_0.nii.gz")
    datastore = LocalDatastore(str(folder))
    found = ClickScore(weights)({**ALL, "max_objects": 1}, datastore)
    assert list(found["images"]) == ["case_1"]
    assert found["left_out"] == [["case_0", "the label is empty: it has no object"]]
    image = nibabel.Nifti1Image(np.full((32, 32, 6), np.nan, np.float32), np.diag([-1, -1, 2, 1]))
    nibabel.save(image, folder / "case_1.nii.gz")
    found = ClickScore(weights)({**ALL, "max_objects": 1}, datastore)
    assert (found["images"], found["all"]) == ({}, {})
    assert "no finite value" in found["left_out"][1][1]


def test_without_a_label_there_is_no_score(tmp_path: Path, weights: Path) -> None:
    found = ClickScore(weights)(ALL, LocalDatastore(str(tmp_path / "empty")))
    assert (found["images"], found["all"], found["left_out"]) == ({}, {}, [])


@pytest.mark.parametrize("option", ["every", "max_objects", "max_clicks", "min_area"])
def test_options_that_make_no_sense_are_refused_by_name(folder: Path, weights: Path, option: str) -> None:
    with pytest.raises(MONAILabelException, match=f"{option} must be a number from 1"):
        ClickScore(weights)({option: 0}, LocalDatastore(str(folder)))


def test_missing_weights_are_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MONAILabelException, match=r"There is no weight file|No such file"):
        ClickScore(tmp_path / "none.safetensors")(ALL, LocalDatastore(str(folder)))
