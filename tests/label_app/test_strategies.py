"""Which image comes next: orders worked out by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelException

from adaptiveclick_med.label_app import strategies
from adaptiveclick_med.label_app.strategies import LeastConfident, NeverSeen, image_confidence, probe_clicks
from adaptiveclick_med.networks import SimpleClick
from adaptiveclick_med.weights import save_weights

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def datastore(tmp_path: Path) -> LocalDatastore:
    """Four images, of which "b" has a label. Their middle slices have a level of 100, 200, 300 and 400."""
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    for number, name in enumerate(NAMES, start=1):
        image = np.zeros((32, 32, 6), np.int16)
        image[4:28, 4:28, 3] = 100 * number
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((32, 32, 6), np.uint8), np.eye(4)), folder / "labels/final/b.nii.gz")
    return LocalDatastore(str(folder))


def constant(bias: float, seed: int = 0) -> SimpleClick:
    """A network that answers with the same logit everywhere."""
    torch.manual_seed(seed)
    network = SimpleClick.from_preset("nano", image_size=64).eval()
    torch.nn.init.zeros_(network.head.classifier.weight)
    torch.nn.init.constant_(network.head.classifier.bias, bias)
    return network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_weights(tmp_path / "model.safetensors", constant(1.0))


def give(datastore: LocalDatastore, image: str, when: int, strategy: str = "never_seen") -> None:
    """What MONAI Label notes when it has given an image to somebody."""
    given = datastore.get_image_info(image).get("strategy", {})
    datastore.update_image_info(image, {"strategy": {**given, strategy: {"ts": when, "client_id": "someone"}}})


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Confidences by image in place of the network's: a 0.9, c 0.2, d 0.5; returns which were measured."""
    measured: list[str] = []

    def confidence(network: Any, image: str, **scaling: Any) -> float:
        measured.append(Path(image).name[0])
        return {"a": 0.9, "c": 0.2, "d": 0.5}[measured[-1]]

    monkeypatch.setattr(strategies, "image_confidence", confidence)
    return measured


def test_images_nobody_was_given_come_first_then_the_one_given_longest_ago(datastore: LocalDatastore) -> None:
    strategy = NeverSeen()
    order = []
    for now in (100, 101, 102, 103):
        found = strategy({"strategy": "never_seen"}, datastore)
        assert found is not None
        order.append((found["id"], found["given"]))
        give(datastore, found["id"], now)
    assert order == [("a", 0), ("c", 0), ("d", 0), ("a", 100)]
    give(datastore, "c", 200, "least_confident")  # given by another strategy counts too
    assert strategy({}, datastore) == {"id": "d", "given": 102}


def test_the_order_is_the_same_after_a_restart(datastore: LocalDatastore, tmp_path: Path) -> None:
    give(datastore, "a", 100)
    again = LocalDatastore(str(tmp_path / "studies"))
    assert NeverSeen()({}, again) == {"id": "c", "given": 0}


def test_nothing_is_left_when_all_images_have_a_label(datastore: LocalDatastore, tmp_path: Path, weights: Path) -> None:
    for name in "acd":
        source = tmp_path / "studies" / "labels" / "final" / "b.nii.gz"
        datastore.save_label(name, str(source), "final", {})
    assert NeverSeen()({}, datastore) is None
    assert LeastConfident(weights)({}, datastore) is None


def test_unreadable_images_are_passed_over_with_a_warning(
    datastore: LocalDatastore, tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "studies" / "a.nii.gz").write_bytes(b"nothing")
    with caplog.at_level(logging.WARNING):
        assert NeverSeen()({}, datastore) == {"id": "c", "given": 0}
    assert "The image a cannot be read and is passed over" in caplog.text
    found = LeastConfident(weights)({"max_images": 2}, datastore)
    assert found is not None
    assert found["id"] == "c"


def test_images_that_are_gone_from_the_store_are_passed_over(
    datastore: LocalDatastore, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = datastore.get_image_uri

    def uri(image_id: str) -> str:
        if image_id == "a":
            raise HTTPException(404, "There is no series 'a' (any more).")
        if image_id == "c":
            raise ValueError("the series is no regular volume")
        return find(image_id)

    monkeypatch.setattr(datastore, "get_image_uri", uri)
    assert NeverSeen()({}, datastore) == {"id": "d", "given": 0}
    found = LeastConfident(weights)({}, datastore)
    assert found is not None
    assert found["id"] == "d"


def test_the_least_confident_of_those_nobody_was_given(
    datastore: LocalDatastore, weights: Path, levels: list[str]
) -> None:
    strategy = LeastConfident(weights)
    order = []
    for now in (100, 101, 102, 103):
        found = strategy({"strategy": "least_confident"}, datastore)
        assert found is not None
        order.append((found["id"], found.get("confidence"), found["given"]))
        give(datastore, found["id"], now, "least_confident")
    assert order == [("c", 0.2, 0), ("d", 0.5, 0), ("a", 0.9, 0), ("c", None, 100)]
    assert levels == ["a", "c", "d"]  # each once


def test_a_request_measures_a_few_images_only(datastore: LocalDatastore, weights: Path, levels: list[str]) -> None:
    strategy = LeastConfident(weights)
    answers = []
    for _ in range(3):
        found = strategy({"max_images": 1}, datastore)
        assert found is not None
        answers.append((found["id"], list(levels)))
    assert answers == [("a", ["a"]), ("c", ["a", "c"]), ("c", ["a", "c", "d"])]
    with pytest.raises(MONAILabelException, match="max_images must be a number from 1"):
        strategy({"max_images": 0}, datastore)


def test_what_was_measured_holds_for_its_weights_and_its_file(
    datastore: LocalDatastore, tmp_path: Path, weights: Path, levels: list[str]
) -> None:
    LeastConfident(weights)({}, datastore)
    assert datastore.get_image_info("c")["click_confidence"]["value"] == 0.2
    LeastConfident(weights)({}, LocalDatastore(str(tmp_path / "studies")))  # after a restart
    assert levels == ["a", "c", "d"]
    image = nibabel.Nifti1Image(np.full((32, 32, 6), 7, np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "studies" / "d.nii.gz")
    LeastConfident(weights)({}, datastore)
    assert levels == ["a", "c", "d", "d"]
    strategy = LeastConfident(weights)
    strategy({}, datastore)
    save_weights(weights, constant(2.0))
    strategy({}, datastore)
    assert levels == ["a", "c", "d", "d", "a", "c", "d"]


def test_an_image_that_fails_is_not_measured_again_and_again(
    datastore: LocalDatastore, tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = nibabel.Nifti1Image(np.full((32, 32, 6), np.nan, np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "studies" / "a.nii.gz")  # its header can be read
    strategy = LeastConfident(weights)
    with caplog.at_level(logging.WARNING):
        strategy({"max_images": 1}, datastore)
        found = strategy({"max_images": 1}, datastore)
    assert found is not None
    assert found["id"] == "c"
    assert caplog.text.count("The image a cannot be used and is passed over") == 1


def test_a_datastore_that_keeps_nothing_is_no_hindrance(
    datastore: LocalDatastore, weights: Path, levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(image_id: str, info: dict[str, Any]) -> None:
        raise ImageNotFoundException(f"Image {image_id} not found")

    monkeypatch.setattr(datastore, "update_image_info", refuse)
    strategy = LeastConfident(weights)
    assert [strategy({}, datastore)["id"] for _ in range(2)] == ["c", "c"]  # type: ignore[index]
    assert levels == ["a", "c", "d"]


@pytest.mark.parametrize(("bias", "expected"), [(1.0, 1 / (1 + np.exp(-1.0))), (-3.0, 0.0)])
def test_confidence_is_the_mean_probability_inside_the_masks(
    datastore: LocalDatastore, bias: float, expected: float
) -> None:
    found = image_confidence(constant(bias), datastore.get_image_uri("a"))
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_network_of_the_server_is_used_where_it_is_loaded(datastore: LocalDatastore, weights: Path) -> None:
    calls: list[int] = []

    def load() -> SimpleClick:
        calls.append(1)
        return constant(2.0)

    found = LeastConfident(weights, load)({"max_images": 1}, datastore)
    assert found is not None
    assert found["confidence"] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-5)
    assert calls == [1]
    with pytest.raises(FileNotFoundError, match="There is no weight file"):
        LeastConfident(weights.with_name("none.safetensors"))({}, datastore)


def test_probes_lie_on_something_and_apart() -> None:
    picture = np.zeros((64, 96))
    picture[10:50, 20:80] = 0.8
    clicks = probe_clicks(picture)
    places = [(click.row, click.column) for click in clicks]
    assert len(set(places)) == 5
    assert all(picture[int(row), int(column)] > 0 for row, column in places)
    assert abs(places[0][0] - 30) <= 2
    assert abs(places[0][1] - 50) <= 2
    corners = {(round(row / 10) * 10, round(column / 10) * 10) for row, column in places[1:]}
    assert corners == {(10, 20), (10, 80), (50, 20), (50, 80)}
    assert [(click.row, click.column) for click in probe_clicks(picture)] == places


def test_probes_of_an_image_without_structure() -> None:
    assert len(probe_clicks(np.zeros((40, 40)))) == 5
    assert [(click.row, click.column) for click in probe_clicks(np.zeros((1, 1)))] == [(0.0, 0.0)]


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[], str]:
    def make() -> str:
        from PIL import Image

        path = tmp_path / "photo.png"
        Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(48, 40).astype(np.uint8)).save(path)
        return str(path)

    return make


def test_confidence_of_a_picture(picture: Callable[[], str]) -> None:
    assert image_confidence(constant(0.0), picture()) == pytest.approx(0.5)
