"""Distillation in a training: what the teacher sees, what is learned, what is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adaptiveclick_med.clicks import click_maps
from adaptiveclick_med.engines import DistilledLoss, DistilledUpdate, InteractiveUpdate, Teacher, network_input
from adaptiveclick_med.losses import DistillationLoss, MaskAdaptiveLoss, NormalizedFocalLoss
from adaptiveclick_med.networks import AdaptiveClick, AdaptiveClickOutput, SimpleClick
from adaptiveclick_med.weights import read_header, save_weights

ROOT = Path(__file__).parents[2]
SHALLOW: dict[str, Any] = {"depth": 2, "click_decoder_layers": 3, "pixel_decoder_layers": 1}


def network(seed: int, kind: type = AdaptiveClick, **arguments: Any) -> Any:
    torch.manual_seed(seed)
    shallow = SHALLOW if kind is AdaptiveClick else {"depth": 2}
    return kind.from_preset("nano", image_size=32, **{**shallow, **arguments})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("teachers")

    def save(name: str, *args: Any, **arguments: Any) -> Path:
        path = folder / f"{name}.safetensors"
        return path if path.is_file() else save_weights(path, network(7, *args, **arguments))

    return save


def batch() -> dict[str, torch.Tensor]:
    target = torch.zeros(2, 1, 32, 32)
    target[:, :, 8:24, 8:24] = 1
    target[1, :, :4] = -1
    points = torch.full((2, 8, 3), -1.0)
    points[:, 0] = torch.tensor([16.0, 12.0, 0.0])
    points[1, 4] = torch.tensor([2.0, 30.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.rand(2, 3, 32, 32, generator=generator), "target": target, "points": points}


def trainer(student: torch.nn.Module, update: Any, loss: torch.nn.Module, batches: int = 3) -> Any:
    engine = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch()] * batches,
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), lr=1e-3),
        loss_function=loss,
        inferer=SimpleInferer(),
        iteration_update=update,
        decollate=False,
    )
    engine.run()
    return engine


def same(first: Any, second: Any) -> None:
    for one, other in zip(first[:3], second[:3], strict=True):
        torch.testing.assert_close(one, other)


def test_a_teacher_sees_what_the_student_sees(saved: Callable[..., Path]) -> None:
    teacher, sample = Teacher(saved("plain")), batch()
    previous = torch.rand(2, 1, 32, 32)
    answer = teacher.answer(sample["image"], previous, sample["points"], radius=3.0)
    x = network_input(sample["image"], previous, sample["points"], radius=3.0)
    same(answer, network(7).eval().predict(x, auxiliary=False))
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert not answer.logits.requires_grad
    assert not teacher.network.training


def test_pixels_that_are_no_whole_patches_are_padded_for_the_teacher(saved: Callable[..., Path]) -> None:
    teacher, sample = Teacher(saved("plain")), batch()
    image, previous = sample["image"][..., :26], torch.zeros(2, 1, 32, 26)
    points = sample["points"].clone()
    points[1, 4, 1] = 20.0
    answer = teacher.answer(image, previous, points)
    x = torch.nn.functional.pad(network_input(image, previous, points), (0, 6))
    whole = network(7).eval().predict(x, auxiliary=False)
    assert answer.logits.shape == (2, 1, 32, 26)
    torch.testing.assert_close(answer.logits, whole.logits[..., :26])
    assert answer.mask_logits is not None and answer.mask_logits.shape == (2, 10, 32, 26)
    torch.testing.assert_close(
        answer.mask_logits,
        torch.nn.functional.interpolate(whole.mask_logits, (32, 32), mode="bilinear")[..., :26],
    )
    torch.testing.assert_close(answer.click_logits, whole.click_logits)


def test_a_teacher_may_see_more_pixels(saved: Callable[..., Path]) -> None:
    teacher, sample = Teacher(saved("plain"), image_size=64), batch()
    seen: list[torch.Tensor] = []
    predict = teacher.network.predict

    def spy(x: torch.Tensor, **options: Any) -> AdaptiveClickOutput:
        seen.append(x)
        return predict(x, **options)

    teacher.network.predict = spy
    answer = teacher.answer(sample["image"], torch.zeros(2, 1, 32, 32), sample["points"])
    (x,) = seen
    assert x.shape == (2, 6, 64, 64)
    assert answer.logits.shape == (2, 1, 64, 64)
    torch.testing.assert_close(
        x[:, :3, [0, 0, 63, 63], [0, 63, 0, 63]], sample["image"][:, :, [0, 0, 31, 31], [0, 31] * 2]
    )
    expected = torch.full((2, 8, 3), -1.0)
    expected[:, 0] = torch.tensor([32.0, 24.0, 0.0])
    expected[1, 4] = torch.tensor([4.0, 60.0, 1.0])
    assert torch.equal(x[:, 4:], click_maps(expected, (64, 64), 5.0))


def test_facts_tell_the_file(saved: Callable[..., Path]) -> None:
    path = saved("plain")
    facts = Teacher(path, image_size=64).facts
    assert facts == {
        "weights": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "network": "AdaptiveClick",
        "image_size": 64,
    }
    assert json.loads(json.dumps(facts)) == facts


def test_the_loss_is_that_of_the_training_and_the_distance_from_the_teacher(saved: Callable[..., Path]) -> None:
    sample = batch()
    x = network_input(sample["image"], torch.zeros(2, 1, 32, 32), sample["points"])
    output, answer = network(1).train()(x), network(2).predict(x, auxiliary=False)
    supervised, distillation = MaskAdaptiveLoss(), DistillationLoss(2.0)
    loss = DistilledLoss(supervised, distillation, weight=3.0)
    with pytest.raises(RuntimeError, match="No teacher has answered"):
        loss(output, sample["target"])
    loss.teach(answer)
    parts = distillation.components(output, answer, sample["target"] >= 0)
    expected = supervised(output, sample["target"]) + 3 * parts["total"]
    assert loss(output, sample["target"]).item() == pytest.approx(expected.item(), rel=1e-6)
    logged = loss.components(output, sample["target"])
    assert {name: part.item() for name, part in logged.items()} == {
        "distillation": parts["total"].item(),
        **{f"distillation_{name}": parts[name].item() for name in ("mask", "candidates", "click")},
    }
    loss.teach(answer.sample(0))
    with pytest.raises(ValueError, match=r"teacher.logits must be of shape \[2, 1, H, W\]"):
        loss(output, sample["target"])
    with pytest.raises(ValueError, match=r"weight must be at least 0, got -1"):
        DistilledLoss(supervised, weight=-1)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_teacher_sees_the_last_input_of_the_student(saved: Callable[..., Path], seed: int) -> None:
    loss, teacher = DistilledLoss(MaskAdaptiveLoss()), Teacher(saved("plain"))
    engine = trainer(network(1), DistilledUpdate(teacher, 3, seed=seed, radius=4.0), loss)
    x = engine.state.output["image"]
    expected = network(7).eval().predict(x, auxiliary=False)
    kept = loss.components(engine.state.output["pred"], batch()["target"])
    direct = DistillationLoss().components(engine.state.output["pred"], expected, batch()["target"] >= 0)
    assert kept["distillation"].item() == pytest.approx(direct["total"].item(), rel=1e-5)
    whole = MaskAdaptiveLoss()(engine.state.output["pred"], batch()["target"]) + direct["total"]
    assert engine.state.output["loss"].item() == pytest.approx(whole.item(), rel=1e-5)


def test_without_weight_the_training_is_the_usual_one(saved: Callable[..., Path]) -> None:
    usual, distilled, heavy = network(1), network(1), network(1)
    trainer(usual, InteractiveUpdate(2, seed=5), MaskAdaptiveLoss())
    trainer(distilled, DistilledUpdate(Teacher(saved("plain")), 2, seed=5), DistilledLoss(MaskAdaptiveLoss(), weight=0))
    trainer(heavy, DistilledUpdate(Teacher(saved("plain")), 2, seed=5), DistilledLoss(MaskAdaptiveLoss(), weight=9))
    state = usual.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in distilled.state_dict().items())
    assert not torch.equal(heavy.state_dict()["encoder.pos_embed"], state["encoder.pos_embed"])


def test_the_teacher_answers_in_the_precision_of_the_trainer(saved: Callable[..., Path]) -> None:
    loss, sample = DistilledLoss(MaskAdaptiveLoss()), batch()
    shown = sample["image"], torch.zeros(2, 1, 32, 32), sample["points"]
    update = DistilledUpdate(Teacher(saved("plain")))
    student = network(1).predict(network_input(*shown))
    found = {}
    for amp in (False, True):
        engine: Any = SimpleNamespace(loss_function=loss, amp=amp, amp_kwargs={"dtype": torch.bfloat16})
        update.before_step(engine, *shown)
        assert loss.lesson is not None
        assert loss.lesson.click_logits.dtype == (torch.bfloat16 if amp else torch.float32)
        found[amp] = loss.components(student, sample["target"])
    for name, part in found[True].items():
        assert part.dtype == torch.float32
        assert part.item() == pytest.approx(found[False][name].item(), rel=0.2, abs=0.02)


def test_a_distributed_student_learns_the_same(tmp_path: Path, saved: Callable[..., Path]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        alone, wrapped = network(1), torch.nn.parallel.DistributedDataParallel(network(1))
        for student in (alone, wrapped):
            trainer(student, DistilledUpdate(Teacher(saved("plain")), 1), DistilledLoss(MaskAdaptiveLoss()), 2)
        state = wrapped.module.state_dict()
    finally:
        torch.distributed.destroy_process_group()
    assert state.keys() == alone.state_dict().keys()
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(tensor, state[name], msg=name)


@pytest.mark.parametrize("student", [AdaptiveClick, SimpleClick])
@pytest.mark.parametrize("teacher", [AdaptiveClick, SimpleClick])
def test_a_student_comes_closer_to_its_teacher(saved: Callable[..., Path], student: type, teacher: type) -> None:
    loss = DistilledLoss(
        NormalizedFocalLoss(ignore_value=-1) if student is SimpleClick else MaskAdaptiveLoss(), weight=1
    )
    path = saved(teacher.__name__, teacher, patch_size=16, num_heads=2)
    update, learner = DistilledUpdate(Teacher(path), 0), network(1, student)
    x = network_input(batch()["image"], torch.zeros(2, 1, 32, 32), batch()["points"])
    loss.teach(update.teacher.answer(x[:, :3], x[:, 3:4], batch()["points"]))

    def distances() -> dict[str, float]:
        with torch.no_grad():
            parts = loss.components(learner.eval().predict(x), batch()["target"])
        return {name: part.item() for name, part in parts.items()}

    before = distances()
    loss.supervised = Silent()
    trainer(learner, update, loss, 12)
    after = distances()
    assert after["distillation"] < 0.9 * before["distillation"]
    both = student is teacher is AdaptiveClick
    assert (before["distillation_candidates"] > 0) == (before["distillation_click"] > 0) == both


class Silent(torch.nn.Module):
    """A loss that teaches nothing."""

    def forward(self, output: Any, target: torch.Tensor) -> torch.Tensor:
        return 0.0 * (output if isinstance(output, torch.Tensor) else output.logits).sum()


def test_what_cannot_teach_is_named(tmp_path: Path, saved: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="A distillation needs a teacher"):
        Teacher(None)
    with pytest.raises(FileNotFoundError, match="There is no weight file"):
        Teacher(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="image_size of the teacher must be a multiple of its patch of 8, got 60"):
        Teacher(saved("plain"), image_size=60)
    with pytest.raises(TypeError, match="must be a DistilledLoss, got MaskAdaptiveLoss"):
        trainer(network(1), DistilledUpdate(Teacher(saved("plain"))), MaskAdaptiveLoss())


def train(folder: Path, **overrides: Any) -> ConfigWorkflow:
    """Train by the bundle with the config of distillations."""
    small: dict[str, Any] = {
        "image_size": 32,
        "dataset_options": {"num_volumes": 2, "size": (2, 64, 64)},
        "samples_per_epoch": 4,
        "batch_size": 2,
        "max_rounds": 1,
        "val_max_samples": 1,
        "val_max_clicks": 1,
        "progress": False,
        **{f"network_arguments#{name}": value for name, value in SHALLOW.items()},
    }
    configs = ROOT / "bundles" / "adaptiveclick" / "configs" / "train.json", ROOT / "configs" / "distillation.json"
    workflow = ConfigWorkflow(
        config_file=[str(path) for path in configs],
        run_id="training",
        workflow_type="train",
        logging_file=False,
        bundle_root=str(folder),
        **{**small, **overrides},
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def test_the_config_trains_resumes_and_tells_who_taught(tmp_path: Path, saved: Callable[..., Path]) -> None:
    options = {"teacher": str(saved("wide", embed_dim=192)), "distillation_weight": 4.0, "teacher_image_size": 64}
    train(tmp_path / "straight", max_epochs=2, **options, **{"lr_scheduler#milestones": [9]})
    train(tmp_path / "half", max_epochs=1, **options, **{"lr_scheduler#milestones": [9]})
    half = tmp_path / "half" / "models" / "checkpoint_epoch=1.pt"
    train(tmp_path / "rest", max_epochs=2, resume=str(half), **options, **{"lr_scheduler#milestones": [9]})
    train(tmp_path / "alone", max_epochs=2, **{**options, "distillation_weight": 0}, **{"lr_scheduler#milestones": [9]})

    def state(name: str) -> dict[str, torch.Tensor]:
        path = tmp_path / name / "models" / "checkpoint_epoch=2.pt"
        content = torch.load(path, weights_only=True)
        assert set(content) == {"network", "optimizer", "lr_scheduler", "evaluator", "trainer"}
        return content["network"]

    straight, resumed, alone = state("straight"), state("rest"), state("alone")
    assert straight.keys() == alone.keys() == network(0).state_dict().keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert not torch.equal(straight["encoder.pos_embed"], alone["encoder.pos_embed"])

    header = read_header(tmp_path / "straight" / "models" / "model.safetensors")
    assert header["arguments"]["embed_dim"] == 96
    facts = header["training"]
    digest = hashlib.sha256(Path(options["teacher"]).read_bytes()).hexdigest()
    assert facts["teacher"] == {
        "weights": options["teacher"],
        "sha256": digest,
        "network": "AdaptiveClick",
        "image_size": 64,
    }
    assert (facts["distillation_weight"], facts["distillation_temperature"]) == (4.0, 1.0)
    assert facts["preset"] == "nano"


def test_the_parts_are_logged_beside_those_of_the_training(tmp_path: Path, saved: Callable[..., Path]) -> None:
    train(tmp_path, max_epochs=1, samples_per_epoch=20, teacher=str(saved("plain")))
    events = EventAccumulator(str(tmp_path / "eval")).Reload()
    scalars = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("loss/")}
    parts = {name: scalars.pop(f"loss/distillation{name}") for name in ("", "_mask", "_candidates", "_click")}
    assert parts[""] == pytest.approx(5 * parts["_mask"] + 5 * parts["_candidates"] + 2 * parts["_click"], rel=1e-5)
    assert set(scalars) == {"loss/total", "loss/afl", "loss/dice", "loss/click", "loss/combined"}


def test_the_config_changes_parts_that_exist_and_nothing_else() -> None:
    config = ROOT / "bundles" / "adaptiveclick" / "configs" / "train.json"
    usual, added = ConfigParser(ConfigParser.load_config_file(str(config))), {}
    merged = ConfigParser.load_config_files([str(config), str(ROOT / "configs" / "distillation.json")])
    for key, value in json.loads((ROOT / "configs" / "distillation.json").read_text(encoding="utf-8")).items():
        if "#" in key:
            assert key.lstrip("+") in usual, key
        else:
            added[key] = value
    assert not set(added) & set(usual.get())
    assert merged["loss_function"] == usual["loss_function"]
    update = merged["train"]["trainer"].pop("iteration_update")
    assert update.pop("_target_").endswith(".DistilledUpdate") and update.pop("teacher") == "@teacher_def"
    kept = usual["train#trainer"].pop("iteration_update")
    assert kept.pop("_target_").endswith(".InteractiveUpdate")
    assert update == kept
    assert len(merged["train"]["handlers"]) == len(usual["train#handlers"]) + 1


def test_the_config_without_a_teacher_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        train(tmp_path)
    cause: BaseException | None = error.value
    while cause is not None and not isinstance(cause, ValueError):
        cause = cause.__cause__
    assert "A distillation needs a teacher" in str(cause)
