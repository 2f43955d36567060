"""The bundle at work: training with overrides, evaluation, inference on pictures and volumes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.evaluation import evaluate_source
from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.networks import AdaptiveClick, SimpleClick
from adaptiveclick_med.transforms import LoadSampled
from adaptiveclick_med.weights import default, default_path, load_weights, read_header, save_weights, start_network

Run = Callable[..., None]
OBLIQUE = np.array([[0.1, -2.0, 0.2, 30.0], [1.5, 0.1, 0.1, -12.0], [0.1, 0.2, -3.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
SIMPLE_CLICK = ["train.json", str(Path(__file__).parents[2] / "configs" / "simpleclick.json")]


class DiskNetwork(torch.nn.Module):
    """Answers with a disk of a radius of 3 pixels at each positive click."""

    def forward(self, image: torch.Tensor, previous: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        maps = click_maps(points, (image.shape[-2], image.shape[-1]), 3.0)
        return 20 * maps[:, :1] - 10


def results(folder: Path) -> dict[str, Any]:
    assert sorted(path.name for path in folder.iterdir()) == ["objects.csv", "results.json", "summary.csv"]
    return json.loads((folder / "results.json").read_text())


def test_training_writes_weights_that_tell_what_they_are(trained: Path) -> None:
    written = sorted(path.name for path in (trained / "models").iterdir())
    assert written == ["checkpoint_epoch=1.pt", "default.safetensors", "model.pt", "model.safetensors"]
    assert (trained / "models" / "default.safetensors").read_bytes() == default_path().read_bytes()
    header = read_header(trained / "models" / "model.safetensors")
    assert header["network"] == "AdaptiveClick"
    assert header["arguments"]["image_size"] == 64
    facts = header["training"]
    assert {key: facts[key] for key in ("dataset", "preset", "epoch", "seed")} == {
        "dataset": "phantoms",
        "preset": "nano",
        "epoch": 1,
        "seed": 0,
    }
    assert 1 <= facts["validation"]["NoC@90"] <= 2
    kept = load_weights(trained / "models" / "model.safetensors").state_dict()
    latest = torch.load(trained / "models" / "checkpoint_epoch=1.pt", weights_only=True)["network"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in latest.items())


@pytest.mark.parametrize(
    ("config", "overrides", "kind", "width"),
    [
        ("train.json", {"preset": "tiny"}, AdaptiveClick, 192),
        (SIMPLE_CLICK, {}, SimpleClick, 96),
        ("train.json", {"augmentation": "sbd", "gradient_clip": 1.0, "max_rounds": 0}, AdaptiveClick, 96),
        ("train.json", {"augmentation": "coco_lvis", "num_workers": 1, "click_decay": 0.4}, AdaptiveClick, 96),
    ],
)
def test_training_takes_overrides(
    tmp_path: Path,
    run_bundle: Run,
    small: dict[str, Any],
    picture_folder: Path,
    config: str | list[str],
    overrides: dict[str, Any],
    kind: type,
    width: int,
) -> None:
    folder = {"dataset": "folder", "dataset_dir": str(picture_folder), "dataset_options": {}}
    run_bundle("run", config, tmp_path, **{**small, **folder, **overrides})
    network = load_weights(tmp_path / "models" / "model.safetensors")
    assert type(network) is kind
    assert network.arguments["embed_dim"] == width
    start = start_network(kind.__name__, overrides.get("preset", "nano"), image_size=64).state_dict()
    learned = network.state_dict()
    assert learned.keys() == start.keys()
    assert all(bool(tensor.isfinite().all()) for tensor in learned.values())
    assert not torch.equal(learned["encoder.click_embed.weight"], start["encoder.click_embed.weight"])
    facts = read_header(tmp_path / "models" / "model.safetensors")["training"]
    assert (facts["dataset"], facts["batch_size"]) == ("folder", 2)


def test_a_plain_head_with_the_loss_for_candidates_is_a_clear_error(
    tmp_path: Path, run_bundle: Run, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError) as error:
        run_bundle("training", "train.json", tmp_path, **small, network_name="SimpleClick")
    assert isinstance(error.value.__cause__, ValueError)
    assert "a plain head gives none" in str(error.value.__cause__)


def test_training_goes_on_from_weights(tmp_path: Path, trained: Path, run_bundle: Run, small: dict[str, Any]) -> None:
    start = trained / "models" / "model.safetensors"
    run_bundle("training", "train.json", tmp_path, **small, initial_weights=str(start), learning_rate=0.0)
    before, after = (load_weights(path).state_dict() for path in (start, tmp_path / "models" / "model.safetensors"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_evaluating_from_the_command_line(configs: Path, trained: Path, picture_folder: Path, tmp_path: Path) -> None:
    weights = str(trained / "models" / "model.safetensors")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "evaluating", "--config_file", str(configs / "evaluate.json")),
        *("--weights", weights, "--dataset", "folder", "--dataset_dir", str(picture_folder)),
        *("--section", "all", "--max_clicks", "3", "--output_dir", str(tmp_path / "out")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "deprecated name" not in done.stderr
    found = results(tmp_path / "out")
    assert found["facts"]["dataset"] == "folder"
    assert found["facts"]["weights"] == weights
    assert found["max_clicks"] == 3
    direct = evaluate_source("folder", picture_folder, weights=weights, max_clicks=3, progress=False)
    assert [(item["name"], item["ious"]) for item in found["objects"]] == [
        (item.name, item.ious) for item in direct.objects
    ]
    assert [[tuple(click) for click in item["clicks"]] for item in found["objects"]] == [
        item.clicks for item in direct.objects
    ]
    with (tmp_path / "out" / "objects.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "clicks", "seconds", "IoU@1", "IoU@2", "IoU@3"]
    assert [row[0] for row in rows] == [item.name for item in direct.objects]
    with (tmp_path / "out" / "summary.csv").open() as file:
        names, numbers = csv.reader(file)
    summary = dict(zip(names, map(float, numbers), strict=True))
    assert summary == pytest.approx(found["summary"])
    assert summary["objects"] == len(direct.objects) == 6
    assert "NoC@90" in done.stdout


@pytest.mark.parametrize("dataset", [{}, {"dataset": "phantoms"}, {"dataset_name": "phantoms"}])
def test_the_default_data_set_may_be_named(
    tmp_path: Path, trained: Path, run_bundle: Run, small: dict[str, Any], dataset: dict[str, str]
) -> None:
    options = {"dataset_options": small["dataset_options"], "max_samples": 2, "max_clicks": 1, "min_area": 60}
    weights = str(trained / "models" / "model.safetensors")
    output = str(tmp_path / "out")
    run_bundle("run", "evaluate.json", tmp_path, weights=weights, output_dir=output, **options, **dataset)
    found = results(tmp_path / "out")
    assert found["facts"]["dataset"] == "phantoms"
    assert found["facts"]["section"] == "validation"
    assert len({item["name"].split("#")[0] for item in found["objects"]}) == 2


def test_an_evaluation_runs_as_often_as_it_is_told(
    configs: Path, trained: Path, picture_folder: Path, tmp_path: Path
) -> None:
    workflow = ConfigWorkflow(
        config_file=str(configs / "evaluate.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(trained),
        output_dir=str(tmp_path / "out"),
        dataset="folder",
        dataset_dir=str(picture_folder),
        max_samples=1,
        max_clicks=1,
    )
    workflow.initialize()
    counts = []
    for _ in range(2):
        workflow.run()
        counts.append(len(results(tmp_path / "out")["objects"]))
        (tmp_path / "out" / "results.json").unlink()
    assert counts == [counts[0], counts[0]]
    workflow.finalize()


def test_both_use_the_default_weights(tmp_path: Path, configs: Path, scans: Path, run_bundle: Run) -> None:
    bundle, out = configs.parent, {"output_dir": str(tmp_path / "masks")}
    (scans / "clicks.json").write_text(json.dumps([{"image": "photo.png", "clicks": [[20, 50, True]]}]))
    run_bundle("run", "inference.json", bundle, dataset_dir=str(scans), **out)
    session = InteractiveSession(default(), second_look=True)
    session.set_image(np.asarray(Image.open(scans / "photo.png")))
    mask = np.asarray(Image.open(tmp_path / "masks" / "photo.png_mask.png")) > 0
    assert np.mean(mask != session.click(20, 50).mask) < 0.001
    options = {"dataset_options": {"num_volumes": 2, "size": (4, 64, 64)}, "max_samples": 1, "max_clicks": 2}
    run_bundle("run", "evaluate.json", bundle, output_dir=str(tmp_path / "out"), **options)
    found = results(tmp_path / "out")
    assert found["facts"]["weights"] == f"{bundle}/models/default.safetensors"
    chosen: dict[str, Any] = {"options": options["dataset_options"], "section": "validation", "max_samples": 1}
    direct = evaluate_source("phantoms", max_clicks=2, progress=False, **chosen)
    assert [item["ious"] for item in found["objects"]] == [item.ious for item in direct.objects]


def test_evaluating_without_weights_names_the_file(tmp_path: Path, run_bundle: Run) -> None:
    with pytest.raises(RuntimeError) as error:
        run_bundle("evaluating", "evaluate.json", tmp_path)
    cause: BaseException | None = error.value
    while cause is not None and not isinstance(cause, FileNotFoundError):
        cause = cause.__cause__
    assert "There is no weight file" in str(cause)
    assert not (tmp_path / "eval" / "results.json").exists()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A picture, an oblique volume, and clicks on both."""
    folder = tmp_path / "scans"
    folder.mkdir()
    random = np.random.RandomState(0)
    Image.fromarray(random.randint(0, 255, (90, 70, 3), dtype=np.uint8)).save(folder / "photo.png")
    volume = nibabel.Nifti1Image(random.randint(0, 1000, (50, 40, 9)).astype(np.int16), OBLIQUE)
    nibabel.save(volume, folder / "scan.nii.gz")
    return folder


def displayed(voxel: tuple[int, int, int], plane: str, shape: tuple[int, int, int]) -> tuple[int, list[float]]:
    """The slice of a voxel and its (row, column) there, through the world."""
    cut = slice_plane(OBLIQUE, plane)
    index = voxel[cut.axes[0]]
    row, column, beside, _ = np.linalg.inv(cut.affine(OBLIQUE, shape, index)) @ OBLIQUE @ [*voxel, 1]
    assert beside == pytest.approx(0, abs=1e-9)
    return index, [float(row), float(column)]


def test_inference_on_a_picture_and_on_slices_of_an_oblique_volume(
    tmp_path: Path, scans: Path, run_bundle: Run
) -> None:
    voxel, shape = (12, 31, 3), (50, 40, 9)
    entries: list[dict[str, Any]] = [{"image": "photo.png", "clicks": [[20, 50, True], [60, 10, True]]}]
    for plane in ("axial", "coronal", "sagittal"):
        index, place = displayed(voxel, plane, shape)
        entries.append({"image": "scan.nii.gz", "slice": index, "plane": plane, "clicks": [[*place, True]]})
    (scans / "clicks.json").write_text(json.dumps(entries))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "default.safetensors").touch()
    run_bundle(
        "run", "inference.json", tmp_path, dataset_dir=str(scans), network_def=DiskNetwork(), zoom_in=False, flip=False
    )
    out = tmp_path / "eval"
    picture = np.asarray(Image.open(out / "photo.png_mask.png"))
    assert picture.shape == (90, 70)
    assert set(np.unique(picture)) == {0, 255}
    rows, columns = np.ogrid[:90, :70]
    expected = ((rows - 20) ** 2 + (columns - 50) ** 2 <= 9) | ((rows - 60) ** 2 + (columns - 10) ** 2 <= 9)
    np.testing.assert_array_equal(picture > 0, expected)
    source: Any = nibabel.load(scans / "scan.nii.gz")
    for entry in entries[1:]:
        name = f"scan.nii.gz_{entry['plane']}_{entry['slice']:03d}_mask.nii.gz"
        mask: Any = nibabel.load(out / name)
        assert mask.shape == shape
        np.testing.assert_array_equal(mask.affine, source.affine)
        filled = np.argwhere(np.asarray(mask.dataobj) > 0)
        assert len(filled) == 29
        np.testing.assert_allclose(filled.mean(0), voxel)
        through = slice_plane(OBLIQUE, entry["plane"]).axes[0]
        assert set(filled[:, through]) == {voxel[through]}
    assert len(list(out.iterdir())) == 4


def test_inference_with_weights_and_the_protocol(tmp_path: Path, scans: Path, run_bundle: Run) -> None:
    network = SimpleClick.from_preset("nano", image_size=64)
    torch.nn.init.zeros_(network.head.classifier.weight)
    torch.nn.init.constant_(network.head.classifier.bias, 4.0)
    save_weights(tmp_path / "models" / "default.safetensors", network)
    clicks = [{"image": "scan.nii.gz", "slice": 4, "clicks": [[5, 6, True], [30, 20, False]]}]
    (scans / "mine.json").write_text(json.dumps(clicks))
    run_bundle("run", "inference.json", tmp_path, dataset_dir=str(scans), clicks=str(scans / "mine.json"))
    mask: Any = nibabel.load(tmp_path / "eval" / "scan.nii.gz_axial_004_mask.nii.gz")
    filled = np.asarray(mask.dataobj)
    assert filled.dtype == np.uint8
    assert filled[:, :, 4].all()
    assert filled.sum() == filled[:, :, 4].size


def test_the_intensity_of_a_training_goes_with_its_weights(
    configs: Path, tmp_path: Path, run_bundle: Run, small: dict[str, Any], scans: Path
) -> None:
    run_bundle("run", "train.json", tmp_path / "a", **small, intensity_window=[0, 500], channels=0)
    weights = tmp_path / "a" / "models" / "model.safetensors"
    intensity = {"window": [0.0, 500.0], "channels": 0, "percentiles": [0.5, 99.5], "nan": "raise"}
    assert load_weights(weights).intensity == intensity

    (scans / "clicks.json").write_text(json.dumps([{"image": "scan.nii.gz", "slice": 4, "clicks": [[5, 6, True]]}]))
    stored = np.asarray(nibabel.load(scans / "scan.nii.gz").dataobj)[:, :, 4]  # type: ignore[attr-defined]
    for given, low, high in (({}, 0, 500), ({"intensity_window": [100, 200]}, 100, 200)):
        parser = ConfigParser(json.loads((configs / "inference.json").read_text()))
        parser.update({"weights": str(weights), "dataset_dir": str(scans), **given})
        image = parser.get_parsed_content("dataset")[0]["image"]
        expected = np.sort(np.clip((stored - float(low)) / (high - low), 0, 1).ravel())
        np.testing.assert_allclose(np.sort(np.asarray(image[1]).ravel()), expected, atol=1e-6)

    for given, window in (({}, [0.0, 500.0]), ({"intensity_window": "none"}, None)):
        parser = ConfigParser(json.loads((configs / "train.json").read_text()))
        parser.update({**small, "initial_weights": str(weights), **given})
        assert parser.get_parsed_content("network_def").intensity == {**intensity, "window": window}
        image = parser.get_parsed_content("validate::dataset")[0]["image"]
        volume = parser.get_parsed_content("validate::dataset").data[0]["image"]
        low, high = window or np.percentile(volume, (0.5, 99.5))
        raw = np.asarray(LoadSampled()(parser.get_parsed_content("validate::dataset").data[0])["image"])
        np.testing.assert_allclose(np.asarray(image[1]), np.clip((raw[0] - low) / (high - low), 0, 1), atol=1e-5)


def test_two_objects_of_one_picture_give_two_masks(tmp_path: Path, scans: Path, run_bundle: Run) -> None:
    clicks = [{"image": "photo.png", "clicks": [[row, 20, True]]} for row in (10, 70)]
    (scans / "clicks.json").write_text(json.dumps(clicks))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "default.safetensors").touch()
    options = {"network_def": DiskNetwork(), "zoom_in": False, "flip": False}
    run_bundle("run", "inference.json", tmp_path, dataset_dir=str(scans), **options)
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "eval").iterdir())]
    assert sorted(np.argwhere(mask)[:, 0].mean() for mask in masks) == [10, 70]


def test_a_click_outside_names_its_image(tmp_path: Path, scans: Path, run_bundle: Run) -> None:
    (scans / "clicks.json").write_text(json.dumps([{"image": "photo.png", "clicks": [[90, 20, True]]}]))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "default.safetensors").touch()
    with pytest.raises(RuntimeError) as error:
        run_bundle("run", "inference.json", tmp_path, dataset_dir=str(scans), network_def=DiskNetwork())
    assert "photo.png: The click (90.0, 20.0) lies outside the image" in str(error.value.__cause__)


def test_inference_without_weights_writes_nothing(tmp_path: Path, scans: Path, run_bundle: Run) -> None:
    (scans / "clicks.json").write_text(json.dumps([{"image": "photo.png", "clicks": [[1, 1, True]]}]))
    with pytest.raises(RuntimeError) as error:
        run_bundle("run", "inference.json", tmp_path, dataset_dir=str(scans))
    assert isinstance(error.value.__cause__, FileNotFoundError)
    assert "default.safetensors" in str(error.value.__cause__)
    assert not (tmp_path / "eval").exists()
