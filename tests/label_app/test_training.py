"""Training on saved labels through MONAI Label's interface: what is learned from, published, kept and told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.exception import MONAILabelException

from adaptiveclick_med.inference import InteractiveSession
from adaptiveclick_med.label_app import publishing, training_run
from adaptiveclick_med.label_app.background import NICENESS, in_background
from adaptiveclick_med.label_app.fine_tuning import find_bundle
from adaptiveclick_med.label_app.measuring import measure, numbers
from adaptiveclick_med.label_app.publishing import publish_weights
from adaptiveclick_med.label_app.saved_labels import hold_back, labelled_slices, saved_labels
from adaptiveclick_med.label_app.tasks_training import FineTune
from adaptiveclick_med.label_app.training_record import TrainingRecord
from adaptiveclick_med.networks import AdaptiveClick
from adaptiveclick_med.weights import load_weights, read_header, save_weights, start_network

FAST = {
    "max_epochs": 1,
    "batch_size": 2,
    "samples_per_epoch": 4,
    "val_max_samples": 1,
    "val_max_clicks": 2,
    "device": "cpu",
    "publish": "always",
}


def write_case(folder: Path, name: str, *, label: bool = True, affine: Any = None) -> None:
    """A volume of 32 x 32 x 6 with a bright box in slices 1 to 4, and its label."""
    random = np.random.RandomState(len(name) + sum(map(ord, name)))
    mask = np.zeros((32, 32, 6), np.uint8)
    mask[8:20, 10:24, 1:5] = 1
    image = (300.0 * mask + random.normal(100, 20, mask.shape)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"{name}.nii.gz")
    if label:
        (folder / "labels" / "final").mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "labels" / "final" / f"{name}.nii.gz")


@pytest.fixture
def studies(tmp_path: Path) -> Callable[..., LocalDatastore]:
    """Make a datastore with labelled and unlabelled cases."""

    def make(labelled: int, unlabelled: int = 1) -> LocalDatastore:
        folder = tmp_path / "studies"
        folder.mkdir()
        for number in range(labelled):
            write_case(folder, f"case_{number}")
        for number in range(unlabelled):
            write_case(folder, f"new_{number}", label=False)
        return LocalDatastore(str(folder))

    return make


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Untrained weights of the smallest network, with a window."""
    network = start_network("AdaptiveClick", "nano", image_size=64, intensity_window=(0.0, 500.0), seed=3)
    facts = {"dataset": "phantoms", "seed": 3}
    return save_weights(tmp_path / "model" / "model.safetensors", network, training=facts, licence="Apache-2.0")


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_weights(path).state_dict()


def differ(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(first[name], second[name]) for name in first)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_training_publishes_new_weights_and_keeps_the_old(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore = studies(3)
    before, content = state(weights), weights.read_bytes()
    task = FineTune(weights, tmp_path / "work")
    assert task.stats() == {}
    found = task({**FAST, "max_epochs": 2, "model": "adaptiveclick", "gpus": "all"}, datastore)

    kept = weights.parent / found["previous_weights"]
    assert files(weights.parent) == sorted(["model.safetensors", kept.name])
    assert kept.name.startswith("model_20")
    assert kept.read_bytes() == content
    assert differ(before, state(weights))

    ids = [saved.image_id for saved in saved_labels(datastore)]
    assert ids == ["case_0", "case_1", "case_2"]
    held = hold_back(ids, 0.2, 0)
    assert found["labels"] == {
        "images": 3,
        "training": 3 - len(held),
        "training_slices": 4 * (3 - len(held)),
        "held_back": len(held),
        "held_back_slices": 4 * len(held),
        "left_out": [],
    }
    assert (found["status"], found["published"], found["epoch"], found["total_epochs"]) == ("done", True, 2, 2)
    assert len(found["losses"]) == 2
    assert all(np.isfinite(found["losses"]))
    assert "error" not in found

    header = read_header(weights)
    facts = header["training"]
    assert header["licence"] == "Apache-2.0"
    assert header["arguments"]["image_size"] == 64
    assert header["intensity"]["window"] == [0.0, 500.0]
    assert facts["base"] == {"dataset": "phantoms", "seed": 3}
    assert facts["epoch"] == found["validation"]["best_epoch"]
    assert {name: facts[name] for name in ("dataset", "images", "held_back", "max_epochs", "batch_size", "seed")} == {
        "dataset": "saved labels",
        "images": 3,
        "held_back": len(held),
        "max_epochs": 2,
        "batch_size": 2,
        "seed": 0,
    }
    assert facts["validation"] == found["validation"]["new"]
    assert facts["validation_before"] == found["validation"]["old"]
    assert not any(name in json.dumps(header) for name in ids)

    # another process, or the server after a restart, tells the same
    assert FineTune(weights, tmp_path / "work").stats() == found
    assert files(tmp_path / "work") == [".train.lock", "train_stats.json"]
    assert files(tmp_path / "studies") == [
        *(".lock", "case_0.nii.gz", "case_1.nii.gz", "case_2.nii.gz", "datastore_v2.json", "labels", "new_0.nii.gz"),
    ]


def test_the_numbers_are_those_of_the_robot_user_on_the_held_back_labels(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore = studies(2)
    old = load_weights(weights)
    found = FineTune(weights, tmp_path / "work")({**FAST, "val_max_samples": 20}, datastore)
    items, _ = labelled_slices(saved_labels(datastore))
    held = [item for item in items if item["group"] in hold_back(["case_0", "case_1"], 0.2)]
    assert len(held) == 4
    assert found["validation"]["old"] == numbers(measure(old, held, max_clicks=2))
    new = measure(load_weights(weights), held, max_clicks=2)
    assert found["validation"]["new"] == numbers(new)
    assert found["best_metric"] == pytest.approx(new.curve()[1], abs=1e-6)
    assert found["validation"]["slices"] == 4


def test_one_label_is_learned_from_and_nothing_is_held_back(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    before = state(weights)
    found = FineTune(weights, tmp_path / "work")(FAST, studies(1))
    assert (found["labels"]["training"], found["labels"]["held_back"]) == (1, 0)
    assert "Nothing was held back" in found["note"]
    assert found["published"]
    assert "validation" not in found
    assert "best_metric" not in found
    assert differ(before, state(weights))
    assert read_header(weights)["training"]["validation"] == {}


def test_the_same_request_gives_the_same_weights(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore, results = studies(1), []
    for number in range(2):
        copy = tmp_path / str(number) / "model.safetensors"
        copy.parent.mkdir()
        copy.write_bytes(weights.read_bytes())
        FineTune(copy, tmp_path / str(number))({**FAST, "samples_per_epoch": "2"}, datastore)
        results.append(state(copy))
    assert not differ(*results)


def test_a_window_of_the_server_is_learned_with_and_kept(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    task = FineTune(weights, tmp_path / "work", window="soft_tissue", channels=0)
    task({**FAST, "samples_per_epoch": 2}, studies(1))
    intensity = read_header(weights)["intensity"]
    assert (intensity["window"], intensity["channels"]) == ("soft_tissue", 0)


def test_a_network_without_candidates_learns_with_its_own_loss(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    save_weights(weights, start_network("SimpleClick", "nano", image_size=64))
    before = state(weights)
    found = FineTune(weights, tmp_path / "work")({**FAST, "samples_per_epoch": 2}, studies(1))
    assert found["published"]
    assert read_header(weights)["network"] == "SimpleClick"
    assert differ(before, state(weights))


def test_worse_weights_are_not_published(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = weights.read_bytes()
    monkeypatch.setattr(training_run, "_rank", _ranks(old=3.0, new=3.1))
    datastore, task = studies(2), FineTune(weights, tmp_path / "work")
    request = {**FAST, "publish": ["unless worse", "always"]}
    found = task(request, datastore)
    assert (found["published"], found["status"]) == (False, "done")
    assert "stay in use" in found["note"]
    assert files(weights.parent) == ["model.safetensors"]
    assert weights.read_bytes() == content

    monkeypatch.setattr(training_run, "_rank", _ranks(old=3.0, new=3.0))
    assert task(request, datastore)["published"]
    assert len(files(weights.parent)) == 2


def test_the_mean_iou_decides_where_no_object_reaches_the_goal(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([(10.0, 10.0, -0.57), (10.0, 10.0, -0.6)])
    monkeypatch.setattr(training_run, "_rank", lambda result: next(answers))
    request = {**FAST, "publish": "unless worse"}
    assert not FineTune(weights, tmp_path / "work")(request, studies(2))["published"]


def _ranks(old: float, new: float) -> Callable[[Any], tuple[float, ...]]:
    """Clicks of the only epoch's network, which is asked for first, and of the old one."""
    answers = iter([(new, 0.0, 0.0), (old, 0.0, 0.0)])
    return lambda result: next(answers)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("max_epochs", 0, "from 1"),
        ("max_epochs", 1.5, "whole number"),
        ("batch_size", "many", "from 1"),
        ("batch_size", True, "from 1"),
        ("learning_rate", 0, "above 0 to 1"),
        ("learning_rate", "nan", "above 0 to 1"),
        ("samples_per_epoch", -1, "from 0"),
        ("val_split", 1.0, "from 0 to 0.9"),
        ("val_max_clicks", 101, "from 1 to 100"),
        ("seed", None, "from 0"),
        ("publish", "never", "unless worse, always"),
        ("device", "quantum", "cannot be used"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path, option: str, value: Any, allowed: str
) -> None:
    with pytest.raises(MONAILabelException) as error:
        FineTune(weights, tmp_path / "work")({option: value}, studies(1))
    assert option in error.value.msg
    assert allowed in error.value.msg
    assert not (tmp_path / "work").exists()


def test_without_a_label_it_says_what_to_do(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    with pytest.raises(MONAILabelException, match="label an image, submit it, and train then"):
        FineTune(weights, tmp_path / "work")(FAST, studies(0))


def test_labels_that_cannot_be_used_are_named(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore = studies(2)
    final = tmp_path / "studies" / "labels" / "final"
    nibabel.save(nibabel.Nifti1Image(np.zeros((32, 32, 6), np.uint8), np.eye(4)), final / "case_0.nii.gz")
    found = FineTune(weights, tmp_path / "work")(FAST, datastore)
    [[name, reason]] = found["labels"]["left_out"]
    assert name == "case_0"
    assert "lies elsewhere" in reason
    assert (found["labels"]["images"], found["labels"]["training"]) == (2, 1)
    (final / "case_1.nii.gz").write_bytes(b"nothing")
    with pytest.raises(MONAILabelException, match="none of the 2 saved labels can be used"):
        FineTune(weights, tmp_path / "work")(FAST, datastore)


@pytest.mark.parametrize("where", ["training", "writing", "renaming"])
def test_a_failure_keeps_the_old_weights(
    tmp_path: Path,
    studies: Callable[..., LocalDatastore],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    content = weights.read_bytes()

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    datastore, task = studies(1), FineTune(weights, tmp_path / "work")
    if where == "training":
        image = np.full((32, 32, 6), np.nan, np.float32)
        saved = nibabel.load(tmp_path / "studies" / "case_0.nii.gz")
        nibabel.save(nibabel.Nifti1Image(image, saved.affine), tmp_path / "studies" / "case_0.nii.gz")
    else:
        monkeypatch.setattr(publishing, {"writing": "_flush", "renaming": "_keep"}[where], fail)
    with pytest.raises(MONAILabelException) as error:
        task(FAST, datastore)
    assert files(weights.parent) == ["model.safetensors"]
    assert weights.read_bytes() == content
    found = task.stats()
    assert (found["status"], found["published"]) == ("failed", False)
    assert found["error"] == error.value.msg
    expected = "case_0/axial_00" if where == "training" else "No space left"
    assert expected in found["error"]


def test_a_loss_that_is_no_number_keeps_the_old_weights(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    network = load_weights(weights)
    with torch.no_grad():
        next(iter(network.parameters())).fill_(torch.nan)
    save_weights(weights, network)
    content = weights.read_bytes()
    with pytest.raises(MONAILabelException, match="no longer a finite number after 1 steps: lower learning_rate"):
        FineTune(weights, tmp_path / "work")(FAST, studies(1))
    assert files(weights.parent) == ["model.safetensors"]
    assert weights.read_bytes() == content


KILLED = """
import sys
from pathlib import Path
from monailabel.datastore.local import LocalDatastore
from adaptiveclick_med.label_app import training_run
from adaptiveclick_med.label_app.tasks_training import FineTune

weights, work, studies = map(Path, sys.argv[1:])

def wait(bundle, weights, *rest):
    weights.with_name(".unpublished-1.safetensors").write_bytes(b"half")
    print("training", flush=True)
    sys.stdin.read()

training_run.fine_tune = wait
FineTune(weights, work)({"device": "cpu"}, LocalDatastore(str(studies), read_only=True))
"""


def test_a_training_that_is_killed_leaves_the_old_weights_and_is_told_as_stopped(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore, content = studies(1), weights.read_bytes()
    task = FineTune(weights, tmp_path / "work")
    command = [sys.executable, "-c", KILLED, str(weights), str(tmp_path / "work"), str(tmp_path / "studies")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line.strip() != "training":
            pass
        assert line.strip() == "training"
        assert task.stats()["status"] == "running"  # seen from here although it runs there
        process.kill()
    assert task.stats()["status"] == "stopped"
    assert weights.read_bytes() == content
    task({**FAST, "samples_per_epoch": 2}, datastore)
    assert task.stats()["status"] == "done"
    assert [name for name in files(weights.parent) if name.startswith(".")] == []


def test_only_one_training_runs_at_a_time(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptiveclick_med.label_app.training_record._PATIENCE", 0.0)
    with TrainingRecord(tmp_path / "work").alone(), pytest.raises(MONAILabelException, match="is running"):
        FineTune(weights, tmp_path / "work")(FAST, studies(1))


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    record = TrainingRecord(tmp_path)
    record.path.write_text("{")
    assert record.read() == {}
    record.write({"status": "done"})
    assert record.read() == {"status": "done"}


def test_options_are_shown_with_their_defaults(tmp_path: Path, weights: Path) -> None:
    info = FineTune(weights, tmp_path).info()
    assert info["config"]["learning_rate"] == 5e-5
    assert info["config"]["publish"] == ["unless worse", "always"]
    assert isinstance(info["config"]["device"], list)
    json.dumps(info)


def test_weights_of_another_origin_are_refused(
    tmp_path: Path, studies: Callable[..., LocalDatastore], weights: Path
) -> None:
    datastore = studies(1)
    with pytest.raises(MONAILabelException, match="There is no weight file"):
        FineTune(tmp_path / "none.safetensors", tmp_path / "work")(FAST, datastore)
    with pytest.raises(MONAILabelException, match="the option bundle"):
        FineTune(weights, tmp_path / "work", tmp_path)(FAST, datastore)
    configs = tmp_path / "other" / "configs"
    configs.mkdir(parents=True)
    for name in ("train.json", "metadata.json"):
        (configs / name).write_text("{}")
    with pytest.raises(MONAILabelException, match="is no training of this software"):
        FineTune(weights, tmp_path / "work", configs.parent)(FAST, datastore)
    moved = weights.rename(weights.with_suffix(".pth"))
    with pytest.raises(MONAILabelException, match="convert-weights"):
        FineTune(moved, tmp_path / "work")(FAST, datastore)


def test_the_bundle_is_found() -> None:
    assert (find_bundle() / "docs" / "README.md").is_file()
    assert find_bundle(find_bundle().parent) == find_bundle()


def test_publishing_twice_keeps_both_and_readers_keep_what_they_opened(tmp_path: Path, weights: Path) -> None:
    contents = [weights.read_bytes()]
    with weights.open("rb") as reader:
        kept = []
        for seed in (1, 2):
            network = AdaptiveClick.from_preset("nano", image_size=64)
            path = publish_weights(weights, network, training={"seed": seed})
            assert path is not None
            kept.append(path)
            contents.append(weights.read_bytes())
        assert reader.read() == contents[0]
    assert [path.read_bytes() for path in kept] == contents[:2]
    assert read_header(weights)["training"] == {"seed": 2}
    assert len(files(weights.parent)) == 3


def test_publishing_replaces_a_link_and_not_its_target(tmp_path: Path, weights: Path) -> None:
    linked = tmp_path / "served" / "model.safetensors"
    linked.parent.mkdir()
    linked.symlink_to(weights)
    content = weights.read_bytes()
    kept = publish_weights(linked, load_weights(weights), training={})
    assert weights.read_bytes() == content
    assert not linked.is_symlink()
    assert kept is not None
    assert kept.read_bytes() == content
    assert publish_weights(tmp_path / "first" / "model.safetensors", load_weights(weights), training={}) is None


def test_a_folder_that_cannot_be_flushed_takes_nothing_back(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, flush = weights.read_bytes(), publishing._flush

    def no_folders(path: Path) -> None:
        if path.is_dir():
            raise OSError(22, "Invalid argument")
        flush(path)

    monkeypatch.setattr(publishing, "_flush", no_folders)
    kept = publish_weights(weights, AdaptiveClick.from_preset("nano", image_size=64), training={"seed": 1})
    assert kept is not None
    assert kept.read_bytes() == content
    assert read_header(weights)["training"] == {"seed": 1}


def test_what_was_learned_from_is_not_held_back_later() -> None:
    names = [f"image {number}" for number in range(200)]
    learned: set[str] = set()
    for count in range(2, 201):
        held = hold_back(names[:count], 0.3)
        assert 1 <= len(held) < count
        assert not learned & held
        learned |= set(names[:count]) - held
    assert 40 <= len(hold_back(names, 0.3)) <= 80
    assert hold_back(names, 0.3, seed=1) != hold_back(names, 0.3)
    assert hold_back(names, 0.0) == set()
    assert hold_back(names[:1], 0.5) == set()


def test_slices_of_a_sagittal_volume_are_those_of_its_acquisition(tmp_path: Path) -> None:
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = 1, 1, 3, 1  # i to anterior, j to superior, k to right
    write_case(tmp_path, "knee", affine=affine)
    items, left_out = labelled_slices(saved_labels(LocalDatastore(str(tmp_path))), every=2)
    assert left_out == []
    assert [(item["name"], item["reader"]["plane"]) for item in items] == [
        ("knee/sagittal_001", "sagittal"),
        ("knee/sagittal_003", "sagittal"),
    ]


def test_images_that_are_links_keep_their_names(tmp_path: Path) -> None:
    write_case(tmp_path, "target")
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    (folder / "patient_7.nii.gz").symlink_to(tmp_path / "target.nii.gz")
    (folder / "labels" / "final" / "patient_7.nii.gz").symlink_to(tmp_path / "labels" / "final" / "target.nii.gz")
    [saved] = saved_labels(LocalDatastore(str(folder)))
    assert (saved.image_id, saved.image.name) == ("patient_7", "target.nii.gz")


def test_background_work_makes_way_and_the_caller_does_not(weights: Path) -> None:
    threads = torch.get_num_threads()

    def work() -> tuple[int, int, bool]:
        session = InteractiveSession(load_weights(weights))
        session.set_image(np.zeros((64, 64), np.uint8))
        session.click(3, 3)
        own = threading.current_thread() is threading.main_thread()
        return torch.get_num_threads(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), own

    priority = os.getpriority(os.PRIO_PROCESS, 0)
    assert in_background(work) == (max(1, threads // 2), max(NICENESS, priority), False)
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority
    assert torch.get_num_threads() == threads

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_background(fail)
