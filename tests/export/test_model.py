from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptiveclick_med.clicks import Click
from adaptiveclick_med.export import FORMATS, ExportedModel, ExportFacts, load_exported, load_model
from adaptiveclick_med.export.graph import example_input
from adaptiveclick_med.inference import InteractiveSession, VolumeSession, click_together
from adaptiveclick_med.inference.crop import CropBox, ZoomIn
from adaptiveclick_med.networks import ClickModel, ClickNetwork
from adaptiveclick_med.weights import save_weights


def difference(found: torch.Tensor, right: torch.Tensor) -> float:
    assert found.shape == right.shape and found.dtype == right.dtype
    return float((found - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["AdaptiveClick", "geodesic", "SimpleClick"])
def test_it_answers_like_the_network(
    name: str, kind: str, networks: dict[str, ClickNetwork], exported: Callable[..., Path]
) -> None:
    model = load_exported(exported(name, kind), device="cpu")
    for batch in (1, 2, 3):
        x = example_input((64, 64), batch, seed=10 + batch)
        with torch.no_grad():
            right = networks[name].predict(x, auxiliary=False)
        found = model.predict(x)
        assert difference(found.logits, right.logits) < 1e-4
        assert torch.equal(model(x), model.predict(x).logits)
        if name == "SimpleClick":
            assert found.mask_logits is None and found.click_logits is None
        else:
            assert found.mask_logits is not None and right.mask_logits is not None
            assert found.click_logits is not None and right.click_logits is not None
            assert difference(found.mask_logits, right.mask_logits) < 1e-4
            assert difference(found.click_logits, right.click_logits) < 1e-4


def test_the_facts_travel_with_the_file(model: ExportedModel, network: ClickNetwork) -> None:
    assert isinstance(model, ClickModel)
    assert model.facts == ExportFacts.of(network, (64, 64))
    assert (model.image_size, model.patch_size, model.has_candidates) == ((64, 64), 8, True)
    assert (model.device, model.training) == (torch.device("cpu"), False)
    assert model.intensity == model.facts.intensity
    assert model.path.suffix == FORMATS[model.format] and model.files[0] == model.path


def test_a_session(model: ExportedModel, network: ClickNetwork) -> None:
    image = np.random.RandomState(0).randint(0, 256, (150, 130, 3)).astype(np.uint8)
    start = np.zeros((150, 130), np.float32)
    start[40:70, 60:90] = 1.0
    zoom = ZoomIn((64, 64), min_size=30)
    sessions = [InteractiveSession(each, zoom_in=zoom) for each in (network, model)]
    for session in sessions:
        session.set_image(image)
        session.set_mask(start)
    for click in (Click(55, 75, True), Click(62, 70, False), Click(45, 80, True)):
        right, found = (session.click(click.row, click.column, click.positive) for session in sessions)
        boxes = [session.state.box for session in sessions]
        assert boxes[0] == boxes[1]
        assert np.abs(found.probability - right.probability).max() < 1e-4
        assert len(found.candidates) == len(right.candidates) == 10
        for mine, other in zip(found.candidates, right.candidates, strict=True):
            assert mine.confidence == pytest.approx(other.confidence, abs=1e-4)
            assert np.abs(mine.probability - other.probability).max() < 1e-4
        if click == Click(55, 75, True):
            assert boxes[1] != CropBox.whole((150, 130))
    assert sessions[1].undo() is not None and len(sessions[1].clicks) == 2


def test_a_network_without_candidates(networks: dict[str, ClickNetwork], exported: Callable[..., Path]) -> None:
    image = np.random.RandomState(0).rand(70, 80).astype(np.float32)
    answers = []
    for each in (networks["SimpleClick"], load_exported(exported("SimpleClick", "torchscript"), device="cpu")):
        session = InteractiveSession(each, flip=False)
        session.set_image(image)
        answers.append(session.click(30, 40))
    assert answers[1].candidates == []
    assert np.abs(answers[1].probability - answers[0].probability).max() < 1e-4


def test_sessions_in_lockstep(model: ExportedModel) -> None:
    image = np.random.RandomState(1).rand(70, 80).astype(np.float32)
    first = InteractiveSession(model)
    first.set_image(image)
    clicks = [Click(20, 30, True), Click(40, 50, True), Click(60, 70, True)]
    alone = [first.sibling(keep_image=True).click(each.row, each.column) for each in clicks]
    together = click_together([first.sibling(keep_image=True) for _ in clicks], clicks)
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.probability - other.probability).max() < 1e-4


def test_a_volume(model: ExportedModel, network: ClickNetwork) -> None:
    volume = np.random.RandomState(2).randint(-200, 300, (40, 48, 5)).astype(np.int16)
    found = []
    for each in (network, model):
        session = VolumeSession(each)
        session.set_volume(volume, np.diag([1.0, 1.0, 3.0, 1.0]))
        prediction = session.click((20, 24, 2), plane="axial")
        session.propagate(until=1)
        found.append((prediction, session.mask(1)))
    assert np.abs(found[0][0].probability - found[1][0].probability).max() < 1e-4
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_another_crop_size(model: ExportedModel) -> None:
    session = InteractiveSession(model, 128)
    session.set_image(np.zeros((80, 90), np.uint8))
    with pytest.raises(
        ValueError, match=r"crop_size .*must be 64 x 64, the size that .* was exported for, got 128 x 128"
    ):
        session.click(40, 40)
    assert len(session.clicks) == 0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(6, 64, 64), r"float32 of shape \[B, 6, H, W\]"),
        (torch.zeros(1, 3, 64, 64), r"got torch.float32 \[1, 3, 64, 64\]"),
        (torch.zeros(0, 6, 64, 64), r"\[0, 6, 64, 64\]"),
        (torch.zeros(1, 6, 64, 64, dtype=torch.float64), "torch.float64"),
        (torch.zeros(1, 6, 64, 72), "must be 64 x 64, .* got 64 x 72"),
    ],
)
def test_wrong_inputs(x: torch.Tensor, message: str, exported: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=message):
        load_exported(exported("SimpleClick", "torchscript")).predict(x)


def test_features(model: ExportedModel) -> None:
    with pytest.raises(ValueError, match="return_features must be False"):
        model.predict(torch.zeros(1, 6, 64, 64), return_features=True)


def test_threads_and_precision(exported: Callable[..., Path]) -> None:
    x = example_input((64, 64))
    right = load_exported(exported("SimpleClick", "openvino")).predict(x).logits
    coarse = load_exported(exported("SimpleClick", "openvino"), threads=1, precision="bf16").predict(x).logits
    assert difference(coarse, right) < 0.1
    found = load_exported(exported("SimpleClick", "onnx"), threads=2, device="cpu").predict(x).logits
    assert difference(found, right) < 1e-4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("onnx", {"threads": 0}, "threads must be at least 1, got 0"),
        ("torchscript", {"threads": 2}, "threads cannot be given for TorchScript"),
        ("onnx", {"precision": "bf16"}, "precision must be f32 with onnx, got 'bf16'"),
        ("openvino", {"precision": "int3"}, "precision must be one of f32, bf16, f16, got 'int3'"),
        ("onnx", {"device": "mps"}, "device of an ONNX file must be cpu, cuda or cuda:N, got 'mps'"),
        ("onnx", {"device": "abacus"}, "cpu, cuda or cuda:N, got 'abacus'"),
        ("openvino", {"device": "abacus"}, "device of an OpenVINO file must be one of auto, cpu.* here, got 'abacus'"),
        ("torchscript", {"device": "abacus"}, "device 'abacus' cannot be used"),
    ],
)
def test_options_that_cannot_be_used(
    kind: str, options: dict[str, object], message: str, exported: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        load_exported(exported("SimpleClick", kind), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_cannot_be_used(kind: str, exported: Callable[..., Path], tmp_path: Path) -> None:
    whole = exported("SimpleClick", kind)
    broken = tmp_path / whole.name
    with pytest.raises(FileNotFoundError, match="There is no exported network"):
        load_exported(broken)
    broken.with_suffix(".bin").touch()
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    with pytest.raises(ValueError, match=f"{broken.name} is (truncated, )?damaged"):
        load_exported(broken)


def test_openvino_needs_both_files(exported: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copy(exported("SimpleClick", "openvino"), tmp_path / "m.xml")
    with pytest.raises(FileNotFoundError, match=r"needs its weights beside it, and there is no .*m\.bin"):
        load_exported(tmp_path / "m.xml")


def test_foreign_torchscript(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), str(tmp_path / "m.ts"))
    with pytest.raises(ValueError, match="was not exported by adaptiveclick_med"):
        load_exported(tmp_path / "m.ts")


def test_load_model_takes_both(
    networks: dict[str, ClickNetwork], exported: Callable[..., Path], tmp_path: Path
) -> None:
    weights = save_weights(tmp_path / "w.safetensors", networks["SimpleClick"])
    network, model = load_model(weights), load_model(exported("SimpleClick", "torchscript"), device="cpu")
    assert isinstance(network, ClickNetwork) and isinstance(model, ExportedModel)
    x = example_input((64, 64))
    with torch.no_grad():
        assert difference(model.predict(x).logits, network.predict(x).logits) < 1e-4
